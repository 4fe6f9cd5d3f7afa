//! What distinguishes one architecture from another, as data. Adding an architecture is adding a row
//! here, and a variant where it computes something new.

use crate::weights::gguf::excerpt;

use super::Error;

/// One architecture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Spec {
    /// `general.architecture` of the file, and the prefix of its keys.
    pub(super) architecture: &'static str,
    /// The norms that it may have; the file's epsilon tells which.
    pub(super) norms: &'static [Norm],
    pub(super) rotary: Rotary,
    pub(super) feed_forward: FeedForward,
}

/// How activations are normalized before attention, before the feed-forward part and at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Norm {
    /// By the root mean square, times a weight.
    Rms,
    /// By mean and variance, times a weight, plus a bias.
    Layer,
}

impl Norm {
    /// The key of its epsilon.
    pub(super) fn epsilon_key(self) -> &'static str {
        match self {
            Norm::Rms => "attention.layer_norm_rms_epsilon",
            Norm::Layer => "attention.layer_norm_epsilon",
        }
    }
}

/// Which dimensions of a head form a rotated pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rotary {
    /// `(2i, 2i + 1)`.
    Adjacent,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FeedForward {
    /// `down(silu(gate(x)) * up(x))`.
    SwiGlu,
}

const SPECS: [Spec; 1] = [Spec {
    architecture: "llama",
    // No published llama has the second; synthetic models do.
    norms: &[Norm::Rms, Norm::Layer],
    rotary: Rotary::Adjacent,
    feed_forward: FeedForward::SwiGlu,
}];

/// The spec of an architecture, or an error that lists what is supported.
pub(super) fn find(architecture: &str) -> Result<&'static Spec, Error> {
    SPECS
        .iter()
        .find(|spec| spec.architecture == architecture)
        .ok_or_else(|| {
            let known: Vec<&str> = SPECS.iter().map(|spec| spec.architecture).collect();
            Error::Architecture {
                found: excerpt(architecture),
                supported: known.join(", "),
            }
        })
}
