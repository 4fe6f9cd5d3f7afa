//! The weights of an architecture: names, layouts and sizes, by what each is for. The one list that both
//! the check before a conversion and binding after it go by.
//!
//! Invariant: plain data; no weight is read here.

use std::collections::HashMap;

use crate::tensor::{Layout, TensorSpec};
use crate::weights::{Shape, slice_name};

use super::parts::{Expert, Feed, Inputs, Layer, Linear, Mixture, NormParts, Parts, RopeFactors};
use super::spec::{FeedForward, HeadNorms, Norm, NormPlaces, Output, Positions, Presence, Spec};
use super::{Error, Hyper};

pub(super) const EMBEDDING: &str = "token_embd.weight";
pub(super) const OUTPUT: &str = "output.weight";
const OUTPUT_NORM: &str = "output_norm";
const OUTPUT_BIAS: &str = "output.bias";
const POSITIONS: &str = "position_embd.weight";
const ROPE_FACTORS: &str = "rope_freqs.weight";
const ROPE_SHORT: &str = "rope_factors_short.weight";
const ROPE_LONG: &str = "rope_factors_long.weight";

/// Most rows of an embedding: the largest vocabularies have a quarter of a million.
const MAX_VOCABULARY: usize = 4 << 20;

/// What a model of these sizes has, given what `shapes` tell: how long its vocabulary is, and which of the
/// optional weights are there. Fails on a weight that is missing, has other dimensions, or has no place.
pub(super) fn weights(
    hyper: &Hyper,
    spec: &Spec,
    shapes: &[Shape],
) -> Result<Parts<TensorSpec>, Error> {
    let mut found: HashMap<&str, &[usize]> = shapes
        .iter()
        .map(|shape| (shape.name.as_str(), shape.dimensions.as_slice()))
        .collect();
    let vocabulary = vocabulary(hyper, &found)?;
    let file = File {
        hyper,
        spec,
        found: &found,
    };
    let expected = file.parts(vocabulary);

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

/// What is expected of a file, given which of the optional weights it has.
struct File<'a> {
    hyper: &'a Hyper,
    spec: &'a Spec,
    found: &'a HashMap<&'a str, &'a [usize]>,
}

