//! A start that finds its cache file, with the pages of the file in memory.

use std::path::Path;

use crate::bench::Error;
use crate::bench::samples::{Spread, timed};
use crate::cache::MappedTensors;
use crate::config::{self, ModelSource, Verify};
use crate::model::{self, Model};
use crate::text::{ChatTemplate, Tokenizer};
use crate::weights;

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
    let loaded = weights::open(&source, cache_dir, &())?;
    let tokenizer = repeat(effort.turns, || {
        let (built, seconds) = timed(|| Tokenizer::from_metadata(&loaded.metadata));
        built?;
        Ok(seconds)
    })?;
    let template = repeat(effort.turns, || {
        let (built, seconds) = timed(|| ChatTemplate::new(&loaded.metadata, None));
        built?;
        Ok(seconds)
    })?;

    let tensors = MappedTensors::open(&cache_file(cache_dir)?, None)?;
    let one = rayon::ThreadPoolBuilder::new().num_threads(1).build();
    let one = one.map_err(|problem| Error::System {
        action: "start a thread",
        source: std::io::Error::other(problem),
    })?;
    let verification = repeat(effort.turns, || {
        let (verified, seconds) = timed(|| one.install(|| tensors.verify()));
        verified?;
        Ok(seconds)
    })?;
    let [header, background, full] = modes;
    Ok(Start {
        modes: vec![header?, background?, full?],
        tokenizer_seconds: Spread::of(&tokenizer),
        template_seconds: Spread::of(&template),
        verification_gigabytes_per_second: Spread::gigabytes_per_second(
            &verification,
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
    let bound = repeat(turns, || {
        let (bound, seconds) = timed(|| -> Result<Model, Error> {
            let loaded = weights::open(source, &cache.dir, &())?;
            Ok(Model::bind(&loaded.store, &loaded.metadata, None)?)
        });
        bound?;
        Ok(seconds)
    })?;
    let model = served(source.clone());
    let ready = repeat(turns, || {
        Ok(model::load(&model, &cache, &())?.elapsed.as_secs_f64())
    })?;
    Ok(Mode {
        verify: verify.name(),
        bound_seconds: Spread::of(&bound),
        ready_seconds: Spread::of(&ready),
    })
}

/// A model as the daemon would be asked to serve it, without wishes of its own.
pub(super) fn served(source: ModelSource) -> config::Model {
    config::Model {
        name: None,
        source,
        context_length: None,
        chat_template: None,
        max_tokens_completion: 0,
        max_tokens_chat: 0,
    }
}

fn repeat(count: usize, mut once: impl FnMut() -> Result<f64, Error>) -> Result<Vec<f64>, Error> {
    (0..count).map(|_| once()).collect()
}
