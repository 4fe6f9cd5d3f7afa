//! How many files the daemon may have open: as many as it is allowed to.
//!
//! A shell gives its programs 1,024, for those that cannot cope with more. Each client takes one or two.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// To be called before anybody counts on the limit.
pub(super) fn raise() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    // Refused only where something watches over the process; then there are fewer places for clients.
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!("cannot raise the limit of open files: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_daemon_takes_all_the_files_that_it_may_have() {
        let limit = getrlimit(Resource::Nofile);
        let fewer = Rlimit {
            current: Some(limit.maximum.unwrap_or(1 << 20) - 1),
            ..limit
        };
        setrlimit(Resource::Nofile, fewer).unwrap();
        raise();
        assert_eq!(getrlimit(Resource::Nofile).current, limit.maximum);
    }
}
