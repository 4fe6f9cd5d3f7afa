//! What keeps a batch from its next step.

use crate::queue::{Error, JobReader, Queue};

/// Why a step was not taken.
pub(super) enum Trouble {
    /// The input was deleted, is not what was looked through, or is one that a step panics over, in this sentence.
    Input(String),
    /// The input cannot be opened or read, as for a fault of the disk or with too many files open.
    Unreadable(Error),
    /// The store cannot be read.
    Unknown,
    Queue(Error),
}

/// What trouble means.
#[derive(Debug, PartialEq)]
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

/// Asks the store.
pub(super) fn read<T: Send + 'static>(
    queue: &Queue,
    read: impl FnOnce(&mut dyn JobReader) -> Result<T, Error> + Send + 'static,
) -> Result<T, Trouble> {
    queue.read_blocking(read).map_err(Trouble::of_read)
}

impl Trouble {
    /// Of a read: a fault of the store is one of all batches.
    fn of_read(error: Error) -> Self {
        match error {
            Error::Store { .. } => Trouble::Unknown,
            other => Trouble::Queue(other),
        }
    }

    /// In a queue that has failed or not.
    pub(super) fn verdict(self, has_failed: bool) -> Verdict {
        match self {
            Trouble::Queue(_) if has_failed => Verdict::Over,
            Trouble::Unknown | Trouble::Queue(Error::Closed) => Verdict::Over,
            Trouble::Unreadable(error)
            | Trouble::Queue(error @ (Error::NoSpace { .. } | Error::File { .. })) => {
                Verdict::Passing(error.to_string())
            }
            Trouble::Input(problem) => Verdict::Final(problem),
            // One change that the store refused, and nobody else's.
            Trouble::Queue(error) => Verdict::Final(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_that_cannot_be_read_is_no_fault_of_a_batch() {
        let fault = || Error::Store {
            path: "queue.db".to_owned(),
            problem: "disk I/O error".to_owned(),
        };
        let unknown = Trouble::of_read(fault());
        assert_eq!(unknown.verdict(false), Verdict::Over);
        // One change may be refused alone.
        let refused = Trouble::from(fault());
        assert_eq!(refused.verdict(false), Verdict::Final(fault().to_string()));
        assert_eq!(Trouble::from(fault()).verdict(true), Verdict::Over);
        let file = || Error::File {
            path: "file-1".to_owned(),
            problem: "too many open files".to_owned(),
        };
        for trouble in [Trouble::Unreadable(file()), Trouble::of_read(file())] {
            let passing = Verdict::Passing(file().to_string());
            assert_eq!(trouble.verdict(false), passing);
        }
    }
}
