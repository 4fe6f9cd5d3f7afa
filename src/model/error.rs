//! Why a model cannot run.

/// A model that is refused at load, with a sentence that says which part.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Weights(#[from] crate::weights::Error),
    #[error(transparent)]
    Text(#[from] crate::text::Error),
    #[error("{0}")]
    Unsupported(String),
}
