//! The weights of an architecture: names, layouts and sizes, by what each is for. The one list that both
//! the check before a conversion and binding after it go by.
//!
//! Invariant: plain data; no weight is read here.

use std::collections::HashMap;

use crate::tensor::{Layout, TensorSpec};
use crate::weights::Shape;

use super::spec::Norm;
use super::{Error, Hyper};

pub(super) const EMBEDDING: &str = "token_embd.weight";
pub(super) const OUTPUT: &str = "output.weight";
const OUTPUT_NORM: &str = "output_norm";
const ROPE_FACTORS: &str = "rope_freqs.weight";

/// Most rows of an embedding: the largest vocabularies have a quarter of a million.
const MAX_VOCABULARY: usize = 4 << 20;

/// One thing per weight of a model: what is expected of it, or the weight itself.
pub(super) struct Parts<T> {
    pub(super) embedding: T,
    /// `None` when the embedding is also the output matrix.
    pub(super) output: Option<T>,
    pub(super) output_norm: NormParts<T>,
    /// Divides the rotation of each pair; only some models have it.
    pub(super) rope_factors: Option<T>,
    pub(super) layers: Vec<Layer<T>>,
}

/// The weights of one layer.
pub(super) struct Layer<T> {
    pub(super) attention_norm: NormParts<T>,
    pub(super) query: T,
    pub(super) key: T,
    pub(super) value: T,
    pub(super) attention_output: T,
    pub(super) feed_forward_norm: NormParts<T>,
    pub(super) gate: T,
    pub(super) up: T,
    pub(super) down: T,
}

/// The weights of one norm.
pub(super) enum NormParts<T> {
    Rms { weight: T },
    Layer { weight: T, bias: T },
}

impl<T> Parts<T> {
    /// Makes one thing of another, weight by weight.
    pub(super) fn try_map<U, E>(
        self,
        mut map: impl FnMut(T) -> Result<U, E>,
    ) -> Result<Parts<U>, E> {
        Ok(Parts {
            embedding: map(self.embedding)?,
            output: self.output.map(&mut map).transpose()?,
            output_norm: self.output_norm.try_map(&mut map)?,
            rope_factors: self.rope_factors.map(&mut map).transpose()?,
            layers: self
                .layers
                .into_iter()
                .map(|layer| layer.try_map(&mut map))
                .collect::<Result<_, _>>()?,
        })
    }
}

impl<T> NormParts<T> {
    fn try_map<U, E>(self, mut map: impl FnMut(T) -> Result<U, E>) -> Result<NormParts<U>, E> {
        Ok(match self {
            NormParts::Rms { weight } => NormParts::Rms {
                weight: map(weight)?,
            },
            NormParts::Layer { weight, bias } => NormParts::Layer {
                weight: map(weight)?,
                bias: map(bias)?,
            },
        })
    }
}

impl<T> Layer<T> {
    fn try_map<U, E>(self, mut map: impl FnMut(T) -> Result<U, E>) -> Result<Layer<U>, E> {
        Ok(Layer {
            attention_norm: self.attention_norm.try_map(&mut map)?,
            query: map(self.query)?,
            key: map(self.key)?,
            value: map(self.value)?,
            attention_output: map(self.attention_output)?,
            feed_forward_norm: self.feed_forward_norm.try_map(&mut map)?,
            gate: map(self.gate)?,
            up: map(self.up)?,
            down: map(self.down)?,
        })
    }
}

/// What a model of these sizes has, given what `shapes` tell: how long its vocabulary is, and which of the
/// optional weights are there. Fails on a weight that is missing, has other dimensions, or has no place.
pub(super) fn weights(hyper: &Hyper, shapes: &[Shape]) -> Result<Parts<TensorSpec>, Error> {
    let mut found: HashMap<&str, &[usize]> = shapes
        .iter()
        .map(|shape| (shape.name.as_str(), shape.dimensions.as_slice()))
        .collect();
    let vocabulary = vocabulary(hyper, &found)?;
    let has = |name: &str| found.contains_key(name);
    let expected = parts(hyper, vocabulary, has(OUTPUT), has(ROPE_FACTORS));

    let checked = expected.try_map(|spec| match found.remove(spec.name.as_str()) {
        None => Err(Error::MissingTensor {
            name: spec.name,
            columns: spec.cols,
        }),
        Some(dimensions) if dimensions == self::dimensions(&spec) => Ok(spec),
        Some(dimensions) => Err(Error::TensorShape {
            found: dimensions.to_vec(),
            expected: self::dimensions(&spec),
            name: spec.name,
        }),
    })?;
    // In the order of the file, so that the same file gives the same sentence.
    let unknown = shapes
        .iter()
        .find(|shape| found.contains_key(shape.name.as_str()));
    match unknown {
        Some(shape) => Err(Error::UnknownTensor {
            name: shape.name.clone(),
        }),
        None => Ok(checked),
    }
}

