//! Too many open files, which is not the same as a daemon that is not there: each line of a batch that is waited for has
//! a connection.

use std::io;

use rustix::io::Errno;

/// Whether nothing can be opened because too much is open, here or in the whole system.
pub(super) fn are_too_many(problem: &io::Error) -> bool {
    let errno = problem.raw_os_error().map(Errno::from_raw_os_error);
    matches!(errno, Some(Errno::MFILE | Errno::NFILE))
}
