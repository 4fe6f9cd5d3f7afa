//! Random weights that need no file: the tensors and the metadata of a llama model of given sizes.
//!
//! - `generate`: value = f(seed, tensor name, index), whatever thread computes it and wherever it lies.
//! - `shapes`: names, layouts and sizes of the tensors, as in a GGUF file.
//! - `metadata`: the same keys that a GGUF file has, so that model and text have one path.
//!
//! Invariant: the same parameters give the same bits on every machine and with any thread count.

mod generate;
mod metadata;
mod shapes;

use crate::cache::{Contents, Part};
use crate::config;
use crate::tensor::TensorSpec;

use super::{Error, Metadata};

/// Increment when any value changes; it is part of the fingerprint.
const REVISION: u32 = 1;

/// A synthetic model, not yet computed.
pub(super) struct Synthetic {
    specs: Vec<TensorSpec>,
    seed: u64,
    pub(super) metadata: Metadata,
    /// BLAKE3 of the parameters that decide the values, in hex.
    pub(super) fingerprint: String,
}

impl Synthetic {
    /// Fails on sizes that are zero or overflow, and on vocabularies without room for the byte tokenizer.
    pub(super) fn new(sizes: &config::Synthetic) -> Result<Self, Error> {
        let specs = shapes::specs(sizes)?;
        let parameters = specs
            .iter()
            .map(|spec| (spec.rows * spec.cols) as u64)
            .sum();
        // Every parameter by its name, so that a new one makes a new fingerprint.
        let config::Synthetic {
            vocab_size,
            hidden_size,
            num_layers,
            num_heads,
            num_kv_heads,
            context_length,
            intermediate_size,
            tied,
            norm,
            seed,
            persist: _,
        } = sizes;
        let text = format!(
            "synthetic {REVISION}: vocab {vocab_size} hidden {hidden_size} layers {num_layers} \
             heads {num_heads} kv {num_kv_heads} context {context_length} ff {intermediate_size} \
             tied {tied} norm {norm:?} seed {seed}"
        );
        Ok(Synthetic {
            specs,
            seed: *seed,
            metadata: metadata::metadata(sizes, parameters),
            fingerprint: blake3::hash(text.as_bytes()).to_hex().to_string(),
        })
    }
}

impl Contents for Synthetic {
    fn specs(&self) -> Vec<TensorSpec> {
        self.specs.clone()
    }

    fn fill(&self, spec: &TensorSpec, part: &Part, out: &mut [f32]) {
        generate::fill(self.seed, spec, part, out);
    }
}
