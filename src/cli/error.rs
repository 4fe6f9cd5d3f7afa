//! What can go wrong at the command line, and the exit code that says so.

use std::io;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::json;

use crate::job::JobId;

use super::{render, wire};

/// A command that did not do what was asked. Each sentence is for a person.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A job failed, a file cannot be read or written, an answer makes no sense.
    #[error("{0}")]
    Failed(String),
    /// The command line asks for something that has no meaning.
    #[error("{0}")]
    Usage(String),
    /// No daemon answers on the socket.
    #[error("cannot connect to woollyd at {socket}: {problem}")]
    Connect { socket: String, problem: String },
    /// This process can open no connection, whoever listens.
    #[error(
        "too many files are open to connect to woollyd ({0}): raise `ulimit -n`, or ask for less at once"
    )]
    NoFiles(String),
    /// The connection was there and broke; the request may or may not have been accepted.
    #[error("the connection to woollyd at {socket} broke: {problem}")]
    Lost { socket: String, problem: String },
    /// Somebody listens, and answers nothing.
    #[error("woollyd at {socket} did not answer within {} s", limit.as_secs_f32())]
    Silent { socket: String, limit: Duration },
    /// The daemon lets its jobs go in good order, to be taken up by the next one.
    #[error("woollyd at {socket} is stopping, and {job} has not ended")]
    Stopping { socket: String, job: JobId },
    /// The daemon understood and said no.
    #[error("woollyd refused: {message}")]
    Refused {
        /// The HTTP status.
        status: u16,
        message: String,
        /// The body of the answer, for batch output lines.
        body: serde_json::Value,
    },
    /// The daemon understood and could not do it.
    #[error("woollyd failed with HTTP status {status}: {message}")]
    Broken {
        status: u16,
        message: String,
        /// Its store has failed: it ends, and the next one can do it.
        restarts: bool,
    },
    /// Something went wrong with some of several jobs, of which the worst has this exit code.
    #[error("{message}")]
    Several { message: String, code: u8 },
    #[error("cannot write to standard output: {0}")]
    Output(String),
    #[error("interrupted")]
    Interrupted,
    /// Whoever read standard output is gone (`woollyctl ... | head`): nothing is left to say.
    #[error("standard output is closed")]
    OutputClosed,
}

impl Error {
    /// Exit codes: 0 done, 1 failed, 2 usage, 3 cannot connect, 4 refused.
    pub fn code(&self) -> u8 {
        match self {
            Error::OutputClosed => 0,
            Error::Failed(_) | Error::Broken { .. } => 1,
            Error::NoFiles(_) | Error::Output(_) | Error::Interrupted => 1,
            Error::Usage(_) => 2,
            Error::Connect { .. } | Error::Lost { .. } => 3,
            Error::Silent { .. } | Error::Stopping { .. } => 3,
            Error::Refused { .. } => 4,
            Error::Several { code, .. } => *code,
        }
    }

    /// Whether the same request may succeed once the daemon is back: it is down, starting,
    /// draining, or about to be started again.
    pub(super) fn is_outage(&self) -> bool {
        matches!(
            self,
            Error::Connect { .. }
                | Error::Lost { .. }
                | Error::Silent { .. }
                | Error::Stopping { .. }
                | Error::Refused { status: 503, .. }
                | Error::Broken { restarts: true, .. }
        )
    }

    /// Whether this user has as many connections as one may: the daemon is there and works, and others of his requests
    /// leave room.
    pub(super) fn is_crowd(&self) -> bool {
        matches!(self, Error::Refused { status: 429, body, .. }
            if wire::error_code(body) == Some(wire::CONNECTIONS))
    }

    /// A file that could not be used: `action` reads "cannot read", "cannot write", ...
    pub(super) fn file(action: &str, path: &std::path::Path, problem: &io::Error) -> Self {
        Error::Failed(format!("{action} {}: {problem}", path.display()))
    }

    /// One line on standard error; none when nobody is there to read it.
    pub(super) fn tell(&self, program: &str, json: bool) {
        match self {
            Error::OutputClosed => {}
            error if json => render::say(error.as_json()),
            error => render::say(format_args!("{program}: {error}")),
        }
    }

    fn as_json(&self) -> serde_json::Value {
        let status = match self {
            Error::Refused { status, .. } | Error::Broken { status, .. } => Some(*status),
            _ => None,
        };
        json!({"error": {"message": self.to_string(), "exit_code": self.code(), "http_status": status}})
    }
}

/// Errors of writing to standard output; files have their own sentences.
impl From<io::Error> for Error {
    fn from(problem: io::Error) -> Self {
        if problem.kind() == io::ErrorKind::BrokenPipe {
            Error::OutputClosed
        } else {
            Error::Output(problem.to_string())
        }
    }
}

/// Prints the error, if any, as one line on standard error and gives the exit code of the program.
pub fn exit(program: &str, json: bool, result: Result<(), Error>) -> ExitCode {
    let Err(error) = result else {
        return ExitCode::SUCCESS;
    };
    error.tell(program, json);
    ExitCode::from(error.code())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_pipe_is_no_failure_and_other_write_errors_are() {
        assert_eq!(
            Error::from(io::Error::from(io::ErrorKind::BrokenPipe)).code(),
            0
        );
        assert_eq!(
            Error::from(io::Error::from(io::ErrorKind::StorageFull)).code(),
            1
        );
    }

    #[test]
    fn a_draining_daemon_is_an_outage_and_a_bad_request_is_not() {
        let refused = |status| Error::Refused {
            status,
            message: "no".into(),
            body: serde_json::Value::Null,
        };
        assert!(refused(503).is_outage());
        assert!(!refused(400).is_outage());
        assert_eq!(refused(400).code(), 4);
    }
}
