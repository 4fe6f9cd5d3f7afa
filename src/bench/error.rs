//! Why a benchmark has no result.

use std::io;
use std::path::{Path, PathBuf};

use crate::{cache, config, model, text, weights};

/// A sentence for a person.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot {action} {}: {source}", path.display())]
    File {
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("cannot {action}: {source}")]
    System {
        action: &'static str,
        source: io::Error,
    },
    #[error(transparent)]
    Config(#[from] config::Error),
    #[error(transparent)]
    Cache(#[from] cache::Error),
    #[error(transparent)]
    Weights(#[from] weights::Error),
    #[error(transparent)]
    Text(#[from] text::Error),
    #[error(transparent)]
    Model(#[from] model::Error),
    /// What the process of its own said.
    #[error("the conversion failed: {0}")]
    Conversion(String),
}

impl Error {
    /// For `map_err`: what was to be done with the file.
    pub(super) fn file(action: &'static str, path: &Path) -> impl Fn(io::Error) -> Error {
        move |source| Error::File {
            action,
            path: path.to_path_buf(),
            source,
        }
    }

    pub(super) fn system(action: &'static str) -> impl Fn(io::Error) -> Error {
        move |source| Error::System { action, source }
    }
}
