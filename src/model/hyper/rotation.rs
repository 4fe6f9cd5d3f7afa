//! How queries and keys are rotated by their positions, and which layers see only the last of them.

use crate::weights::gguf::{Value, excerpt};

use super::super::spec::{LocalRope, Positions, Spec, Window};
use super::super::{Error, HyperProblem};
use super::MAX_CONTEXT;
use super::keys::Keys;

/// The angles of one kind of layers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::model) struct Rotation {
    pub(in crate::model) base: f32,
    pub(in crate::model) scaling: Scaling,
}

/// How positions beyond those of the training are brought among them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::model) enum Scaling {
    None,
    /// Positions are divided.
    Linear {
        factor: f32,
    },
    /// High frequencies stay, low ones are divided, and angles between are mixed (arXiv:2309.00071).
    Yarn(Yarn),
    /// Each pair has factors of its own: one set for contexts up to the original, one for longer.
    Long {
        attention: f32,
        original: usize,
    },
}

/// Parameters of YaRN under their names in GGUF files.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::model) struct Yarn {
    pub(in crate::model) factor: f32,
    /// Positions of the training.
    pub(in crate::model) original: usize,
    pub(in crate::model) extrapolation: f32,
    pub(in crate::model) attention: f32,
    pub(in crate::model) beta_fast: f32,
    pub(in crate::model) beta_slow: f32,
}

/// What one layer knows of positions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::model) struct Sight {
    /// Index into the model's rotations; `None` for a layer without.
    pub(in crate::model) rotation: Option<usize>,
    /// How many positions a token sees, itself included; `None` for all.
    pub(in crate::model) window: Option<usize>,
}

/// The rotations that occur, and which each layer has.
pub(super) fn read(
    keys: &Keys<'_>,
    spec: &Spec,
    layers: usize,
    context: usize,
) -> Result<(Vec<Rotation>, Vec<Sight>), Error> {
    let window = window(keys, spec, layers)?;
    let rotary = matches!(spec.positions, Positions::Rotary(_));
    let scaling = scaling(keys, context)?;
    if !rotary {
        if scaling != Scaling::None {
            let factor = keys.float("rope.scaling.factor")?.unwrap_or(0.0);
            let problem = HyperProblem::NotFollowed { found: factor };
            return Err(keys.error("rope.scaling.factor", problem));
        }
        let sight = Sight {
            rotation: None,
            window: None,
        };
        return Ok((vec![], vec![sight; layers]));
    }
    let global = Rotation {
        base: keys.positive("rope.freq_base", Some(10_000.0))?,
        scaling,
    };
    let mut rotations = vec![global];
    if let (Some(_), Window::Local { rope, .. }) = (&window, spec.window) {
        let named = keys.float("rope.freq_base_swa")?;
        let mut local = match rope {
            LocalRope::Same => global,
            LocalRope::Unscaled => Rotation {
                scaling: Scaling::None,
                ..global
            },
            LocalRope::Base(base) => Rotation {
                base,
                scaling: Scaling::None,
            },
        };
        if let Some(base) = named {
            local.base = keys.check_positive("rope.freq_base_swa", base)?;
        }
        rotations.push(local);
    }
    let sight = |layer: usize| {
        let local = window
            .as_ref()
            .and_then(|(size, is_local)| is_local[layer].then_some(*size));
        let every = spec.no_position_every;
        let without = every > 0 && (layer + 1).is_multiple_of(every);
        Sight {
            rotation: (!without).then_some(usize::from(local.is_some())),
            window: local,
        }
    };
    Ok((rotations, (0..layers).map(sight).collect()))
}

/// The size of the window, and which layers have it.
fn window(
    keys: &Keys<'_>,
    spec: &Spec,
    layers: usize,
) -> Result<Option<(usize, Vec<bool>)>, Error> {
    let name = "attention.sliding_window";
    let found = keys.unsigned(name)?;
    let (every, default) = match spec.window {
        Window::Ignored => return Ok(None),
        Window::Never => {
            return match found.filter(|&found| found > 0) {
                Some(found) => Err(keys.error(name, HyperProblem::SlidingWindow { found })),
                None => Ok(None),
            };
        }
        Window::Local { every, default, .. } => (every, default),
    };
    let size = match found {
        Some(0) => None,
        Some(_) => Some(keys.size(name, MAX_CONTEXT)?),
        None => default,
    };
    let Some(size) = size else { return Ok(None) };
    let pattern = "attention.sliding_window_pattern";
    let is_local = match keys.metadata.get(&keys.key(pattern)) {
        Some(Value::Bools(flags)) if flags.len() == layers => flags.clone(),
        Some(Value::Bools(flags)) => {
            let problem = HyperProblem::Pattern {
                found: flags.len(),
                layers,
            };
            return Err(keys.error(pattern, problem));
        }
        _ => {
            let every = match keys.unsigned(pattern)? {
                Some(every) => usize::try_from(every).unwrap_or(usize::MAX),
                None => every,
            };
            // The last of each group sees everything; 0 leaves none.
            let local = |layer: usize| every == 0 || layer % every + 1 < every;
            (0..layers).map(local).collect()
        }
    };
    Ok(Some((size, is_local)))
}

/// A factor scales although no type is named: then linear is meant.
fn scaling(keys: &Keys<'_>, context: usize) -> Result<Scaling, Error> {
    let kind = keys.string("rope.scaling.type")?;
    let factor = match keys.float("rope.scaling.factor")? {
        Some(factor) => Some(("rope.scaling.factor", factor)),
        None => keys
            .float("rope.scale_linear")?
            .map(|factor| ("rope.scale_linear", factor)),
    };
    let factor = match factor {
        Some((name, factor)) => keys.check_positive(name, factor)?,
        None => 1.0,
    };
    let original = keys.size_or("rope.scaling.original_context_length", MAX_CONTEXT, context)?;
    let attention = keys.positive("rope.scaling.attn_factor", Some(1.0))?;
    let plain = match kind {
        Some("none") => Scaling::None,
        None | Some("linear") if factor == 1.0 => Scaling::None,
        None | Some("linear") => Scaling::Linear { factor },
        Some("yarn") => {
            return Ok(Scaling::Yarn(Yarn {
                factor,
                original,
                attention,
                extrapolation: keys.positive("rope.scaling.yarn_ext_factor", Some(1.0))?,
                beta_fast: keys.positive("rope.scaling.yarn_beta_fast", Some(32.0))?,
                beta_slow: keys.positive("rope.scaling.yarn_beta_slow", Some(1.0))?,
            }));
        }
        Some("longrope") if factor == 1.0 => {
            return Ok(Scaling::Long {
                attention,
                original,
            });
        }
        Some("longrope") => {
            let problem = HyperProblem::NotFollowed { found: factor };
            return Err(keys.error("rope.scaling.factor", problem));
        }
        Some(other) => {
            let found = excerpt(other);
            return Err(keys.error("rope.scaling.type", HyperProblem::Scaling { found }));
        }
    };
    // llama.cpp would scale queries and keys by it; no file of these kinds is known to have it.
    if attention != 1.0 {
        let problem = HyperProblem::NotFollowed { found: attention };
        return Err(keys.error("rope.scaling.attn_factor", problem));
    }
    Ok(plain)
}
