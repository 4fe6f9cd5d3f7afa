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
    Hyper { key: String, problem: HyperProblem },
    #[error("unsupported model: architecture {found:?} (supported: {supported})")]
    Architecture { found: String, supported: String },
    #[error("tensor {name} is missing; expected rows of {columns} values")]
    MissingTensor { name: String, columns: usize },
    #[error("tensor {name} has the dimensions {found:?}, expected {expected:?}")]
    TensorShape {
        name: String,
        found: Vec<usize>,
        expected: Vec<usize>,
    },
    #[error("unsupported model: tensor {name} has no place in this architecture")]
    UnknownTensor { name: String },
    #[error("tensor token_embd.weight has {found} rows, more than the {most} that are read")]
    VocabularyRows { found: usize, most: usize },
    #[error(
        "the metadata speak of a vocabulary of {declared}, and token_embd.weight has {rows} rows"
    )]
    VocabularySize { declared: usize, rows: usize },
    #[error("unsupported model: the tokenizer has {tokens} tokens, the embedding only {rows} rows")]
    TooManyTokens { tokens: usize, rows: usize },
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

/// What is wrong with a hyper-parameter. The sentences continue "model metadata: KEY ...".
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum HyperProblem {
    #[error("is {found}; expected 1 to {most}")]
    Range { found: u64, most: u64 },
    #[error("is {found}; expected a positive number")]
    NotPositive { found: f32 },
    #[error("is {found}, which does not divide {of}")]
    Divisor { found: usize, of: usize },
    #[error("is {found}, and the keys have {keys}; expected the same")]
    ValueLength { found: usize, keys: usize },
    #[error("gives heads of {found}; at most {most} are supported")]
    HeadTooWide { found: usize, most: usize },
    #[error("is {found}; expected an even number up to the head's {head}")]
    RopeDimensions { found: usize, head: usize },
    #[error("is {found:?}, which is not supported (supported: none, linear, yarn, longrope)")]
    Scaling { found: String },
    #[error("is {found}, which this architecture does not follow here")]
    NotFollowed { found: f32 },
    #[error("is false; only models that look back are supported")]
    NotCausal,
    #[error("has {found} entries for {layers} layers")]
    Pattern { found: usize, layers: usize },
    #[error("is {used}, more than the {count} experts there are")]
    ExpertsUsed { used: u64, count: u64 },
    #[error("is {found}: mixtures of experts are not supported in this architecture")]
    Experts { found: u64 },
    #[error("is {found}: sliding windows are not supported in this architecture")]
    SlidingWindow { found: u64 },
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
                | W::Changed { .. }
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
            Error::Weights(_)
            | Error::Text(_)
            | Error::Unsupported(_)
            | Error::Hyper { .. }
            | Error::Architecture { .. }
            | Error::MissingTensor { .. }
            | Error::TensorShape { .. }
            | Error::UnknownTensor { .. }
            | Error::VocabularyRows { .. }
            | Error::VocabularySize { .. }
            | Error::TooManyTokens { .. } => Error::File {
                path: path.to_path_buf(),
                source: Box::new(self),
            },
        }
    }
}
