//! The sizes of a model, read from metadata and checked before anything is computed with them.

use crate::compute::attention::MAX_HEAD_DIM;
use crate::weights::Metadata;

use super::Error;
use super::spec::{self, Norm, Spec};

/// Bounds far above any model that fits a machine, so that sizes never overflow.
const MAX_LAYERS: u64 = 1024;
const MAX_WIDTH: u64 = 1 << 20;
const MAX_CONTEXT: u64 = 1 << 24;

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
                    format!("{heads} does not divide {hidden}"),
                ));
            }
        };
        if keys.size_or("attention.value_length", MAX_WIDTH, head_dim)? != head_dim {
            return Err(keys.error(
                "attention.value_length",
                format!("differs from the keys' {head_dim}"),
            ));
        }
        if head_dim > MAX_HEAD_DIM {
            let limit = format!("gives heads of {head_dim}; at most {MAX_HEAD_DIM} are supported");
            return Err(keys.error("attention.head_count", limit));
        }
        if heads % kv_heads != 0 {
            let problem = format!("{kv_heads} does not divide the {heads} heads");
            return Err(keys.error("attention.head_count_kv", problem));
        }
        let rope_dims = keys.size_or("rope.dimension_count", MAX_WIDTH, head_dim)?;
        if rope_dims > head_dim || rope_dims % 2 != 0 {
            let problem = format!("{rope_dims} must be even and at most the head's {head_dim}");
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

    fn error(&self, name: &str, problem: String) -> Error {
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
            _ => Err(self.error(name, format!("is {value}; expected 1 to {most}"))),
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
        if value.is_finite() && value > 0.0 {
            Ok(value)
        } else {
            Err(self.error(name, format!("is {value}; expected a positive number")))
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
        let scaling = self.metadata.string(&self.key("rope.scaling.type"))?;
        if let Some(scaling) = scaling.filter(|&s| s != "none") {
            let problem = format!("\"{scaling}\" is not supported (supported: none)");
            return Err(self.error("rope.scaling.type", problem));
        }
        if let Some(experts) = self.unsigned("expert_count")?.filter(|&n| n > 0) {
            let problem = format!("is {experts}: mixtures of experts are not supported");
            return Err(self.error("expert_count", problem));
        }
        if self
            .unsigned("attention.sliding_window")?
            .is_some_and(|n| n > 0)
        {
            let problem = "is set: sliding windows are not supported".to_owned();
            return Err(self.error("attention.sliding_window", problem));
        }
        Ok(())
    }
}
