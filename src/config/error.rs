//! What can be wrong with a configuration: one sentence that names the place and what was expected.

use std::fmt;
use std::path::PathBuf;

/// A configuration that is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("cannot read the configuration {}: {problem}", path.display())]
    Unreadable { path: PathBuf, problem: String },
    /// Not TOML.
    #[error("{place}{message}")]
    Syntax { place: Place, message: String },
    #[error("{place}unknown key {key}; the nearest known key is {nearest}")]
    UnknownKey {
        place: Place,
        key: String,
        nearest: String,
    },
    #[error("{place}{key} is {given}; expected {expected}")]
    Value {
        place: Place,
        key: String,
        given: String,
        expected: String,
    },
    /// A key that has no effect, or that is needed and not there.
    #[error("{place}{message}")]
    Structure { place: Place, message: String },
}

/// Where in which file; prints as `file:line: `, or as nothing when neither is known.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Place {
    pub path: Option<PathBuf>,
    /// Counted from 1.
    pub line: Option<usize>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.path, self.line) {
            (Some(path), Some(line)) => write!(f, "{}:{line}: ", path.display()),
            (Some(path), None) => write!(f, "{}: ", path.display()),
            (None, Some(line)) => write!(f, "line {line}: "),
            (None, None) => Ok(()),
        }
    }
}

impl Error {
    /// The same error in a file that is now known.
    pub(super) fn in_file(mut self, file: PathBuf) -> Self {
        match &mut self {
            Error::Unreadable { .. } => {}
            Error::Syntax { place, .. }
            | Error::UnknownKey { place, .. }
            | Error::Value { place, .. }
            | Error::Structure { place, .. } => place.path = Some(file),
        }
        self
    }
}
