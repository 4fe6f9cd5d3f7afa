//! Opening a weight source, whatever it is.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::config;

use super::{Error, Metadata, WeightStore};

/// Watches a conversion. Methods are called from several threads.
pub trait Progress: Sync {
    /// A conversion of this many output bytes begins.
    fn begin(&self, total_bytes: u64);
    fn advance(&self, bytes: u64);
    fn finish(&self);
}

/// Weights ready to bind, and what they cost.
pub struct Loaded {
    pub store: WeightStore,
    /// Of the GGUF file, or made up in the same words by the synthetic source.
    pub metadata: Arc<Metadata>,
    /// Identifies the weights: equal fingerprints, equal values.
    pub fingerprint: String,
    pub report: LoadReport,
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
}

/// Opens `source`; a GGUF file is converted into `cache_dir` unless a valid cache file is there.
pub fn open(
    _source: &config::ModelSource,
    _cache_dir: &Path,
    _progress: &dyn Progress,
) -> Result<Loaded, Error> {
    todo!()
}
