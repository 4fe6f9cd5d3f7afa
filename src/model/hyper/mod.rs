//! The sizes of a model, read from metadata and checked before anything is computed with them.
//!
//! - `keys`: numbers with checks; `rotation`: positions; `factors`: what scales or bends values.

mod factors;
mod keys;
mod rotation;
#[cfg(test)]
mod tests;

use crate::compute::attention::MAX_HEAD_DIM;
use crate::tensor::Element;
use crate::weights::Metadata;

use super::spec::{self, ExpertRules, Norm, Residual, Spec};
use super::{Error, HyperProblem, KvShape, PerReach, Reach};
pub(super) use factors::Factors;
use keys::Keys;
pub(super) use rotation::{Rotation, Scaling, Sight, Yarn};

/// Bounds far above any model that fits a machine, so that sizes never overflow.
const MAX_LAYERS: u64 = 1024;
const MAX_WIDTH: u64 = 1 << 20;
const MAX_CONTEXT: u64 = 1 << 24;
const MAX_VOCABULARY: u64 = 4 << 20;
const MAX_EXPERTS: u64 = 1024;

/// The sizes of one model; all consistent with each other.
#[derive(Debug, Clone, PartialEq)]
pub struct Hyper {
    pub layers: usize,
    pub hidden: usize,
    pub heads: usize,
    pub kv_heads: usize,
    pub head_dim: usize,
    pub feed_forward: usize,
    /// Positions the model was made for.
    pub context: usize,
    pub(super) norm: Norm,
    pub norm_eps: f32,
    /// Leading dimensions of each head that are rotated; 0 for models that know positions in another way.
    pub rope_dims: usize,
    /// The rotations that occur, and what each layer knows of positions.
    pub(super) rotations: Vec<Rotation>,
    pub(super) sights: Vec<Sight>,
    pub(super) factors: Factors,
    /// The feed-forward part reads what attention reads, behind a norm of its own.
    pub(super) parallel: bool,
    pub(super) experts: Option<Experts>,
    /// Rows of the embedding, where the file says so.
    pub vocabulary: Option<usize>,
}

/// The sizes of a mixture of experts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Experts {
    pub(super) count: usize,
    /// How many serve one token.
    pub(super) used: usize,
    pub(super) feed_forward: usize,
    /// Width of the expert that serves all tokens.
    pub(super) shared: Option<usize>,
    pub(super) rules: ExpertRules,
}

impl Hyper {
    /// Reads the keys of the model's architecture.
    pub(super) fn read(metadata: &Metadata) -> Result<(Hyper, &'static Spec), Error> {
        let name = metadata.string("general.architecture")?;
        let name = metadata.require("general.architecture", Ok(name))?;
        let spec = spec::find(name)?;
        let keys = Keys {
            metadata,
            prefix: spec.architecture,
        };
        let layers = keys.size("block_count", MAX_LAYERS)?;
        let context = keys.size("context_length", MAX_CONTEXT)?;
        let hidden = keys.size("embedding_length", MAX_WIDTH)?;
        let heads = keys.size("attention.head_count", MAX_WIDTH)?;
        let kv_heads = keys.size_or("attention.head_count_kv", MAX_WIDTH, heads)?;
        let head_dim = match keys.unsigned("attention.key_length")? {
            Some(_) => keys.size("attention.key_length", MAX_WIDTH)?,
            None if hidden % heads == 0 => hidden / heads,
            None => {
                return Err(keys.error(
                    "attention.head_count",
                    HyperProblem::Divisor {
                        found: heads,
                        of: hidden,
                    },
                ));
            }
        };
        let values = keys.size_or("attention.value_length", MAX_WIDTH, head_dim)?;
        if values != head_dim {
            let problem = HyperProblem::ValueLength {
                found: values,
                keys: head_dim,
            };
            return Err(keys.error("attention.value_length", problem));
        }
        if head_dim > MAX_HEAD_DIM {
            let problem = HyperProblem::HeadTooWide {
                found: head_dim,
                most: MAX_HEAD_DIM,
            };
            return Err(keys.error("attention.head_count", problem));
        }
        if heads % kv_heads != 0 {
            let problem = HyperProblem::Divisor {
                found: kv_heads,
                of: heads,
            };
            return Err(keys.error("attention.head_count_kv", problem));
        }
        let (rotations, sights) = rotation::read(&keys, spec, layers, context)?;
        let rope_dims = match rotations.is_empty() {
            true => 0,
            false => keys.size_or("rope.dimension_count", MAX_WIDTH, head_dim)?,
        };
        if rope_dims > head_dim || rope_dims % 2 != 0 {
            let problem = HyperProblem::RopeDimensions {
                found: rope_dims,
                head: head_dim,
            };
            return Err(keys.error("rope.dimension_count", problem));
        }
        let norm = keys.norm(spec.norms)?;
        let implied = spec.implied_head_layers == layers;
        let width = if implied { hidden / heads } else { head_dim };
        let hyper = Hyper {
            layers,
            hidden,
            heads,
            kv_heads,
            head_dim,
            feed_forward: keys.size("feed_forward_length", MAX_WIDTH)?,
            context,
            norm,
            norm_eps: keys.positive(norm.epsilon_key(), None)?,
            rope_dims,
            rotations,
            sights,
            factors: Factors::read(&keys, spec, hidden, width)?,
            parallel: match spec.residual {
                Residual::Sequential => false,
                Residual::Declared => {
                    let key = keys.key("use_parallel_residual");
                    metadata.require(&key, metadata.boolean(&key))?
                }
            },
            experts: keys.experts(spec)?,
            vocabulary: keys.optional_size("vocab_size", MAX_VOCABULARY)?,
        };
        Ok((hyper, spec))
    }
}

