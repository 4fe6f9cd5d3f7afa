//! How much the queue takes in: pure.
//!
//! Invariant: requests of batches count as none of the jobs here. Until it ends a batch counts as one job, whose bytes
//! are those of its input, once more.

use std::fmt;

use super::Error;

/// The most that may be in the queue. `None`: as much as the disk holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Jobs that wait or run, and open batches.
    pub max_jobs: u64,
    /// Bytes of their request bodies, of files, and once more of the inputs of open batches.
    pub max_bytes: Option<u64>,
    /// The same of one user.
    pub max_jobs_per_user: Option<u64>,
    pub max_bytes_per_user: Option<u64>,
}

/// What is in the queue: of one user, or of all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Share {
    pub jobs: u64,
    pub bytes: u64,
}

impl Share {
    /// A file of so many bytes with its batch, which come together: what has no room for both never has.
    pub(super) fn of_spooled(bytes: u64) -> Self {
        Share {
            jobs: 1,
            bytes: bytes.saturating_mul(2),
        }
    }
}

/// A limit that was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reached {
    Jobs(u64),
    Bytes(u64),
    JobsOfUser(u64),
    BytesOfUser(u64),
}

impl fmt::Display for Reached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reached::Jobs(limit) => write!(f, "{limit} jobs are waiting or running"),
            Reached::Bytes(limit) => write!(f, "requests and files may have {limit} bytes"),
            Reached::JobsOfUser(limit) => {
                write!(f, "{limit} jobs of this user are waiting or running")
            }
            Reached::BytesOfUser(limit) => {
                write!(f, "requests and files of a user may have {limit} bytes")
            }
        }
    }
}

impl Limits {
    /// Refuses what would pass a limit: for now, or for ever when it alone has more bytes than there may be.
    pub fn admit(&self, all: Share, of_user: Share, more: Share) -> Result<(), Error> {
        let alone = Share { jobs: 0, ..more };
        if let Some(limit) = self.reached(Share::default(), Share::default(), alone) {
            return Err(Error::TooLarge(limit));
        }
        match self.reached(all, of_user, more) {
            Some(limit) => Err(Error::Full(limit)),
            None => Ok(()),
        }
    }

    /// The limit that would be passed if `more` came to what there is.
    fn reached(&self, all: Share, of_user: Share, more: Share) -> Option<Reached> {
        let passes = |limit: Option<u64>, now: u64, more: u64| {
            limit.filter(|limit| more > 0 && now.saturating_add(more) > *limit)
        };
        passes(Some(self.max_jobs), all.jobs, more.jobs)
            .map(Reached::Jobs)
            .or_else(|| {
                passes(self.max_jobs_per_user, of_user.jobs, more.jobs).map(Reached::JobsOfUser)
            })
            .or_else(|| passes(self.max_bytes, all.bytes, more.bytes).map(Reached::Bytes))
            .or_else(|| {
                passes(self.max_bytes_per_user, of_user.bytes, more.bytes).map(Reached::BytesOfUser)
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_limit_is_named_and_may_be_filled() {
        let limits = Limits {
            max_jobs: 10,
            max_bytes: Some(1_000),
            max_jobs_per_user: Some(3),
            max_bytes_per_user: Some(500),
        };
        let share = |jobs, bytes| Share { jobs, bytes };
        let reached = |all, user, bytes| limits.reached(all, user, share(1, bytes));
        assert_eq!(reached(share(9, 900), share(2, 400), 100), None);
        let full = reached(share(10, 0), share(0, 0), 1);
        assert_eq!(full, Some(Reached::Jobs(10)));
        let full = reached(share(9, 0), share(3, 0), 1);
        assert_eq!(full, Some(Reached::JobsOfUser(3)));
        let full = reached(share(9, 950), share(2, 0), 51);
        assert_eq!(full, Some(Reached::Bytes(1_000)));
        let full = reached(share(9, 600), share(2, 450), 51);
        assert_eq!(full, Some(Reached::BytesOfUser(500)));
        // A file is no job, and u64::MAX no overflow.
        assert_eq!(
            limits.reached(share(99, 0), share(99, 0), share(0, 9)),
            None
        );
        let full = limits.reached(share(0, 1), share(0, 0), share(0, u64::MAX));
        assert_eq!(full, Some(Reached::Bytes(1_000)));
    }

    #[test]
    fn what_never_fits_is_not_told_to_come_again() {
        let limits = Limits {
            max_jobs: 1,
            max_bytes: Some(100),
            max_jobs_per_user: None,
            max_bytes_per_user: Some(50),
        };
        let share = |jobs, bytes| Share { jobs, bytes };
        let admit = |all, bytes| limits.admit(all, share(0, 0), share(1, bytes));
        assert_eq!(admit(share(0, 50), 50), Ok(()));
        assert_eq!(
            admit(share(0, 51), 50),
            Err(Error::Full(Reached::Bytes(100)))
        );
        assert_eq!(admit(share(1, 0), 50), Err(Error::Full(Reached::Jobs(1))));
        let never = |limit| Err(Error::TooLarge(limit));
        assert_eq!(admit(share(1, 0), 51), never(Reached::BytesOfUser(50)));
        assert_eq!(admit(share(1, 0), 101), never(Reached::Bytes(100)));
    }
}