/// The rows of the embedding.
fn vocabulary(hyper: &Hyper, found: &HashMap<&str, &[usize]>) -> Result<usize, Error> {
    let Some(dimensions) = found.get(EMBEDDING) else {
        return Err(Error::MissingTensor {
            name: EMBEDDING.to_owned(),
            columns: hyper.hidden,
        });
    };
    let &[_, rows] = *dimensions else {
        return Err(Error::TensorShape {
            name: EMBEDDING.to_owned(),
            found: dimensions.to_vec(),
            expected: vec![hyper.hidden, hyper.vocabulary.unwrap_or(1)],
        });
    };
    if rows > MAX_VOCABULARY {
        return Err(Error::VocabularyRows {
            found: rows,
            most: MAX_VOCABULARY,
        });
    }
    match hyper.vocabulary {
        Some(declared) if declared != rows => Err(Error::VocabularySize { declared, rows }),
        _ => Ok(rows),
    }
}

/// Dimensions as a file has them: the length of a row first.
pub(super) fn dimensions(spec: &TensorSpec) -> Vec<usize> {
    match spec.layout {
        Layout::Vector => vec![spec.cols],
        Layout::Panels | Layout::Rows => vec![spec.cols, spec.rows],
    }
}

fn parts(hyper: &Hyper, vocabulary: usize, untied: bool, rope_factors: bool) -> Parts<TensorSpec> {
    let table = if untied { Layout::Rows } else { Layout::Panels };
    Parts {
        embedding: spec(EMBEDDING, table, vocabulary, hyper.hidden),
        output: untied.then(|| spec(OUTPUT, Layout::Panels, vocabulary, hyper.hidden)),
        output_norm: norm(OUTPUT_NORM, hyper),
        rope_factors: rope_factors
            .then(|| spec(ROPE_FACTORS, Layout::Vector, 1, hyper.rope_dims / 2)),
        layers: (0..hyper.layers).map(|i| layer(i, hyper)).collect(),
    }
}

fn layer(index: usize, hyper: &Hyper) -> Layer<TensorSpec> {
    let part = |name: &str| format!("blk.{index}.{name}");
    let matrix = |name: &str, rows, cols| {
        let name = format!("{}.weight", part(name));
        spec(&name, Layout::Panels, rows, cols)
    };
    let (hidden, wide) = (hyper.hidden, hyper.feed_forward);
    let (q, kv) = (
        hyper.heads * hyper.head_dim,
        hyper.kv_heads * hyper.head_dim,
    );
    Layer {
        attention_norm: norm(&part("attn_norm"), hyper),
        query: matrix("attn_q", q, hidden),
        key: matrix("attn_k", kv, hidden),
        value: matrix("attn_v", kv, hidden),
        attention_output: matrix("attn_output", hidden, q),
        feed_forward_norm: norm(&part("ffn_norm"), hyper),
        gate: matrix("ffn_gate", wide, hidden),
        up: matrix("ffn_up", wide, hidden),
        down: matrix("ffn_down", hidden, wide),
    }
}

fn norm(name: &str, hyper: &Hyper) -> NormParts<TensorSpec> {
    let vector = |part: &str| spec(&format!("{name}.{part}"), Layout::Vector, 1, hyper.hidden);
    let weight = vector("weight");
    match hyper.norm {
        Norm::Rms => NormParts::Rms { weight },
        Norm::Layer => NormParts::Layer {
            weight,
            bias: vector("bias"),
        },
    }
}

fn spec(name: &str, layout: Layout, rows: usize, cols: usize) -> TensorSpec {
    TensorSpec {
        name: name.to_owned(),
        layout,
        rows,
        cols,
    }
}
