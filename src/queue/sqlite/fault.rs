//! What an error of SQLite means for the store.

use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;

use super::super::Error;

/// Turns errors of SQLite into ours, naming the file.
#[derive(Debug, Clone)]
pub(super) struct Faults {
    file: PathBuf,
}

impl Faults {
    pub(super) fn new(file: &Path) -> Self {
        Faults {
            file: file.to_owned(),
        }
    }

    /// A full disk is retryable; anything else is a fault of the store.
    pub(super) fn of(&self, error: rusqlite::Error) -> Error {
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Error::NoSpace {
                path: self.file.display().to_string(),
            },
            _ => self.store(error.to_string()),
        }
    }

    /// The same for a file that is not the store.
    pub(super) fn file(&self, error: &rusqlite::Error) -> Error {
        let path = self.file.display().to_string();
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Error::NoSpace { path },
            _ => Error::File {
                path,
                problem: error.to_string(),
            },
        }
    }

    /// Of a look at a file that may be anything.
    pub(super) fn at_first_sight(&self, error: rusqlite::Error) -> Error {
        match error.sqlite_error_code() {
            Some(ErrorCode::NotADatabase) => self.foreign(error.to_string()),
            _ => self.of(error),
        }
    }

    pub(super) fn foreign(&self, problem: String) -> Error {
        Error::Foreign {
            path: self.file.display().to_string(),
            problem,
        }
    }

    pub(super) fn store(&self, problem: String) -> Error {
        Error::Store {
            path: self.file.display().to_string(),
            problem,
        }
    }
}

/// Whether the fault concerns only the request that met it: its data did not fit, or it broke a rule of
/// the schema. SQLite has undone the statement, and the store is as sound as before.
pub(super) fn concerns_one_request(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(
            ErrorCode::DiskFull
                | ErrorCode::TooBig
                | ErrorCode::ConstraintViolation
                | ErrorCode::TypeMismatch
        )
    )
}

#[cfg(test)]
mod tests {
    use rusqlite::ffi;

    use super::*;

    fn failure(code: i32) -> rusqlite::Error {
        rusqlite::Error::SqliteFailure(ffi::Error::new(code), None)
    }

    #[test]
    fn only_a_full_disk_is_retryable() {
        let faults = Faults::new(Path::new("/s/queue.db"));
        let full = faults.of(failure(ffi::SQLITE_FULL));
        assert_eq!(
            full,
            Error::NoSpace {
                path: "/s/queue.db".to_owned()
            }
        );
        for code in [
            ffi::SQLITE_IOERR_FSYNC,
            ffi::SQLITE_IOERR,
            ffi::SQLITE_CORRUPT,
        ] {
            let fault = faults.of(failure(code));
            assert!(matches!(fault, Error::Store { .. }), "{fault}");
            assert!(!concerns_one_request(&failure(code)));
        }
        assert!(concerns_one_request(&failure(ffi::SQLITE_CONSTRAINT_CHECK)));
    }
}
