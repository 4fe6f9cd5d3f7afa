//! The metadata of a synthetic model, in the words of a GGUF file.

use crate::config::{self, SyntheticNorm};
use crate::weights::Metadata;
use crate::weights::gguf::Value;

/// The tokenizer of synthetic models: bytes 0 to 255, BOS, EOS, and `<id>` for every other id.
const TOKENIZER: &str = "woolly-bytes";
const BOS: u32 = 256;
const EOS: u32 = 257;

/// Everything that `model` and `text` ask of a GGUF file of the llama architecture.
pub(super) fn metadata(sizes: &config::Synthetic, parameters: u64) -> Metadata {
    let head_size = sizes.hidden_size / sizes.num_heads;
    let epsilon_key = match sizes.norm {
        SyntheticNorm::Rms => "llama.attention.layer_norm_rms_epsilon",
        SyntheticNorm::Layer => "llama.attention.layer_norm_epsilon",
    };
    let text = |text: &str| Value::String(text.to_owned());
    let size = |size: usize| Value::U64(size as u64);
    let pairs = [
        ("general.architecture", text("llama")),
        ("general.name", text(&name(parameters))),
        ("llama.block_count", size(sizes.num_layers)),
        ("llama.context_length", size(sizes.context_length)),
        ("llama.embedding_length", size(sizes.hidden_size)),
        ("llama.feed_forward_length", size(sizes.intermediate_size)),
        ("llama.attention.head_count", size(sizes.num_heads)),
        ("llama.attention.head_count_kv", size(sizes.num_kv_heads)),
        (epsilon_key, Value::F32(sizes.preset.norm_epsilon())),
        ("llama.rope.freq_base", Value::F32(sizes.preset.rope_base())),
        ("llama.rope.dimension_count", size(head_size)),
        ("llama.vocab_size", size(sizes.vocab_size)),
        ("tokenizer.ggml.model", text(TOKENIZER)),
        ("tokenizer.ggml.bos_token_id", Value::U32(BOS)),
        ("tokenizer.ggml.eos_token_id", Value::U32(EOS)),
    ];
    Metadata::from_pairs(pairs.map(|(key, value)| (key.to_owned(), value)).into())
}

/// `synthetic-135m`: the parameter count to three digits.
fn name(parameters: u64) -> String {
    let (unit, suffix) = match parameters {
        0..1_000_000 => (1_000, "k"),
        1_000_000..1_000_000_000 => (1_000_000, "m"),
        _ => (1_000_000_000, "b"),
    };
    let tenths = (parameters * 10 + unit / 2) / unit;
    if tenths < 100 && !tenths.is_multiple_of(10) {
        format!("synthetic-{}.{}{suffix}", tenths / 10, tenths % 10)
    } else {
        format!("synthetic-{}{suffix}", (parameters + unit / 2) / unit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_the_parameter_count() {
        assert_eq!(name(134_515_008), "synthetic-135m");
        assert_eq!(name(1_540_000_000), "synthetic-1.5b");
        assert_eq!(name(8_030_000_000), "synthetic-8b");
        assert_eq!(name(51_234), "synthetic-51k");
    }
}
