//! The largest model that generates 15 tokens per second: what the seed of this project hoped for.

use std::sync::Arc;

use serde::Serialize;

use super::bench::Bench;
use super::workload::{Kind, Workload};
use crate::bench::Error;
use crate::bench::load::served;
use crate::compute::Isa;
use crate::config::{self, ModelSource, Preset};
use crate::model::{Model, load};
use crate::tensor::Elements;

/// Tokens per second.
pub(super) const WANTED: f64 = 15.0;
/// Models that are tried: each is a better guess than the one before.
const TRIES: usize = 4;
/// A guess is a little smaller than what the last one tells, so that it is likely to hold.
const CAUTION: f64 = 0.97;

/// Of the preset `135m` with another number of layers.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Fifteen {
    pub(super) layers: usize,
    pub(super) parameters: u64,
    pub(super) tokens_per_second: f64,
    /// Parameters whose FP32 values the bandwidth of the same moment brings 15 times in a second.
    pub(super) limit_parameters: u64,
}

/// `None` when no model that was tried is fast enough.
pub(super) fn measure(
    isa: Isa,
    threads: usize,
    cache: &config::Cache,
) -> Result<Option<Fifteen>, Error> {
    let mut best: Option<Fifteen> = None;
    let mut layers = 120;
    for _ in 0..TRIES {
        let source = ModelSource::Synthetic(config::Synthetic {
            num_layers: layers,
            ..Preset::M135.sizes()
        });
        let loaded = load(&served(source), Elements::default(), cache, &())?;
        let tried = run(
            &loaded.model,
            isa,
            threads,
            layers,
            loaded.report.parameters,
        )?;
        if tried.tokens_per_second >= WANTED
            && best.is_none_or(|best| best.parameters < tried.parameters)
        {
            best = Some(tried);
        }
        layers = next(layers, tried.tokens_per_second);
    }
    Ok(best)
}

/// Layers whose steps probably take a fifteenth of a second.
fn next(layers: usize, tokens_per_second: f64) -> usize {
    let guess = layers as f64 * tokens_per_second / WANTED * CAUTION;
    (guess as usize).max(1)
}

fn run(
    model: &Arc<Model>,
    isa: Isa,
    threads: usize,
    layers: usize,
    parameters: u64,
) -> Result<Fifteen, Error> {
    let workload = Workload {
        kind: Kind::Generate,
        depth: 0,
        sequences: 1,
        together: 1,
        steps: 16,
    };
    let mut bench = Bench::new(model, isa, threads, &[workload], false)?;
    let figure = bench.measure(&workload, 3)?;
    let limit = figure.limit_tokens_per_second.median * parameters as f64 / WANTED;
    Ok(Fifteen {
        layers,
        parameters,
        tokens_per_second: figure.tokens_per_second.median,
        limit_parameters: limit as u64,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guess_follows_the_speed() {
        assert_eq!(next(100, 15.0), 97);
        assert_eq!(next(100, 30.0), 194);
        assert_eq!(next(1, 0.1), 1);
    }
}
