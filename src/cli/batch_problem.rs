//! Why a file cannot be the input of `woollyctl batch run`.

use std::io;
use std::path::Path;

use crate::protocol::RequestError;

use super::Error;
use super::batch_input::STANDARD_INPUT;

/// Why a file is refused; the sentence goes behind the file's name.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Problem {
    #[error("line {line}: {problem}")]
    Line { line: u64, problem: RequestError },
    #[error("line {line}: {problem}")]
    Record { line: u64, problem: String },
    #[error("line {line}: custom_id {id:?} was used before, in line {first}")]
    Duplicate { line: u64, first: u64, id: String },
    #[error(
        "its lines are batch requests, which say themselves how to sample: a sampling flag is for prompts"
    )]
    FlagsForRequests,
    #[error(
        "its lines are {what}: --column, --template and --id-column are for tables and JSON objects (--format csv, tsv or jsonl)"
    )]
    ColumnsForLines { what: &'static str },
    #[error("it has no column {name:?}; there are {there}")]
    NoColumn { name: String, there: String },
    #[error(
        "which column holds the prompts? --column NAME or --template TEXT says so; there are {there}"
    )]
    WhichColumn { there: String },
    #[error("it has more than one column {name:?}")]
    SameColumns { name: String },
    #[error("cannot read it: {0}")]
    Read(String),
    #[error("cannot keep a copy of it in {directory}: {problem}")]
    Copy { directory: String, problem: String },
    #[error("it changed while it was read; nothing is written, and the same command begins again")]
    Changed,
}

impl Problem {
    pub(super) fn record(line: u64, problem: impl Into<String>) -> Self {
        Problem::Record {
            line,
            problem: problem.into(),
        }
    }

    /// The sentence with the name of the file before it. What flags ask for and the file has not is a mistake of the
    /// command line.
    pub(super) fn of(self, path: &Path) -> Error {
        let sentence = match path == Path::new(STANDARD_INPUT) {
            true => format!("standard input: {self}"),
            false => format!("{}: {self}", path.display()),
        };
        match self {
            Problem::FlagsForRequests
            | Problem::ColumnsForLines { .. }
            | Problem::NoColumn { .. }
            | Problem::WhichColumn { .. } => Error::Usage(sentence),
            _ => Error::Failed(sentence),
        }
    }
}

impl From<io::Error> for Problem {
    fn from(problem: io::Error) -> Self {
        Problem::Read(problem.to_string())
    }
}
