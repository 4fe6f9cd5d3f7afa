//! Models as the cache verbs see them: converted, or read only for what they are.

use std::path::{Path, PathBuf};

use crate::cli::Error;
use crate::cli::interrupt::Interrupt;
use crate::cli::progress::Conversion;
use crate::config::{self, ModelSource};
use crate::tensor::Element;
use crate::weights::{self, Loaded, Origin};

use super::failed;

/// The weights of `model` through the cache, with matrices as `element`; a progress bar shows a conversion, and a signal stops it.
pub(super) fn convert(
    model: &Path,
    element: Element,
    cache: &config::Cache,
    interrupt: &Interrupt,
) -> Result<Loaded, Error> {
    let source = ModelSource::at(model.to_path_buf());
    let progress = Conversion::of(model).until(interrupt);
    weights::open_cached(&source, element, cache, &progress).map_err(failed)
}

/// Where the cache file of the model is. What follows a slash in a fingerprint is no part of the weights.
pub(super) fn cache_file(loaded: &Loaded, cache: &config::Cache) -> PathBuf {
    let stem = loaded.fingerprint.split('/').next().unwrap_or_default();
    cache.dir.join(format!("{stem}.safetensors"))
}

/// What the model is, and the key of its weights as `element`; reads all of it.
pub(super) fn origin(model: &Path, element: Element) -> Result<Origin, Error> {
    let source = ModelSource::at(model.to_path_buf());
    let origin = Origin::of(&source, element, &Conversion::of(model)).map_err(failed)?;
    origin.ok_or_else(|| Error::Usage(format!("{} is no model", model.display())))
}
