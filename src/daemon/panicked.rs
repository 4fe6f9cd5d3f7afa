//! Panics that concern one job or one batch.
//!
//! As the end of the daemon such a panic would come again with every restart, because the job or the batch does. What
//! the work had in hand is dropped.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::protocol::RequestError;

/// The work panicked; the log says where.
#[derive(Debug, PartialEq)]
pub(super) struct Panicked;

impl From<Panicked> for RequestError {
    fn from(_: Panicked) -> Self {
        RequestError {
            message: "the request could not be tokenized".to_owned(),
            param: None,
        }
    }
}

pub(super) fn or_panicked<T>(work: impl FnOnce() -> T) -> Result<T, Panicked> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|_| Panicked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_over_a_job_is_told() {
        let panics = || panic!("regular expression");
        assert_eq!(or_panicked::<u8>(panics), Err(Panicked));
        let error = RequestError::from(Panicked);
        assert_eq!(error.message, "the request could not be tokenized");
        assert_eq!(or_panicked(|| 7), Ok(7));
    }
}
