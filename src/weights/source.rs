//! Opening a weight source, whatever it is.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::cache::{self, Check, Contents, Directory, Found, Key, MemoryTensors};
use crate::config::{self, Verify};
use crate::tensor::Element;

use super::convert::Conversion;
use super::files::{self, ModelFiles};
use super::synthetic::Synthetic;
use super::{Error, Metadata, Progress, Shape, Unverified, WeightStore, folder};

/// Weights ready to bind, and what they cost.
pub struct Loaded {
    pub store: WeightStore,
    /// Of the GGUF file; the other sources say theirs in the same words.
    pub metadata: Arc<Metadata>,
    /// Identifies the source, weights, sizes and tokenizer: equal fingerprints, equal values and metadata.
    pub fingerprint: String,
    pub report: LoadReport,
    /// There when a cache file was taken as it is, to be verified in the background.
    pub unverified: Option<Unverified>,
}

/// What opening the source did.
#[derive(Debug, Clone, PartialEq)]
pub struct LoadReport {
    pub from_cache: bool,
    pub elapsed: Duration,
    /// Parameters, panel padding not counted.
    pub parameters: u64,
    /// Bytes mapped or allocated for values.
    pub bytes: u64,
    /// Why the weights live in memory, where they belong into a cache file.
    pub not_cached: Option<String>,
    /// Tensors with infinities or NaNs, and how many; known only after a conversion.
    pub non_finite: Vec<(String, u64)>,
}

/// Opens `source` as FP32 through a cache file with every value compared; a model's files are converted unless a
/// valid cache file is there. Synthetic weights live in memory unless they are to persist.
pub fn open(
    source: &config::ModelSource,
    cache_dir: &Path,
    progress: &dyn Progress,
) -> Result<Loaded, Error> {
    let settings = config::Cache {
        dir: cache_dir.to_path_buf(),
        max_bytes: None,
        verify: Verify::Full,
    };
    open_cached(source, Element::F32, &settings, progress)
}

/// The same as `settings` say, with matrices as `element`; fails where the cache file cannot be written.
pub fn open_cached(
    source: &config::ModelSource,
    element: Element,
    settings: &config::Cache,
    progress: &dyn Progress,
) -> Result<Loaded, Error> {
    let how = How {
        element,
        settings,
        or_memory: false,
        progress,
    };
    how.open(source, |_, _| Ok(()))
}

/// The same, unless `accept` refuses the metadata and the tensors of a file: a model that cannot run is
/// not worth the minutes and gigabytes of its conversion. Where the cache file cannot be written, for lack of
/// room or permission, the weights live in memory.
pub fn open_if<E: From<Error>>(
    source: &config::ModelSource,
    element: Element,
    settings: &config::Cache,
    progress: &dyn Progress,
    accept: impl FnOnce(&Arc<Metadata>, &[Shape]) -> Result<(), E>,
) -> Result<Loaded, E> {
    let how = How {
        element,
        settings,
        or_memory: true,
        progress,
    };
    how.open(source, accept)
}

/// How weights are to be opened.
#[derive(Clone, Copy)]
struct How<'a> {
    element: Element,
    settings: &'a config::Cache,
    /// Where there is no room for a cache file.
    or_memory: bool,
    progress: &'a dyn Progress,
}

