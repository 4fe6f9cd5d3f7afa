//! What can go wrong with weights; each sentence names the file.

use std::io;
use std::path::PathBuf;

use super::{folder, gguf};
use crate::cache;

/// Failure to read, convert or map weights.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("model file {}: cannot read it: {source}; expected a GGUF file", path.display())]
    Open { path: PathBuf, source: io::Error },
    #[error("model file {}: {source}", path.display())]
    Gguf { path: PathBuf, source: gguf::Error },
    #[error("model file {}: {source}", path.display())]
    Split {
        path: PathBuf,
        source: gguf::split::SplitError,
    },
    #[error("model folder {}: {source}", path.display())]
    Folder {
        path: PathBuf,
        source: folder::Error,
    },
    #[error("model file {}: {problem}", path.display())]
    File { path: PathBuf, problem: String },
    #[error("model file {}: it changed while it was being read", path.display())]
    Changed { path: PathBuf },
    #[error(transparent)]
    Cache(#[from] cache::Error),
    #[error("tensor {name}: {problem}")]
    Tensor { name: String, problem: String },
    #[error("metadata key {key} is missing")]
    MissingKey { key: String },
    #[error("metadata key {key}: expected {expected}, found {found}")]
    KeyType {
        key: String,
        expected: &'static str,
        found: &'static str,
    },
    #[error("synthetic weights: {0}")]
    Synthetic(String),
    /// The cache takes no more, and neither does memory.
    #[error("{disk}; {memory}")]
    NoRoom {
        disk: Box<cache::Error>,
        memory: Box<cache::Error>,
    },
    /// Of sizes that someone chose; a restart does not help.
    #[error("synthetic weights: {0}; expected smaller sizes")]
    SyntheticTooLarge(Box<Error>),
}
