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
use crate::compute::Isa;
use crate::config;
use crate::tensor::TensorSpec;

use super::{Error, Metadata};

/// Increment when any value changes; it is part of the fingerprint.
const REVISION: u32 = 1;

/// A synthetic model, not yet computed.
pub struct Synthetic {
    specs: Vec<TensorSpec>,
    seed: u64,
    isa: Isa,
    pub(super) metadata: Metadata,
    /// BLAKE3 of the parameters that decide the values, in hex.
    pub(super) fingerprint: String,
}

impl Synthetic {
    /// Fails on sizes that are zero or overflow, and on vocabularies without room for the byte tokenizer.
    pub fn new(sizes: &config::Synthetic) -> Result<Self, Error> {
        let specs = shapes::specs(sizes)?;
        let parameters = specs
            .iter()
            .map(|spec| (spec.rows * spec.cols) as u64)
            .sum();
        // Every parameter by its name, so that a new one makes a new fingerprint.
        let config::Synthetic {
            preset,
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
        let (rope_base, epsilon) = (preset.rope_base(), preset.norm_epsilon());
        let text = format!(
            "synthetic {REVISION}: vocab {vocab_size} hidden {hidden_size} layers {num_layers} \
             heads {num_heads} kv {num_kv_heads} context {context_length} ff {intermediate_size} \
             tied {tied} norm {norm:?} {epsilon} rope {rope_base} seed {seed}"
        );
        Ok(Synthetic {
            specs,
            seed: *seed,
            isa: Isa::best(),
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
        generate::fill(self.isa, self.seed, spec, part, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::{Check, Directory, Key, MemoryTensors};
    use crate::config::Preset;
    use crate::tensor::Element;

    /// Odd sizes, so that strips, panels and words end anywhere, and enough of them for many strips.
    fn sizes() -> config::Synthetic {
        config::Synthetic {
            vocab_size: 5_003,
            hidden_size: 150,
            num_heads: 5,
            num_kv_heads: 5,
            intermediate_size: 1_021,
            tied: false,
            norm: config::SyntheticNorm::Layer,
            ..Preset::Tiny.sizes()
        }
    }

    /// BLAKE3 of every tensor, in the order of `specs`.
    fn hash<'a>(specs: &[TensorSpec], values: impl Fn(&str) -> &'a [f32]) -> String {
        let mut hasher = blake3::Hasher::new();
        for spec in specs {
            hasher.update(spec.name.as_bytes());
            hasher.update(bytemuck::cast_slice(values(&spec.name)));
        }
        hasher.finalize().to_hex().to_string()
    }

    fn in_memory(synthetic: &Synthetic) -> String {
        let tensors = MemoryTensors::fill(synthetic, Element::F32, &()).unwrap();
        let values = |name: &str| {
            let (_, values) = tensors.at(tensors.position(name).unwrap());
            values.f32().unwrap()
        };
        hash(&synthetic.specs, values)
    }

    fn persisted(synthetic: &Synthetic) -> String {
        let root = tempfile::tempdir().unwrap();
        let key = Key {
            source: synthetic.fingerprint.clone(),
            source_bytes: 0,
            element: Element::F32,
        };
        let directory = Directory::open(root.path()).unwrap();
        let found = directory
            .find_or_build(&key, synthetic, Check::Header, &())
            .unwrap();
        assert!(!found.from_cache);
        hash(&synthetic.specs, |name| {
            found.tensors.get(name).unwrap().1.f32().unwrap()
        })
    }

    #[test]
    fn threads_instruction_sets_and_storage_do_not_change_the_hash() {
        for threads in [1, 2, 3, 7] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
            let pool = pool.build().unwrap();
            for isa in Isa::all().into_iter().map(Isa::name) {
                let mut synthetic = Synthetic::new(&sizes()).unwrap();
                synthetic.isa = Isa::by_name(isa).unwrap();
                for (kind, hash) in [
                    ("memory", pool.install(|| in_memory(&synthetic))),
                    ("file", pool.install(|| persisted(&synthetic))),
                ] {
                    assert_eq!(hash, HASH, "{threads} threads, {isa}, {kind}");
                }
            }
        }
    }

    /// Changes only together with [`REVISION`].
    const HASH: &str = "af4f4dea43b5648f1c4eed86a9a9caa8db1e43d66094c5cb10ff05b81dfcd91b";
}
