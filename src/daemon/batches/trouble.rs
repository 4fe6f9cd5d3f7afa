//! What keeps a batch from its next step.

use crate::queue::{Error, Queue};

/// Why a step was not taken.
pub(super) enum Trouble {
    /// The input was deleted or is not what was looked through, in this sentence.
    Input(String),
    Queue(Error),
}

/// What trouble means.
pub(super) enum Verdict {
    /// The queue is closed or has failed: no step of any batch can be taken any more.
    Over,
    /// A full disk, too many open files, too little memory: the step is taken again later.
    Passing(String),
    /// This batch can never go on, whatever the others can.
    Final(String),
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Trouble::Queue(error)
    }
}

impl Trouble {
    pub(super) fn verdict(self, queue: &Queue) -> Verdict {
        match self {
            Trouble::Queue(_) if queue.failure().is_some() => Verdict::Over,
            Trouble::Queue(Error::Closed) => Verdict::Over,
            Trouble::Queue(error @ (Error::NoSpace { .. } | Error::File { .. })) => {
                Verdict::Passing(error.to_string())
            }
            Trouble::Input(problem) => Verdict::Final(problem),
            // One change that the store refused, and nobody else's.
            Trouble::Queue(error) => Verdict::Final(error.to_string()),
        }
    }
}