impl File<'_> {
    fn has(&self, name: &str) -> bool {
        self.found.contains_key(name)
    }

    /// A vector that the file may have.
    fn optional(&self, presence: Presence, name: &str, len: usize) -> Option<TensorSpec> {
        let is_there = match presence {
            Presence::Never => false,
            Presence::Maybe => self.has(name),
            Presence::Always => true,
        };
        is_there.then(|| vector(name, len))
    }

    fn parts(&self, vocabulary: usize) -> Parts<TensorSpec> {
        let File { hyper, spec, .. } = self;
        let untied = match spec.output {
            Output::Either => self.has(OUTPUT),
            Output::Embedding => false,
            Output::Own => true,
        };
        let table = if untied { Layout::Rows } else { Layout::Panels };
        let pairs = hyper.rope_dims / 2;
        Parts {
            embedding: tensor(EMBEDDING, table, vocabulary, hyper.hidden),
            positions: (spec.positions == Positions::Learned)
                .then(|| tensor(POSITIONS, Layout::Panels, hyper.context, hyper.hidden)),
            output: untied.then(|| tensor(OUTPUT, Layout::Panels, vocabulary, hyper.hidden)),
            output_bias: self.optional(spec.biases.output, OUTPUT_BIAS, vocabulary),
            output_norm: self.norm(OUTPUT_NORM),
            rope_factors: self.rope_factors(pairs),
            layers: (0..hyper.layers).map(|index| self.layer(index)).collect(),
        }
    }

    fn rope_factors(&self, pairs: usize) -> RopeFactors<TensorSpec> {
        let long = self.hyper.has_long_factors();
        let maybe = |name, used: bool| match used {
            true => self.optional(Presence::Maybe, name, pairs),
            false => None,
        };
        RopeFactors {
            all: maybe(ROPE_FACTORS, !long && pairs > 0),
            short: maybe(ROPE_SHORT, long),
            long: maybe(ROPE_LONG, long),
        }
    }

    fn layer(&self, index: usize) -> Layer<TensorSpec> {
        let File { hyper, spec, .. } = self;
        let part = |name: &str| format!("blk.{index}.{name}");
        let (before, after) = match spec.norm_places {
            NormPlaces::Before => (true, false),
            NormPlaces::Around => (true, true),
            NormPlaces::After => (false, true),
        };
        let norm = |name: &str, is_there: bool| is_there.then(|| self.norm(&part(name)));
        // A layer may read the same norm for both parts.
        let own_norm = self.has(&part("ffn_norm.weight")) || !spec.shared_norm;
        let (hidden, q) = (hyper.hidden, hyper.heads * hyper.head_dim);
        Layer {
            attention_norm: norm("attn_norm", before),
            inputs: self.inputs(&part),
            query_norm: self.head_norm(&part("attn_q_norm.weight"), hyper.heads),
            key_norm: self.head_norm(&part("attn_k_norm.weight"), hyper.kv_heads),
            attention_output: self.linear(
                &part("attn_output"),
                hidden,
                q,
                spec.biases.attention_output,
            ),
            attention_post_norm: norm("post_attention_norm", after),
            feed_forward_norm: norm("ffn_norm", before && own_norm),
            feed_forward: self.feed(&part),
            feed_forward_post_norm: norm("post_ffw_norm", after),
        }
    }

    fn inputs(&self, part: &impl Fn(&str) -> String) -> Inputs<TensorSpec> {
        let File { hyper, spec, .. } = self;
        let q = hyper.heads * hyper.head_dim;
        let kv = hyper.kv_heads * hyper.head_dim;
        let linear =
            |name: &str, rows| self.linear(&part(name), rows, hyper.hidden, spec.biases.inputs);
        if self.has(&part("attn_qkv.weight")) {
            Inputs::Together(linear("attn_qkv", q + 2 * kv))
        } else {
            Inputs::Apart([
                linear("attn_q", q),
                linear("attn_k", kv),
                linear("attn_v", kv),
            ])
        }
    }

    fn head_norm(&self, name: &str, heads: usize) -> Option<TensorSpec> {
        let dim = self.hyper.head_dim;
        match self.spec.head_norms {
            HeadNorms::None => None,
            HeadNorms::EachHead => Some(vector(name, dim)),
            HeadNorms::WholeRow => Some(vector(name, heads * dim)),
            // A table of one row is a vector to whoever reads the file.
            HeadNorms::OwnWeights => self.has(name).then(|| match heads {
                1 => vector(name, dim),
                _ => tensor(name, Layout::Panels, heads, dim),
            }),
        }
    }

    fn feed(&self, part: &impl Fn(&str) -> String) -> Feed<TensorSpec> {
        let File { hyper, spec, .. } = self;
        if hyper.experts.is_some() {
            return Feed::Mixture(self.mixture(part));
        }
        let (hidden, wide) = (hyper.hidden, hyper.feed_forward);
        let linear =
            |name: &str, rows, cols| self.linear(&part(name), rows, cols, spec.biases.feed_forward);
        let down = linear("ffn_down", hidden, wide);
        match spec.feed_forward {
            FeedForward::Gated(_) => Feed::Gated {
                gate: linear("ffn_gate", wide, hidden),
                up: linear("ffn_up", wide, hidden),
                down,
            },
            FeedForward::GatedTogether(_) => Feed::Together {
                gate_up: linear("ffn_up", 2 * wide, hidden),
                down,
            },
            FeedForward::Plain(_) => Feed::Plain {
                up: linear("ffn_up", wide, hidden),
                down,
            },
        }
    }

    fn mixture(&self, part: &impl Fn(&str) -> String) -> Mixture<TensorSpec> {
        let hidden = self.hyper.hidden;
        let sizes = self.hyper.experts.expect("asked before");
        let matrix = |name: String, rows, cols| tensor(&name, Layout::Panels, rows, cols);
        let of = |kind: &str, index: usize| {
            slice_name(
                &part(&format!("ffn_{kind}_exps.weight")),
                index,
                sizes.count,
            )
        };
        let expert = |index: usize| Expert {
            gate: matrix(of("gate", index), sizes.feed_forward, hidden),
            up: matrix(of("up", index), sizes.feed_forward, hidden),
            down: matrix(of("down", index), hidden, sizes.feed_forward),
        };
        let shared = |wide: usize| {
            let name = |kind: &str| part(&format!("ffn_{kind}_shexp.weight"));
            let gate = vector(&part("ffn_gate_inp_shexp.weight"), hidden);
            let expert = Expert {
                gate: matrix(name("gate"), wide, hidden),
                up: matrix(name("up"), wide, hidden),
                down: matrix(name("down"), hidden, wide),
            };
            (gate, expert)
        };
        Mixture {
            router: matrix(part("ffn_gate_inp.weight"), sizes.count, hidden),
            experts: (0..sizes.count).map(expert).collect(),
            shared: sizes.shared.map(shared),
        }
    }

    fn linear(&self, name: &str, rows: usize, cols: usize, bias: Presence) -> Linear<TensorSpec> {
        Linear {
            weight: tensor(&format!("{name}.weight"), Layout::Panels, rows, cols),
            bias: self.optional(bias, &format!("{name}.bias"), rows),
        }
    }

    fn norm(&self, name: &str) -> NormParts<TensorSpec> {
        let part = |part: &str| vector(&format!("{name}.{part}"), self.hyper.hidden);
        let weight = part("weight");
        match self.hyper.norm {
            Norm::Rms => NormParts::Rms { weight },
            Norm::Layer => NormParts::Layer {
                weight,
                bias: Some(part("bias")),
            },
            Norm::PlainLayer => NormParts::Layer { weight, bias: None },
        }
    }
}

fn vector(name: &str, len: usize) -> TensorSpec {
    tensor(name, Layout::Vector, 1, len)
}

fn tensor(name: &str, layout: Layout, rows: usize, cols: usize) -> TensorSpec {
    TensorSpec {
        name: name.to_owned(),
        layout,
        rows,
        cols,
    }
}
