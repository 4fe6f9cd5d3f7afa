//! Presets of synthetic models, and the rules their sizes must obey.
//!
//! A preset has the sizes of a model that people know, so that its speed can be compared with theirs.

use super::defaults;
use super::error::Error;
use super::file;
use super::keys::expected;
use super::outline::Outline;
use super::resolve::CONTEXT_LIMIT;
use super::resolved::{Synthetic, SyntheticNorm};

/// Ids 0 to 255 are bytes, 256 begins and 257 ends a text.
const SMALLEST_VOCAB: usize = 258;
/// Limits that keep every product of sizes far from overflow.
const VOCAB_LIMIT: usize = 1 << 22;
const HIDDEN_LIMIT: usize = 1 << 16;
const LAYER_LIMIT: usize = 1024;
const HEAD_LIMIT: usize = 1024;
const INTERMEDIATE_LIMIT: usize = 1 << 20;

/// A named set of sizes. Besides them it decides what has no key: base of the rotation and epsilon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preset {
    /// For tests: milliseconds per answer.
    Tiny,
    /// SmolLM2-135M.
    M135,
    /// TinyLlama-1.1B. (The rotation of Llama 3.2 1B is rescaled, which is more than sizes.)
    B1,
    /// Llama 2 7B.
    Llama7b,
}

impl Preset {
    const ALL: [Preset; 4] = [Preset::Tiny, Preset::M135, Preset::B1, Preset::Llama7b];

    /// The preset that is written like this.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|preset| preset.name() == name)
    }

    /// As written in the file.
    pub fn name(self) -> &'static str {
        match self {
            Preset::Tiny => "tiny",
            Preset::M135 => "135m",
            Preset::B1 => "1b",
            Preset::Llama7b => "llama-7b",
        }
    }

    /// Base of the rotation of queries and keys.
    pub fn rope_base(self) -> f32 {
        match self {
            Preset::Tiny | Preset::M135 => 100_000.0,
            Preset::B1 | Preset::Llama7b => 10_000.0,
        }
    }

    /// What the norms add to the variance.
    pub fn norm_epsilon(self) -> f32 {
        match self {
            Preset::Tiny | Preset::M135 | Preset::B1 | Preset::Llama7b => 1e-5,
        }
    }

    /// The sizes, with the defaults for all that is no size.
    pub fn sizes(self) -> Synthetic {
        let any_size = Synthetic {
            preset: self,
            vocab_size: 0,
            hidden_size: 0,
            num_layers: 0,
            num_heads: 0,
            num_kv_heads: 0,
            context_length: 0,
            intermediate_size: 0,
            tied: true,
            norm: SyntheticNorm::Rms,
            seed: defaults::SYNTHETIC_SEED,
            persist: defaults::SYNTHETIC_PERSIST,
        };
        match self {
            Preset::Tiny => Synthetic {
                vocab_size: 320,
                hidden_size: 64,
                num_layers: 2,
                num_heads: 4,
                num_kv_heads: 2,
                context_length: 512,
                intermediate_size: 128,
                ..any_size
            },
            Preset::M135 => Synthetic {
                vocab_size: 49_152,
                hidden_size: 576,
                num_layers: 30,
                num_heads: 9,
                num_kv_heads: 3,
                context_length: 8192,
                intermediate_size: 1536,
                ..any_size
            },
            Preset::B1 => Synthetic {
                vocab_size: 32_000,
                hidden_size: 2048,
                num_layers: 22,
                num_heads: 32,
                num_kv_heads: 4,
                context_length: 2048,
                intermediate_size: 5632,
                tied: false,
                ..any_size
            },
            Preset::Llama7b => Synthetic {
                vocab_size: 32_000,
                hidden_size: 4096,
                num_layers: 32,
                num_heads: 32,
                num_kv_heads: 32,
                context_length: 4096,
                intermediate_size: 11_008,
                tied: false,
                ..any_size
            },
        }
    }
}

/// The preset with the written keys in place of its own.
pub(super) fn resolve(file: &file::Synthetic, outline: &Outline) -> Result<Synthetic, Error> {
    let bad = |key: &str| outline.value(key, expected(key));
    let preset = file.preset.as_deref().unwrap_or(defaults::SYNTHETIC_PRESET);
    let preset = Preset::by_name(preset).ok_or_else(|| bad("synthetic.preset"))?;
    let preset = preset.sizes();
    let norm = match file.norm.as_deref() {
        None => preset.norm,
        Some(norm) => SyntheticNorm::by_name(norm).ok_or_else(|| bad("synthetic.norm"))?,
    };
    // Head counts belong together: whoever chooses heads means as many KV heads unless said otherwise.
    let default_kv_heads = file.num_heads.unwrap_or(preset.num_kv_heads);
    let sizes = Synthetic {
        preset: preset.preset,
        vocab_size: file.vocab_size.unwrap_or(preset.vocab_size),
        hidden_size: file.hidden_size.unwrap_or(preset.hidden_size),
        num_layers: file.num_layers.unwrap_or(preset.num_layers),
        num_heads: file.num_heads.unwrap_or(preset.num_heads),
        num_kv_heads: file.num_kv_heads.unwrap_or(default_kv_heads),
        context_length: file.context_length.unwrap_or(preset.context_length),
        intermediate_size: file.intermediate_size.unwrap_or(preset.intermediate_size),
        tied: file.tied.unwrap_or(preset.tied),
        norm,
        seed: file.seed.unwrap_or(preset.seed),
        persist: file.persist.unwrap_or(preset.persist),
    };

    let ranges = [
        (
            "synthetic.vocab_size",
            sizes.vocab_size,
            SMALLEST_VOCAB,
            VOCAB_LIMIT,
        ),
        ("synthetic.hidden_size", sizes.hidden_size, 2, HIDDEN_LIMIT),
        ("synthetic.num_layers", sizes.num_layers, 1, LAYER_LIMIT),
        ("synthetic.num_heads", sizes.num_heads, 1, HEAD_LIMIT),
        ("synthetic.num_kv_heads", sizes.num_kv_heads, 1, HEAD_LIMIT),
        (
            "synthetic.context_length",
            sizes.context_length,
            1,
            CONTEXT_LIMIT,
        ),
        (
            "synthetic.intermediate_size",
            sizes.intermediate_size,
            1,
            INTERMEDIATE_LIMIT,
        ),
    ];
    for (key, value, low, high) in ranges {
        if !(low..=high).contains(&value) {
            return Err(bad(key));
        }
    }
    // Blame a key that was written: the others came with the preset and are right by themselves.
    let blame = |keys: &[&'static str]| {
        keys.iter()
            .copied()
            .find(|key| outline.has(key))
            .unwrap_or("synthetic.preset")
    };
    // A head is rotated in pairs, so its dimension is even.
    if !sizes.hidden_size.is_multiple_of(2 * sizes.num_heads) {
        return Err(outline.value(
            blame(&["synthetic.hidden_size", "synthetic.num_heads"]),
            format!(
                "hidden_size to be a multiple of twice num_heads (here {} and {})",
                sizes.hidden_size, sizes.num_heads
            ),
        ));
    }
    if !sizes.num_heads.is_multiple_of(sizes.num_kv_heads) {
        return Err(outline.value(
            blame(&["synthetic.num_kv_heads", "synthetic.num_heads"]),
            format!(
                "num_kv_heads to divide num_heads (here {} and {})",
                sizes.num_kv_heads, sizes.num_heads
            ),
        ));
    }
    Ok(sizes)
}
