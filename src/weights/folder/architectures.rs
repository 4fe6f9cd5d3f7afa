//! What is known of each architecture in a folder, as data: keys of `config.json`, names of tensors, and
//! what llama.cpp's converter makes of both. Adding an architecture is adding a row.

use super::Error;

/// One architecture.
pub(super) struct Architecture {
    /// Its names in `architectures` of `config.json`.
    pub(super) names: &'static [&'static str],
    /// `general.architecture` of a GGUF file, and the prefix of its keys.
    pub(super) gguf: &'static str,
    pub(super) sizes: &'static [Size],
    /// Key of `config.json` and of GGUF; none may be missing.
    pub(super) numbers: &'static [(&'static str, &'static str)],
    /// Keys that may be missing, and otherwise must have this value: others are computed in another way.
    pub(super) fixed: &'static [(&'static str, Fixed)],
    /// Whether the output matrix is the embedding where the file does not say.
    pub(super) tied: bool,
    pub(super) tensors: &'static [Row],
    /// Of each layer, behind [`LAYER`] and its number.
    pub(super) layer_tensors: &'static [Row],
}

/// Names of tensors of a layer begin with this in a folder, and with `blk.` in a GGUF file.
pub(super) const LAYER: &str = "model.layers.";

/// The matrix that is there only where it is not the embedding.
pub(super) const OUTPUT: &str = "lm_head.weight";

/// Ends of names of tensors that hold what is computed anyway.
pub(super) const IGNORED: &[&str] = &[".rotary_emb.inv_freq"];

/// A whole number of `config.json` and its key in a GGUF file.
pub(super) struct Size {
    pub(super) key: &'static str,
    pub(super) gguf: &'static str,
    pub(super) otherwise: Otherwise,
}

/// What a missing key means.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Otherwise {
    Refused,
    /// The key is missing in the GGUF file too.
    Absent,
    /// The value of another key.
    Same(&'static str),
}

/// A value that a key must have.
pub(super) enum Fixed {
    Text(&'static str),
    Number(f64),
}

/// One tensor in a folder and in a GGUF file.
pub(super) struct Row {
    pub(super) folder: &'static str,
    pub(super) gguf: &'static str,
    pub(super) rows: Rows,
}

/// What the converter does with the rows.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Rows {
    Kept,
    /// Each query head's rotated pairs come together.
    PairedByHead,
    /// Each key head's.
    PairedByKvHead,
}

const fn size(key: &'static str, gguf: &'static str, otherwise: Otherwise) -> Size {
    Size {
        key,
        gguf,
        otherwise,
    }
}

const fn row(folder: &'static str, gguf: &'static str, rows: Rows) -> Row {
    Row { folder, gguf, rows }
}

const LLAMA: Architecture = Architecture {
    names: &["LlamaForCausalLM", "LLaMAForCausalLM", "MistralForCausalLM"],
    gguf: "llama",
    sizes: &[
        size("num_hidden_layers", "block_count", Otherwise::Refused),
        size(
            "max_position_embeddings",
            "context_length",
            Otherwise::Refused,
        ),
        size("hidden_size", "embedding_length", Otherwise::Refused),
        size(
            "intermediate_size",
            "feed_forward_length",
            Otherwise::Refused,
        ),
        size(
            "num_attention_heads",
            "attention.head_count",
            Otherwise::Refused,
        ),
        size(
            "num_key_value_heads",
            "attention.head_count_kv",
            Otherwise::Same("num_attention_heads"),
        ),
        size("head_dim", "attention.key_length", Otherwise::Absent),
        size("head_dim", "attention.value_length", Otherwise::Absent),
        size("vocab_size", "vocab_size", Otherwise::Refused),
        size(
            "sliding_window",
            "attention.sliding_window",
            Otherwise::Absent,
        ),
    ],
    numbers: &[("rms_norm_eps", "attention.layer_norm_rms_epsilon")],
    fixed: &[
        ("hidden_act", Fixed::Text("silu")),
        ("partial_rotary_factor", Fixed::Number(1.0)),
    ],
    tied: false,
    tensors: &[
        row("model.embed_tokens.weight", "token_embd.weight", Rows::Kept),
        row("model.norm.weight", "output_norm.weight", Rows::Kept),
        row(OUTPUT, "output.weight", Rows::Kept),
    ],
    layer_tensors: &[
        row("input_layernorm.weight", "attn_norm.weight", Rows::Kept),
        row(
            "self_attn.q_proj.weight",
            "attn_q.weight",
            Rows::PairedByHead,
        ),
        row(
            "self_attn.k_proj.weight",
            "attn_k.weight",
            Rows::PairedByKvHead,
        ),
        row("self_attn.v_proj.weight", "attn_v.weight", Rows::Kept),
        row("self_attn.o_proj.weight", "attn_output.weight", Rows::Kept),
        row(
            "post_attention_layernorm.weight",
            "ffn_norm.weight",
            Rows::Kept,
        ),
        row("mlp.gate_proj.weight", "ffn_gate.weight", Rows::Kept),
        row("mlp.up_proj.weight", "ffn_up.weight", Rows::Kept),
        row("mlp.down_proj.weight", "ffn_down.weight", Rows::Kept),
    ],
};

const ARCHITECTURES: [Architecture; 1] = [LLAMA];

/// The architecture of this name, or an error that lists what is supported.
pub(super) fn find(name: &str) -> Result<&'static Architecture, Error> {
    const ALL: &[Architecture] = &ARCHITECTURES;
    let known = || ALL.iter().flat_map(|known| known.names);
    ALL.iter()
        .find(|known| known.names.contains(&name))
        .ok_or_else(|| Error::Architecture {
            found: name.to_owned(),
            supported: known().copied().collect::<Vec<_>>().join(", "),
        })
}
