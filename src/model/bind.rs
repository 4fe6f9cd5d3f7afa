//! Binding: every weight the architecture names, with the shape the sizes demand, and no other.

use std::collections::HashSet;

use crate::compute::Panels;
use crate::tensor::Layout;
use crate::weights::{Metadata, Tensor, WeightStore};

use super::spec::{Norm, Spec};
use super::{Error, Hyper, KvShape};

/// Bound weights and sizes; shared by all workers.
pub struct Model {
    pub(super) hyper: Hyper,
    pub(super) spec: &'static Spec,
    pub(super) vocab: usize,
    /// At most the model's own context; less when the configuration says so.
    context: usize,
    pub(super) layers: Vec<Layer>,
    pub(super) embedding: Tensor,
    pub(super) output_norm: BoundNorm,
    /// `None` when the embedding is also the output matrix.
    output: Option<Tensor>,
    /// Divides the rotation of each pair; `[rope_dims / 2]`.
    pub(super) rope_factors: Option<Tensor>,
}

/// The weights of one layer.
pub(super) struct Layer {
    pub(super) attention_norm: BoundNorm,
    pub(super) query: Tensor,
    pub(super) key: Tensor,
    pub(super) value: Tensor,
    pub(super) attention_output: Tensor,
    pub(super) feed_forward_norm: BoundNorm,
    pub(super) gate: Tensor,
    pub(super) up: Tensor,
    pub(super) down: Tensor,
}

/// The weights of one norm.
pub(super) enum BoundNorm {
    Rms { weight: Tensor },
    Layer { weight: Tensor, bias: Tensor },
}

/// The matrix of a bound tensor.
pub(super) fn panels(tensor: &Tensor) -> Panels<'_> {
    let spec = tensor.spec();
    Panels::new(tensor.values(), spec.rows, spec.cols)
}

impl Model {
    /// Binds every tensor of `store`; a missing one, a wrong shape or a tensor that the architecture
    /// does not use is an error that names it.
    pub fn bind(
        store: &WeightStore,
        metadata: &Metadata,
        context: Option<usize>,
    ) -> Result<Model, Error> {
        let (hyper, spec) = Hyper::read(metadata)?;
        let mut binder = Binder {
            store,
            used: HashSet::new(),
        };
        let tied = !store.contains("output.weight");
        let vocab = store.get("token_embd.weight")?.spec().rows;
        if vocab == 0 {
            return Err(Error::Unsupported(
                "token_embd.weight has no rows".to_owned(),
            ));
        }
        let embedding = if tied {
            binder.matrix("token_embd.weight", vocab, hyper.hidden)?
        } else {
            binder.take("token_embd.weight", Layout::Rows, vocab, hyper.hidden)?
        };
        let output = if tied {
            None
        } else {
            Some(binder.matrix("output.weight", vocab, hyper.hidden)?)
        };
        let output_norm = binder.norm("output_norm", &hyper)?;
        let rope_factors = match store.contains("rope_freqs.weight") {
            true => Some(binder.vector("rope_freqs.weight", hyper.rope_dims / 2)?),
            false => None,
        };
        let layers = (0..hyper.layers)
            .map(|i| binder.layer(i, &hyper))
            .collect::<Result<Vec<_>, _>>()?;
        binder.refuse_unused()?;
        let context = context.map_or(hyper.context, |wanted| wanted.min(hyper.context));
        Ok(Model {
            hyper,
            spec,
            vocab,
            context,
            layers,
            embedding,
            output_norm,
            output,
            rope_factors,
        })
    }

    pub fn vocab(&self) -> usize {
        self.vocab
    }

    /// Positions that prompt and output of one sequence share.
    pub fn context(&self) -> usize {
        self.context
    }

    pub fn hyper(&self) -> &Hyper {
        &self.hyper
    }

    pub fn kv_shape(&self) -> KvShape {
        KvShape {
            layers: self.hyper.layers,
            kv_heads: self.hyper.kv_heads,
            head_dim: self.hyper.head_dim,
        }
    }

    /// Bytes of one KV block over all layers.
    pub fn kv_block_bytes(&self) -> usize {
        self.kv_shape().block_len() * size_of::<f32>()
    }

    pub(super) fn output(&self) -> Panels<'_> {
        panels(self.output.as_ref().unwrap_or(&self.embedding))
    }

    /// Copies the embedding of token `id` to `out` (`[hidden]`).
    pub(super) fn embed(&self, id: usize, out: &mut [f32]) {
        match self.embedding.spec().layout {
            Layout::Panels => panels(&self.embedding).copy_row(id, out),
            Layout::Rows | Layout::Vector => {
                let hidden = self.hyper.hidden;
                out.copy_from_slice(&self.embedding.values()[id * hidden..(id + 1) * hidden]);
            }
        }
    }
}

struct Binder<'a> {
    store: &'a WeightStore,
    used: HashSet<String>,
}

impl Binder<'_> {
    fn take(
        &mut self,
        name: &str,
        layout: Layout,
        rows: usize,
        cols: usize,
    ) -> Result<Tensor, Error> {
        let tensor = self.store.expect(name, layout, rows, cols)?;
        self.used.insert(name.to_owned());
        Ok(tensor)
    }

    fn matrix(&mut self, name: &str, rows: usize, cols: usize) -> Result<Tensor, Error> {
        self.take(name, Layout::Panels, rows, cols)
    }

    fn vector(&mut self, name: &str, len: usize) -> Result<Tensor, Error> {
        self.take(name, Layout::Vector, 1, len)
    }

    fn norm(&mut self, name: &str, hyper: &Hyper) -> Result<BoundNorm, Error> {
        let weight = self.vector(&format!("{name}.weight"), hyper.hidden)?;
        Ok(match hyper.norm {
            Norm::Rms => BoundNorm::Rms { weight },
            Norm::Layer => BoundNorm::Layer {
                weight,
                bias: self.vector(&format!("{name}.bias"), hyper.hidden)?,
            },
        })
    }

    fn layer(&mut self, index: usize, hyper: &Hyper) -> Result<Layer, Error> {
        let part = |part: &str| format!("blk.{index}.{part}");
        let name = |name: &str| part(&format!("{name}.weight"));
        let (hidden, wide) = (hyper.hidden, hyper.feed_forward);
        let (q, kv) = (
            hyper.heads * hyper.head_dim,
            hyper.kv_heads * hyper.head_dim,
        );
        Ok(Layer {
            attention_norm: self.norm(&part("attn_norm"), hyper)?,
            query: self.matrix(&name("attn_q"), q, hidden)?,
            key: self.matrix(&name("attn_k"), kv, hidden)?,
            value: self.matrix(&name("attn_v"), kv, hidden)?,
            attention_output: self.matrix(&name("attn_output"), hidden, q)?,
            feed_forward_norm: self.norm(&part("ffn_norm"), hyper)?,
            gate: self.matrix(&name("ffn_gate"), wide, hidden)?,
            up: self.matrix(&name("ffn_up"), wide, hidden)?,
            down: self.matrix(&name("ffn_down"), hidden, wide)?,
        })
    }

    fn refuse_unused(&self) -> Result<(), Error> {
        match self
            .store
            .specs()
            .into_iter()
            .find(|spec| !self.used.contains(&spec.name))
        {
            Some(spec) => Err(Error::Unsupported(format!(
                "tensor {} has no place in this architecture",
                spec.name
            ))),
            None => Ok(()),
        }
    }
}
