//! What can go wrong with weights; each sentence names the file.

/// Failure to read, convert or map weights.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("tensor {name}: {problem}")]
    Tensor { name: String, problem: String },
}