impl How<'_> {
    fn open<E: From<Error>>(
        self,
        source: &config::ModelSource,
        accept: impl FnOnce(&Arc<Metadata>, &[Shape]) -> Result<(), E>,
    ) -> Result<Loaded, E> {
        let start = Instant::now();
        let model = match source {
            config::ModelSource::Gguf(path) => files::gguf(path)?,
            config::ModelSource::Safetensors(path) => folder::open(path)?,
            config::ModelSource::Synthetic(sizes) => return Ok(self.synthetic(sizes, start)?),
        };
        self.files(model, accept, start)
    }

    fn files<E: From<Error>>(
        self,
        mut model: ModelFiles,
        accept: impl FnOnce(&Arc<Metadata>, &[Shape]) -> Result<(), E>,
        start: Instant,
    ) -> Result<Loaded, E> {
        let metadata = Arc::new(std::mem::take(&mut model.metadata));
        accept(&metadata, &model.shapes())?;
        // What was accepted must be what is in the files still.
        model.confirm()?;
        let conversion = Conversion::new(&model)?;
        let source = model.source(self.element);
        let found = directory(self.settings).and_then(|directory| {
            let check = check(self.settings.verify);
            directory.find_or_build_from(source, &conversion, check, self.progress)
        });
        let (mut loaded, non_finite) = match found {
            Ok(found) => (
                from_file(found, self.settings.verify, metadata, start),
                conversion.non_finite(),
            ),
            Err(error) if self.or_memory && error.is_lack_of_room() => {
                // Counts again from zero what is not finite.
                let conversion = Conversion::new(&model)?;
                let reason = error.to_string();
                let tensors = self.in_memory(error, &conversion)?;
                conversion
                    .confirm()
                    .map_err(|problem| Error::from(cache::Error::Source(problem)))?;
                let key = source.content_key(self.progress).map_err(Error::from)?;
                let mut loaded = from_memory(tensors, metadata, key.stem(), start);
                loaded.report.not_cached = Some(reason);
                (loaded, conversion.non_finite())
            }
            Err(error) => return Err(Error::from(error).into()),
        };
        for (name, count) in &non_finite {
            tracing::warn!("tensor {name}: {count} values are not finite");
        }
        loaded.report.non_finite = non_finite;
        if let Some(description) = &model.description {
            loaded.fingerprint = format!("{}/{description}", loaded.fingerprint);
        }
        Ok(loaded)
    }

    fn synthetic(self, sizes: &config::Synthetic, start: Instant) -> Result<Loaded, Error> {
        let synthetic = Synthetic::new(sizes)?;
        let key = Key {
            source: synthetic.fingerprint.clone(),
            source_bytes: 0,
            element: self.element,
        };
        let verify = self.settings.verify;
        let (tensors, not_cached) = if sizes.persist {
            let found = directory(self.settings).and_then(|directory| {
                directory.find_or_build(&key, &synthetic, check(verify), self.progress)
            });
            match found {
                Ok(found) => {
                    let metadata = Arc::new(synthetic.metadata);
                    return Ok(from_file(found, verify, metadata, start));
                }
                Err(lack) if self.or_memory && lack.is_lack_of_room() => {
                    let reason = lack.to_string();
                    let tensors = self.in_memory(lack, &synthetic).map_err(too_large)?;
                    (tensors, Some(reason))
                }
                Err(error) => return Err(too_large(error.into())),
            }
        } else {
            let filled = MemoryTensors::fill(&synthetic, self.element, self.progress);
            (filled.map_err(|error| too_large(error.into()))?, None)
        };
        let metadata = Arc::new(synthetic.metadata);
        let mut loaded = from_memory(tensors, metadata, key.stem(), start);
        loaded.report.not_cached = not_cached;
        Ok(loaded)
    }

    /// Weights for which the cache has no room, if memory has.
    fn in_memory(
        self,
        lack: cache::Error,
        contents: &dyn Contents,
    ) -> Result<MemoryTensors, Error> {
        match MemoryTensors::fill(contents, self.element, self.progress) {
            Ok(tensors) => {
                tracing::warn!("{lack}; the weights are in memory instead, until the next start");
                Ok(tensors)
            }
            Err(memory @ cache::Error::NoMemory { .. }) => Err(Error::NoRoom {
                disk: lack.into(),
                memory: memory.into(),
            }),
            Err(error) => Err(error.into()),
        }
    }
}

fn directory(settings: &config::Cache) -> Result<Directory, cache::Error> {
    Ok(Directory::open(&settings.dir)?.limited_to(settings.max_bytes))
}

/// What is compared before a file is used.
fn check(verify: Verify) -> Check {
    match verify {
        Verify::Full => Check::Values,
        Verify::Background | Verify::Header => Check::Header,
    }
}

/// Files need what they need; the sizes of synthetic weights are the user's own choice.
fn too_large(error: Error) -> Error {
    use cache::Error as C;
    match error {
        Error::NoRoom { .. }
        | Error::Cache(C::NoMemory { .. } | C::NoSpace { .. } | C::OverLimit { .. }) => {
            Error::SyntheticTooLarge(error.into())
        }
        other => other,
    }
}

fn from_memory(
    tensors: MemoryTensors,
    metadata: Arc<Metadata>,
    fingerprint: String,
    start: Instant,
) -> Loaded {
    let store = WeightStore::memory(tensors);
    let report = report(&store, false, start);
    Loaded {
        store,
        metadata,
        fingerprint,
        report,
        unverified: None,
    }
}

fn from_file(found: Found, verify: Verify, metadata: Arc<Metadata>, start: Instant) -> Loaded {
    if let Some(reason) = &found.replaced {
        tracing::warn!("built the cache file again: {reason}");
    }
    let fingerprint = found.tensors.key().stem();
    let store = WeightStore::mapped(found.tensors);
    let report = report(&store, found.from_cache, start);
    let in_doubt = !found.values_checked && verify != Verify::Header;
    let unverified = in_doubt.then(|| store.unverified());
    Loaded {
        store,
        metadata,
        fingerprint,
        report,
        unverified,
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
        not_cached: None,
        non_finite: vec![],
    }
}
