//! The sizes of a model, read from metadata and checked before anything is computed with them.

use crate::compute::attention::MAX_HEAD_DIM;
use crate::weights::Metadata;
use crate::weights::gguf::excerpt;

use super::spec::{self, Norm, Spec};
use super::{Error, HyperProblem};

/// Bounds far above any model that fits a machine, so that sizes never overflow.
const MAX_LAYERS: u64 = 1024;
const MAX_WIDTH: u64 = 1 << 20;
const MAX_CONTEXT: u64 = 1 << 24;
const MAX_VOCABULARY: u64 = 4 << 20;

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
    pub rope_base: f32,
    /// Leading dimensions of each head that are rotated.
    pub rope_dims: usize,
    /// Rows of the embedding, where the file says so.
    pub vocabulary: Option<usize>,
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
        keys.refuse_what_is_not_computed()?;

        let layers = keys.size("block_count", MAX_LAYERS)?;
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
        let rope_dims = keys.size_or("rope.dimension_count", MAX_WIDTH, head_dim)?;
        if rope_dims > head_dim || rope_dims % 2 != 0 {
            let problem = HyperProblem::RopeDimensions {
                found: rope_dims,
                head: head_dim,
            };
            return Err(keys.error("rope.dimension_count", problem));
        }
        let norm = keys.norm(spec.norms)?;
        let hyper = Hyper {
            layers,
            hidden,
            heads,
            kv_heads,
            head_dim,
            feed_forward: keys.size("feed_forward_length", MAX_WIDTH)?,
            context: keys.size("context_length", MAX_CONTEXT)?,
            norm,
            norm_eps: keys.positive(norm.epsilon_key(), None)?,
            rope_base: keys.positive("rope.freq_base", Some(10_000.0))?,
            rope_dims,
            vocabulary: match keys.unsigned("vocab_size")? {
                Some(_) => Some(keys.size("vocab_size", MAX_VOCABULARY)?),
                None => None,
            },
        };
        Ok((hyper, spec))
    }
}

struct Keys<'a> {
    metadata: &'a Metadata,
    prefix: &'static str,
}

impl Keys<'_> {
    fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.prefix)
    }

    fn error(&self, name: &str, problem: HyperProblem) -> Error {
        Error::Hyper {
            key: self.key(name),
            problem,
        }
    }

    fn unsigned(&self, name: &str) -> Result<Option<u64>, Error> {
        Ok(self.metadata.unsigned(&self.key(name))?)
    }

    /// A size from 1 to `most`.
    fn size(&self, name: &str, most: u64) -> Result<usize, Error> {
        let key = self.key(name);
        let value = self.metadata.require(&key, self.metadata.unsigned(&key))?;
        match usize::try_from(value) {
            Ok(size) if (1..=most).contains(&value) => Ok(size),
            _ => Err(self.error(name, HyperProblem::Range { found: value, most })),
        }
    }

    fn size_or(&self, name: &str, most: u64, default: usize) -> Result<usize, Error> {
        match self.unsigned(name)? {
            Some(_) => self.size(name, most),
            None => Ok(default),
        }
    }

    fn positive(&self, name: &str, default: Option<f32>) -> Result<f32, Error> {
        let key = self.key(name);
        let value = match (self.metadata.float(&key)?, default) {
            (Some(value), _) | (None, Some(value)) => value,
            (None, None) => self.metadata.require(&key, Ok(None))?,
        };
        self.check_positive(name, value)
    }

    fn check_positive(&self, name: &str, found: f32) -> Result<f32, Error> {
        if found.is_finite() && found > 0.0 {
            Ok(found)
        } else {
            Err(self.error(name, HyperProblem::NotPositive { found }))
        }
    }

    /// The first norm whose epsilon the file has; without any, the first, whose epsilon is then missing.
    fn norm(&self, norms: &[Norm]) -> Result<Norm, Error> {
        for &norm in norms {
            if self
                .metadata
                .float(&self.key(norm.epsilon_key()))?
                .is_some()
            {
                return Ok(norm);
            }
        }
        Ok(norms[0])
    }

    /// Keys that change what the model computes and that this version does not know how to follow.
    fn refuse_what_is_not_computed(&self) -> Result<(), Error> {
        self.refuse_scaling()?;
        let count = self.unsigned("expert_count")?.unwrap_or(0);
        let used = self.unsigned("expert_used_count")?.unwrap_or(0);
        if used > count {
            let problem = HyperProblem::ExpertsUsed { used, count };
            return Err(self.error("expert_used_count", problem));
        }
        if count > 0 {
            return Err(self.error("expert_count", HyperProblem::Experts { found: count }));
        }
        let window = self.unsigned("attention.sliding_window")?.unwrap_or(0);
        if window > 0 {
            let problem = HyperProblem::SlidingWindow { found: window };
            return Err(self.error("attention.sliding_window", problem));
        }
        Ok(())
    }

    /// Scaled positions. A factor scales although no type is named: then linear is meant.
    fn refuse_scaling(&self) -> Result<(), Error> {
        let kind = self.metadata.string(&self.key("rope.scaling.type"))?;
        if let Some(kind) = kind.filter(|&kind| kind != "none") {
            let problem = HyperProblem::Scaling {
                found: excerpt(kind),
            };
            return Err(self.error("rope.scaling.type", problem));
        }
        for name in ["rope.scaling.factor", "rope.scale_linear"] {
            let Some(factor) = self.metadata.float(&self.key(name))? else {
                continue;
            };
            let factor = self.check_positive(name, factor)?;
            if kind.is_none() && factor != 1.0 {
                return Err(self.error(name, HyperProblem::ScalingFactor { found: factor }));
            }
        }
        Ok(())
    }
}