impl Hyper {
    /// Which blocks each layer uses.
    pub(super) fn reaches(&self) -> impl Iterator<Item = Reach> {
        self.sights.iter().map(|sight| match sight.window {
            None => Reach::All,
            Some(_) => Reach::Window,
        })
    }

    /// Positions that a token sees in the layers with a window; `None` where there are no such layers.
    pub fn window(&self) -> Option<usize> {
        self.sights.iter().filter_map(|sight| sight.window).max()
    }

    /// Layers with a window.
    pub(super) fn windowed_layers(&self) -> usize {
        self.reaches()
            .filter(|&reach| reach == Reach::Window)
            .count()
    }

    /// What one position stores, as values of this type.
    pub(super) fn kv_shape(&self, element: Element) -> KvShape {
        let window = self.windowed_layers();
        KvShape {
            layers: PerReach {
                all: self.layers - window,
                window,
            },
            kv_heads: self.kv_heads,
            head_dim: self.head_dim,
            element,
        }
    }

    /// Whether pairs have factors for short contexts and others for long ones.
    pub(super) fn has_long_factors(&self) -> bool {
        let is_long = |rotation: &Rotation| matches!(rotation.scaling, Scaling::Long { .. });
        self.rotations.iter().any(is_long)
    }
}

impl Keys<'_> {
    /// The first norm whose epsilon the file has; without any, the first, whose epsilon is then missing.
    fn norm(&self, norms: &[Norm]) -> Result<Norm, Error> {
        for &norm in norms {
            if self.float(norm.epsilon_key())?.is_some() {
                return Ok(norm);
            }
        }
        Ok(norms[0])
    }

    fn experts(&self, spec: &Spec) -> Result<Option<Experts>, Error> {
        let count = self.unsigned("expert_count")?.unwrap_or(0);
        let used = self.unsigned("expert_used_count")?.unwrap_or(0);
        if used > count {
            let problem = HyperProblem::ExpertsUsed { used, count };
            return Err(self.error("expert_used_count", problem));
        }
        let rules = match spec.experts {
            None if count > 0 => {
                let problem = HyperProblem::Experts { found: count };
                return Err(self.error("expert_count", problem));
            }
            None => return Ok(None),
            Some(rules) if count == 0 && !rules.required => return Ok(None),
            Some(rules) => rules,
        };
        if let Some(found) = self
            .unsigned("expert_group_count")?
            .filter(|&found| found > 1)
        {
            let problem = HyperProblem::NotFollowed {
                found: found as f32,
            };
            return Err(self.error("expert_group_count", problem));
        }
        let feed_forward = self.size("feed_forward_length", MAX_WIDTH)?;
        let used = self.size("expert_used_count", MAX_EXPERTS)?;
        let own = match rules.required {
            true => self.optional_size("expert_feed_forward_length", MAX_WIDTH)?,
            false => Some(feed_forward),
        };
        let shared = self.optional_size("expert_shared_feed_forward_length", MAX_WIDTH)?;
        if let Some(found) = shared.filter(|_| !rules.shared) {
            let problem = HyperProblem::NotFollowed {
                found: found as f32,
            };
            return Err(self.error("expert_shared_feed_forward_length", problem));
        }
        Ok(Some(Experts {
            count: self.size("expert_count", MAX_EXPERTS)?,
            used,
            feed_forward: own.unwrap_or(feed_forward / used),
            shared: rules.shared.then(|| shared.unwrap_or(feed_forward)),
            rules,
        }))
    }
}
