//! Why a model cannot run.

use std::path::{Path, PathBuf};

use crate::weights;

/// A model that is refused at load, with a sentence that says which part.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What is wrong inside of a model file.
    #[error("model file {}: {source}", path.display())]
    File { path: PathBuf, source: Box<Error> },
    #[error(transparent)]
    Weights(#[from] crate::weights::Error),
    #[error(transparent)]
    Text(#[from] crate::text::Error),
    #[error(transparent)]
    Isa(#[from] crate::compute::UnknownIsa),
    /// The file asks for something woolly does not compute.
    #[error("unsupported model: {0}")]
    Unsupported(String),
    /// A hyper-parameter is missing or impossible.
    #[error("model metadata: {key} {problem}")]
    Hyper { key: String, problem: String },
    #[error("cannot start a worker thread: {0}")]
    Thread(#[from] std::io::Error),
    #[error(
        "workers.kv_bytes is {bytes}, but {workers} worker(s) need at least {needed} for {positions} positions each"
    )]
    KvBudget {
        bytes: u64,
        workers: usize,
        needed: u64,
        positions: usize,
    },
    /// A worker thread ended before it could say whether it is ready.
    #[error("a decode worker died while it started")]
    WorkerDied,
    #[error("the KV pool of {blocks} blocks needs {bytes} bytes, which this machine does not give")]
    KvMemory { blocks: usize, bytes: u64 },
}

impl Error {
    /// The same error, naming the model file it was found in; errors that name a file already stay.
    pub fn in_file(self, path: &Path) -> Error {
        use weights::Error as W;
        match self {
            Error::Weights(
                W::Open { .. }
                | W::Gguf { .. }
                | W::Split { .. }
                | W::Folder { .. }
                | W::File { .. }
                | W::Cache(_)
                | W::Synthetic(_)
                | W::SyntheticTooLarge(_),
            )
            | Error::Isa(_)
            | Error::Thread(_)
            | Error::KvMemory { .. }
            | Error::KvBudget { .. }
            | Error::WorkerDied
            | Error::File { .. } => self,
            Error::Weights(_) | Error::Text(_) | Error::Unsupported(_) | Error::Hyper { .. } => {
                Error::File {
                    path: path.to_path_buf(),
                    source: Box::new(self),
                }
            }
        }
    }
}
