//! Names, layouts and sizes of a llama model's tensors, as in a GGUF file.

use crate::config;
use crate::tensor::{Layout, TensorSpec};
use crate::weights::Error;

/// The byte tokenizer has 256 bytes, BOS and EOS.
const MIN_VOCABULARY: usize = 258;

/// Every tensor, in the order of a GGUF file.
pub(super) fn specs(sizes: &config::Synthetic) -> Result<Vec<TensorSpec>, Error> {
    let &config::Synthetic {
        vocab_size: vocab,
        hidden_size: hidden,
        num_layers,
        num_heads,
        num_kv_heads,
        context_length,
        intermediate_size: ff,
        tied,
        ..
    } = sizes;
    let all = [
        vocab,
        hidden,
        num_layers,
        num_heads,
        num_kv_heads,
        context_length,
        ff,
    ];
    if all.contains(&0) {
        return Err(Error::Synthetic("every size must be at least 1".into()));
    }
    if vocab < MIN_VOCABULARY {
        return Err(Error::Synthetic(format!(
            "vocab_size is {vocab}, expected at least {MIN_VOCABULARY}"
        )));
    }
    if hidden % num_heads != 0 || num_heads % num_kv_heads != 0 {
        return Err(Error::Synthetic(format!(
            "num_heads {num_heads} must divide hidden_size {hidden}, and num_kv_heads {num_kv_heads} \
             must divide num_heads"
        )));
    }
    let kv = hidden / num_heads * num_kv_heads;
    let table = if tied { Layout::Panels } else { Layout::Rows };

    let mut specs = vec![];
    let mut add = |name: &str, layout, rows, cols| {
        specs.push(TensorSpec {
            name: name.to_owned(),
            layout,
            rows,
            cols,
        });
    };
    add("token_embd.weight", table, vocab, hidden);
    for layer in 0..num_layers {
        let mut add = |part, layout, rows, cols| {
            add(&format!("blk.{layer}.{part}.weight"), layout, rows, cols);
        };
        add("attn_norm", Layout::Vector, 1, hidden);
        add("attn_q", Layout::Panels, hidden, hidden);
        add("attn_k", Layout::Panels, kv, hidden);
        add("attn_v", Layout::Panels, kv, hidden);
        add("attn_output", Layout::Panels, hidden, hidden);
        add("ffn_norm", Layout::Vector, 1, hidden);
        add("ffn_gate", Layout::Panels, ff, hidden);
        add("ffn_up", Layout::Panels, ff, hidden);
        add("ffn_down", Layout::Panels, hidden, ff);
    }
    add("output_norm.weight", Layout::Vector, 1, hidden);
    if !tied {
        add("output.weight", Layout::Panels, vocab, hidden);
    }
    match specs
        .iter()
        .try_fold(0usize, |sum, spec| sum.checked_add(spec.stored_len()?))
    {
        Some(_) => Ok(specs),
        None => Err(Error::Synthetic(
            "the number of parameters overflows".into(),
        )),
    }
}
