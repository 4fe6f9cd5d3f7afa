//! A start that finds its cache file, with the pages of the file in memory.

use std::path::Path;
use std::time::Duration;

use crate::bench::Error;
use crate::bench::samples::{Spread, timed_on_core};
use crate::cache::MappedTensors;
use crate::config::{self, ModelSource, Verify};
use crate::model::{self, Times};
use crate::tensor::Elements;

use super::Effort;
use super::convert::cache_file;
use super::report::{Mode, Start};

pub(super) fn measure(
    source: ModelSource,
    cache_dir: &Path,
    effort: Effort,
) -> Result<Start, Error> {
    let modes = [Verify::Header, Verify::Background, Verify::Full];
    let modes = modes.map(|verify| mode(&source, cache_dir, verify, effort.turns));
    let tensors = MappedTensors::open(&cache_file(cache_dir)?, None)?;
    let one = rayon::ThreadPoolBuilder::new().num_threads(1).build();
    let one = one.map_err(|problem| Error::System {
        action: "start a thread",
        source: std::io::Error::other(problem),
    })?;
    let verify = |_| -> Result<f64, Error> {
        let (verified, seconds) = one.install(|| timed_on_core(|| tensors.verify(&())));
        verified?;
        Ok(seconds)
    };
    let verification: Result<Vec<f64>, Error> = (0..effort.turns).map(verify).collect();
    let [header, background, full] = modes;
    Ok(Start {
        modes: vec![header?, background?, full?],
        verification_gigabytes_per_second: Spread::gigabytes_per_second(
            &verification?,
            tensors.value_bytes() as usize,
        ),
    })
}

fn mode(
    source: &ModelSource,
    cache_dir: &Path,
    verify: Verify,
    turns: usize,
) -> Result<Mode, Error> {
    let cache = config::Cache {
        dir: cache_dir.to_path_buf(),
        max_bytes: None,
        verify,
    };
    let model = served(source.clone());
    let times: Result<Vec<Times>, Error> = (0..turns)
        .map(|_| Ok(model::load(&model, Elements::default(), &cache, &())?.times))
        .collect();
    let times = times?;
    let seconds = |of: fn(&Times) -> Duration| -> Spread {
        let seconds: Vec<f64> = times.iter().map(|times| of(times).as_secs_f64()).collect();
        Spread::of(&seconds)
    };
    Ok(Mode {
        verify: verify.name(),
        bound_seconds: seconds(|times| times.weights),
        tokenizer_seconds: seconds(|times| times.tokenizer),
        ready_seconds: seconds(|times| times.total),
    })
}

/// A model as the daemon would be asked to serve it, without wishes of its own.
pub(in crate::bench) fn served(source: ModelSource) -> config::Model {
    config::Model {
        name: None,
        source,
        context_length: None,
        chat_template: None,
        max_tokens_completion: 0,
        max_tokens_chat: 0,
    }
}
