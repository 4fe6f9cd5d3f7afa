//! How many files this process may have open: a connection for each line of a batch that is waited for.

use std::io;

use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Takes what the process may have. The usual limit is lower than that for the sake of programs that use `select`,
/// which this one does not.
pub(super) fn raise_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    // Refused, the limit stays what it was, and running into it is told.
    let _ = setrlimit(Resource::Nofile, raised);
}

/// Whether nothing can be opened because too much is open, here or in the whole system.
pub(super) fn are_too_many(problem: &io::Error) -> bool {
    let errno = problem.raw_os_error().map(Errno::from_raw_os_error);
    matches!(errno, Some(Errno::MFILE | Errno::NFILE))
}
