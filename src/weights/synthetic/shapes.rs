//! Names, layouts and sizes of a llama model's tensors, as in a GGUF file.

use crate::config::{self, SyntheticNorm};
use crate::tensor::{Element, Layout, TensorSpec};
use crate::weights::Error;

/// How the names of biases end.
pub(super) const BIAS: &str = ".bias";
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
        ref norm,
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

    let mut list = List {
        specs: vec![],
        biases: *norm == SyntheticNorm::Layer,
    };
    list.add("token_embd.weight".into(), table, vocab, hidden);
    for layer in 0..num_layers {
        let part = |part| format!("blk.{layer}.{part}");
        list.norm(&part("attn_norm"), hidden);
        list.matrix(&part("attn_q"), hidden, hidden);
        list.matrix(&part("attn_k"), kv, hidden);
        list.matrix(&part("attn_v"), kv, hidden);
        list.matrix(&part("attn_output"), hidden, hidden);
        list.norm(&part("ffn_norm"), hidden);
        list.matrix(&part("ffn_gate"), ff, hidden);
        list.matrix(&part("ffn_up"), ff, hidden);
        list.matrix(&part("ffn_down"), hidden, ff);
    }
    list.norm("output_norm", hidden);
    if !tied {
        list.matrix("output", vocab, hidden);
    }
    let specs = list.specs;
    match specs.iter().try_fold(0usize, |sum, spec| {
        sum.checked_add(spec.stored_len(Element::F32)?)
    }) {
        Some(_) => Ok(specs),
        None => Err(Error::Synthetic(
            "the number of parameters overflows".into(),
        )),
    }
}

struct List {
    specs: Vec<TensorSpec>,
    /// Whether a norm has a bias.
    biases: bool,
}

impl List {
    fn add(&mut self, name: String, layout: Layout, rows: usize, cols: usize) {
        self.specs.push(TensorSpec {
            name,
            layout,
            rows,
            cols,
        });
    }

    fn matrix(&mut self, name: &str, rows: usize, cols: usize) {
        self.add(format!("{name}.weight"), Layout::Panels, rows, cols);
    }

    fn norm(&mut self, name: &str, width: usize) {
        self.add(format!("{name}.weight"), Layout::Vector, 1, width);
        if self.biases {
            self.add(format!("{name}{BIAS}"), Layout::Vector, 1, width);
        }
    }
}
