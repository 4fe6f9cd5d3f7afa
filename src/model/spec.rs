//! What distinguishes one architecture from another, as data. Adding an architecture is adding a row to
//! `architectures`, and a variant here where it computes something new.
//!
//! The reference for each row is llama.cpp (`src/models/<architecture>.cpp`), whose answers the tests compare.

pub(super) use crate::compute::elementwise::{Activation, Rotary};
use crate::weights::gguf::excerpt;

use super::Error;
use super::architectures::ALL;

/// One architecture.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Spec {
    /// `general.architecture` of the file, and the prefix of its keys.
    pub(super) architecture: &'static str,
    /// The norms that it may have; the file's epsilon tells which.
    pub(super) norms: &'static [Norm],
    pub(super) norm_places: NormPlaces,
    pub(super) head_norms: HeadNorms,
    pub(super) positions: Positions,
    /// Every layer whose number (from 1) this divides has no positions at all; 0 leaves none out.
    pub(super) no_position_every: usize,
    pub(super) residual: Residual,
    /// A layer may lack a norm for its feed-forward part, which then reads what attention reads.
    pub(super) shared_norm: bool,
    pub(super) biases: Biases,
    pub(super) feed_forward: FeedForward,
    pub(super) experts: Option<ExpertRules>,
    pub(super) output: Output,
    pub(super) window: Window,
    /// Embeddings are multiplied by the root of their width.
    pub(super) scaled_embedding: bool,
    /// Models of this many layers scale queries by the width of a head as the hidden width implies it, not as heads
    /// are; 0 for none.
    pub(super) implied_head_layers: usize,
    /// Which of the keys that scale or bend values it follows; any other in a file is refused.
    pub(super) factors: &'static [Factor],
    /// Used where the file has no `attn_logit_softcapping`, `final_logit_softcapping`.
    pub(super) default_caps: (Option<f32>, Option<f32>),
}

/// How activations are normalized.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Norm {
    /// By the root mean square, times a weight.
    Rms,
    /// By mean and variance, times a weight, plus a bias.
    Layer,
    /// The same without a bias.
    PlainLayer,
}

impl Norm {
    /// The key of its epsilon.
    pub(super) fn epsilon_key(self) -> &'static str {
        match self {
            Norm::Rms => "attention.layer_norm_rms_epsilon",
            Norm::Layer | Norm::PlainLayer => "attention.layer_norm_epsilon",
        }
    }
}

/// Where a layer normalizes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NormPlaces {
    /// What attention and the feed-forward part read.
    Before,
    /// Also what they give.
    Around,
    /// Only what they give.
    After,
}

/// How queries and keys are normalized before they are rotated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HeadNorms {
    None,
    /// Each head by its root mean square, all with one weight.
    EachHead,
    /// All heads together by their root mean square.
    WholeRow,
    /// Each head by mean and variance with a weight of its own, where the file has such weights.
    OwnWeights,
}

/// How a model knows where a token stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Positions {
    Rotary(Rotary),
    /// A row of `position_embd.weight` is added to the embedding.
    Learned,
}

/// What the feed-forward part reads. A layer without a norm for it reads what attention reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Residual {
    /// The stream after attention.
    Sequential,
    /// The stream before attention where `use_parallel_residual` is true.
    Declared,
}

/// Whether a weight is in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Presence {
    Never,
    Maybe,
    Always,
}

/// Which products add a bias.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Biases {
    pub(super) inputs: Presence,
    pub(super) attention_output: Presence,
    pub(super) feed_forward: Presence,
    pub(super) output: Presence,
}

/// The function between the feed-forward part's matrices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FeedForward {
    /// `down(f(gate(x)) * up(x))`.
    Gated(Activation),
    /// The same with gate and up as one matrix, `ffn_up`.
    GatedTogether(Activation),
    /// `down(f(up(x)))`.
    Plain(Activation),
}

/// How a mixture of experts weighs them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ExpertRules {
    /// A file without experts is refused.
    pub(super) required: bool,
    /// The probabilities of the chosen ones are divided by their sum.
    pub(super) normalized: bool,
    /// One more expert serves every token, behind a gate of its own.
    pub(super) shared: bool,
}

/// The output matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Output {
    /// `output.weight`, or the embedding where the file has none.
    Either,
    /// Always the embedding.
    Embedding,
    /// Always its own.
    Own,
}

/// Which layers see only the last positions.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Window {
    /// None; a file that names a window is refused.
    Never,
    /// None, as llama.cpp computes it, although files name a window.
    Ignored,
    /// All but each `every`-th layer, where the file names a window, or `default`.
    Local {
        every: usize,
        default: Option<usize>,
        rope: LocalRope,
    },
}

/// How local layers rotate where the file does not say.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum LocalRope {
    /// As the others.
    Same,
    /// With the same base, but positions are not scaled.
    Unscaled,
    /// With this base, and positions are not scaled.
    Base(f32),
}

/// Keys that scale or bend values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Factor {
    /// `attention.scale` replaces the root of the head's width.
    Attention,
    /// `embedding_scale` multiplies embeddings.
    Embedding,
    /// `residual_scale` multiplies what is added to the stream.
    Residual,
    /// `logit_scale` multiplies logits.
    LogitTimes,
    /// `logit_scale` divides logits.
    LogitDivided,
    /// `attn_logit_softcapping` bends scores.
    AttentionCap,
    /// `final_logit_softcapping` bends logits.
    LogitCap,
    /// `expert_weights_scale` multiplies the weights of experts.
    Experts,
}

/// The spec of an architecture, or an error that lists what is supported.
pub(super) fn find(architecture: &str) -> Result<&'static Spec, Error> {
    ALL.iter()
        .find(|spec| spec.architecture == architecture)
        .ok_or_else(|| {
            let known: Vec<&str> = ALL.iter().map(|spec| spec.architecture).collect();
            Error::Architecture {
                found: excerpt(architecture),
                supported: known.join(", "),
            }
        })
}
