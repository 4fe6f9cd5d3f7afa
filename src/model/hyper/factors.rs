//! Numbers that scale or bend values on their way through a model.
//!
//! Invariant: a key that the architecture does not follow, and that would change what is computed, is refused.

use super::super::spec::{Factor, Spec};
use super::super::{Error, HyperProblem};
use super::keys::Keys;

/// What the file says beyond sizes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::model) struct Factors {
    /// Multiplies scores; the inverse root of a head's width unless the file says otherwise.
    pub(in crate::model) scores: f32,
    /// Scores are bent to `cap * tanh(score / cap)`.
    pub(in crate::model) score_cap: Option<f32>,
    pub(in crate::model) embedding: Option<f32>,
    /// Multiplies what attention and the feed-forward part add to the stream.
    pub(in crate::model) residual: Option<f32>,
    pub(in crate::model) logits: Option<f32>,
    /// Logits are bent to `cap * tanh(logit / cap)`.
    pub(in crate::model) logit_cap: Option<f32>,
    /// Multiplies the weights of experts.
    pub(in crate::model) experts: f32,
}

/// Each key with the factors that it may stand for. 0 and 1 change nothing.
const KEYS: [(&str, &[Factor]); 7] = [
    ("attention.scale", &[Factor::Attention]),
    ("embedding_scale", &[Factor::Embedding]),
    ("residual_scale", &[Factor::Residual]),
    ("logit_scale", &[Factor::LogitTimes, Factor::LogitDivided]),
    ("attn_logit_softcapping", &[Factor::AttentionCap]),
    ("final_logit_softcapping", &[Factor::LogitCap]),
    ("expert_weights_scale", &[Factor::Experts]),
];

/// Keys that nothing here follows.
const NEVER: [&str; 3] = [
    "attention.max_alibi_bias",
    "attention.clamp_kqv",
    "rope.scaling.yarn_log_multiplier",
];

impl Factors {
    pub(super) fn read(
        keys: &Keys<'_>,
        spec: &Spec,
        hidden: usize,
        head_width: usize,
    ) -> Result<Self, Error> {
        for name in NEVER {
            if let Some(found) = keys.float(name)?.filter(|&found| found != 0.0) {
                return Err(keys.error(name, HyperProblem::NotFollowed { found }));
            }
        }
        if keys.boolean("attention.causal")? == Some(false) {
            return Err(keys.error("attention.causal", HyperProblem::NotCausal));
        }
        let mut factors = Factors {
            scores: 1.0 / (head_width as f32).sqrt(),
            score_cap: spec.default_caps.0,
            embedding: spec.scaled_embedding.then(|| (hidden as f32).sqrt()),
            residual: None,
            logits: None,
            logit_cap: spec.default_caps.1,
            experts: 1.0,
        };
        for (name, meanings) in KEYS {
            let Some(found) = keys.float(name)? else {
                continue;
            };
            let meaning = meanings
                .iter()
                .find(|meaning| spec.factors.contains(meaning));
            // 0 switches a factor off.
            let on = found != 0.0;
            if on {
                keys.check_positive(name, found)?;
            }
            match meaning {
                None if on && found != 1.0 => {
                    return Err(keys.error(name, HyperProblem::NotFollowed { found }));
                }
                None => {}
                Some(Factor::Attention) if on => factors.scores = found,
                Some(Factor::Attention) => {}
                Some(Factor::Embedding) => factors.embedding = on.then_some(found),
                Some(Factor::Residual) => factors.residual = on.then_some(found),
                Some(Factor::LogitTimes) => factors.logits = on.then_some(found),
                Some(Factor::LogitDivided) => factors.logits = on.then_some(1.0 / found),
                Some(Factor::AttentionCap) => factors.score_cap = on.then_some(found),
                Some(Factor::LogitCap) => factors.logit_cap = on.then_some(found),
                Some(Factor::Experts) if on => factors.experts = found,
                Some(Factor::Experts) => {}
            }
        }
        Ok(factors)
    }
}
