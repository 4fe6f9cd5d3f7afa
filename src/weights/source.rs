//! Opening a weight source, whatever it is.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::cache::{self, Directory, Found, Key, MemoryTensors};
use crate::config;

use super::convert::Conversion;
use super::files::{self, ModelFiles};
use super::synthetic::Synthetic;
use super::{Error, Metadata, Progress, Shape, WeightStore, folder};

/// Weights ready to bind, and what they cost.
pub struct Loaded {
    pub store: WeightStore,
    /// Of the GGUF file; the other sources say theirs in the same words.
    pub metadata: Arc<Metadata>,
    /// Identifies the source, weights, sizes and tokenizer: equal fingerprints, equal values and metadata.
    pub fingerprint: String,
    pub report: LoadReport,
    pub unverified: Option<super::Unverified>,
}

/// What opening the source did.
#[derive(Debug, Clone, PartialEq)]
pub struct LoadReport {
    pub from_cache: bool,
    pub elapsed: Duration,
    /// Parameters, panel padding not counted.
    pub parameters: u64,
    /// FP32 bytes mapped or allocated.
    pub bytes: u64,
    /// Tensors with infinities or NaNs, and how many; known only after a conversion.
    pub non_finite: Vec<(String, u64)>,
}

/// Opens `source`; a model's files are converted into `cache_dir` unless a valid cache file is there.
/// Synthetic weights live in memory, or in `cache_dir` when they are to persist.
pub fn open(
    source: &config::ModelSource,
    cache_dir: &Path,
    progress: &dyn Progress,
) -> Result<Loaded, Error> {
    open_if(source, cache_dir, progress, |_, _| Ok(()))
}

/// The same, unless `accept` refuses what the headers of the files say: a model that cannot run is not
/// worth the minutes and gigabytes of its conversion.
pub fn open_if<E: From<Error>>(
    source: &config::ModelSource,
    cache_dir: &Path,
    progress: &dyn Progress,
    accept: impl FnOnce(&Arc<Metadata>, &[Shape]) -> Result<(), E>,
) -> Result<Loaded, E> {
    let start = Instant::now();
    let model = match source {
        config::ModelSource::Gguf(path) => files::gguf(path)?,
        config::ModelSource::Safetensors(path) => folder::open(path)?,
        config::ModelSource::Synthetic(sizes) => {
            return Ok(open_synthetic(sizes, cache_dir, progress, start)?);
        }
    };
    open_files(model, cache_dir, progress, accept, start)
}

fn open_files<E: From<Error>>(
    mut model: ModelFiles,
    cache_dir: &Path,
    progress: &dyn Progress,
    accept: impl FnOnce(&Arc<Metadata>, &[Shape]) -> Result<(), E>,
    start: Instant,
) -> Result<Loaded, E> {
    let metadata = Arc::new(std::mem::take(&mut model.metadata));
    accept(&metadata, &model.shapes())?;
    // What was accepted must be what is in the files still.
    model.confirm()?;
    let conversion = Conversion::new(&model)?;
    let found = Directory::open(cache_dir)
        .and_then(|cache| cache.find_or_build_from(model.source(), &conversion, progress))
        .map_err(Error::from)?;
    let non_finite = conversion.non_finite();
    for (name, count) in &non_finite {
        tracing::warn!("tensor {name}: {count} values are not finite");
    }
    let mut loaded = from_file(found, metadata, start);
    loaded.report.non_finite = non_finite;
    if let Some(description) = model.description {
        loaded.fingerprint = format!("{}/{description}", loaded.fingerprint);
    }
    Ok(loaded)
}

fn open_synthetic(
    sizes: &config::Synthetic,
    cache_dir: &Path,
    progress: &dyn Progress,
    start: Instant,
) -> Result<Loaded, Error> {
    let synthetic = Synthetic::new(sizes)?;
    let key = Key {
        source: synthetic.fingerprint.clone(),
        source_bytes: 0,
    };
    if sizes.persist {
        let directory = Directory::open(cache_dir)?;
        let found = directory
            .find_or_build(&key, &synthetic, progress)
            .map_err(too_large)?;
        return Ok(from_file(found, Arc::new(synthetic.metadata), start));
    }
    let tensors = MemoryTensors::fill(&synthetic, progress).map_err(too_large)?;
    let store = WeightStore::memory(tensors);
    let report = report(&store, false, start);
    let metadata = Arc::new(synthetic.metadata);
    Ok(Loaded {
        store,
        metadata,
        fingerprint: key.stem(),
        report,
        unverified: None,
    })
}

/// Files need what they need; the sizes of synthetic weights are the user's own choice.
fn too_large(error: cache::Error) -> Error {
    match error {
        cache::Error::NoMemory { .. } | cache::Error::NoSpace { .. } => {
            Error::SyntheticTooLarge(error)
        }
        other => other.into(),
    }
}

fn from_file(found: Found, metadata: Arc<Metadata>, start: Instant) -> Loaded {
    if let Some(reason) = &found.replaced {
        tracing::warn!("built the cache file again: {reason}");
    }
    let fingerprint = found.tensors.key().stem();
    let store = WeightStore::mapped(found.tensors);
    let report = report(&store, found.from_cache, start);
    Loaded {
        store,
        metadata,
        fingerprint,
        report,
        unverified: None,
    }
}

fn report(store: &WeightStore, from_cache: bool, start: Instant) -> LoadReport {
    let specs = store.specs();
    LoadReport {
        from_cache,
        elapsed: start.elapsed(),
        parameters: specs
            .iter()
            .map(|spec| (spec.rows * spec.cols) as u64)
            .sum(),
        bytes: store.value_bytes(),
        non_finite: vec![],
    }
}
