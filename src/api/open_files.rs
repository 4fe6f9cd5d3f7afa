//! How many files a process may have open: as many as it is allowed to.
//!
//! A shell gives its programs 1,024, for the sake of those that use `select`. Each client takes one or two.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the limit of this process to what it may have; to be called before anybody counts on it. Refused only where
/// something watches over the process; then the limit stays what it was.
pub fn raise_file_limit() -> io::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    Ok(setrlimit(Resource::Nofile, raised)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_takes_all_the_files_that_it_may_have() {
        let limit = getrlimit(Resource::Nofile);
        let fewer = Rlimit {
            current: Some(limit.maximum.unwrap_or(1 << 20) - 1),
            ..limit
        };
        setrlimit(Resource::Nofile, fewer).unwrap();
        raise_file_limit().unwrap();
        assert_eq!(getrlimit(Resource::Nofile).current, limit.maximum);
    }
}
