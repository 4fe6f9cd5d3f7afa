//! What can go wrong with the queue.

use super::limits::Reached;

/// Failure of the store, or a request it refuses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// 429
    #[error("the queue is full: {0}")]
    Full(Reached),
    /// 413: never to be taken in, however empty the queue is.
    #[error("the request or file is too large for the queue: {0}")]
    TooLarge(Reached),
    /// 503
    #[error("the queue is being drained and takes no new work")]
    Draining,
    /// 400
    #[error(
        "the job would be done about {late_s} s after its deadline, and refuse_late does not allow that"
    )]
    TooLate { late_s: u64 },
    /// 404
    #[error("there is nothing with this id")]
    NotFound,
    /// 409
    #[error("the idempotency key was used before with another request")]
    IdempotencyConflict,
    /// 409
    #[error("the file is the input of a batch that has not ended")]
    FileInUse,
    /// A file of a user or a batch cannot be read or written.
    #[error("file in {path}: {problem}")]
    File { path: String, problem: String },
    /// The disk is full; retryable.
    #[error("no space left for the queue in {path}")]
    NoSpace { path: String },
    /// The state directory cannot be used as it is: a restart alone does not help, the daemon exits 78.
    #[error("state directory {path}: {problem}")]
    StateDir { path: String, problem: String },
    /// Another daemon holds the state directory, or one that was killed is not quite gone; exit 78.
    #[error("state directory {path}: is in use by another daemon; one daemon per directory")]
    InUse { path: String },
    /// The file is another program's, or that of a newer one: a restart does not help either, the daemon exits 78.
    #[error("job store {path}: {problem}")]
    Foreign { path: String, problem: String },
    /// The store cannot go on; the daemon exits 74.
    #[error("job store {path}: {problem}")]
    Store { path: String, problem: String },
    #[error("the queue is closed")]
    Closed,
}
