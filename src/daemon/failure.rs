//! Why the daemon ends, and with which exit code.

use std::error::Error as StdError;
use std::io;
use std::process::ExitCode;

use crate::api::SocketError;
use crate::{cache, config, model, queue, weights};

/// Something is wrong with the program.
pub const EXIT_FAILED: u8 = 1;
/// `EX_IOERR` of sysexits: a restart may help.
pub const EXIT_IO: u8 = 74;
/// `EX_CONFIG` of sysexits: a restart does not help, someone has to change something.
pub const EXIT_CONFIGURATION: u8 = 78;

/// The sentence for standard error and the exit code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    message: String,
    code: u8,
}

impl Failure {
    pub(super) fn failed(message: impl Into<String>) -> Self {
        Failure {
            message: message.into(),
            code: EXIT_FAILED,
        }
    }

    pub(super) fn io(message: impl Into<String>) -> Self {
        Failure {
            message: message.into(),
            code: EXIT_IO,
        }
    }

    pub(super) fn configuration(message: impl Into<String>) -> Self {
        Failure {
            message: message.into(),
            code: EXIT_CONFIGURATION,
        }
    }

    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.code)
    }

    /// A model that cannot be loaded: a wrong file stays wrong, but disk and memory may have room again.
    pub(super) fn model(error: &model::Error) -> Self {
        let message = error.to_string();
        match error {
            model::Error::Weights(weights::Error::Cache(
                cache::Error::NoSpace { .. }
                | cache::Error::OverLimit { .. }
                | cache::Error::NoMemory { .. }
                | cache::Error::Memory { .. },
            ))
            | model::Error::Weights(weights::Error::NoRoom { .. })
            | model::Error::KvMemory { .. } => return Failure::io(message),
            model::Error::Thread(_) | model::Error::WorkerDied => return Failure::failed(message),
            _ => {}
        }
        let first: &(dyn StdError + 'static) = error;
        let mut causes = std::iter::successors(Some(first), |&cause| cause.source());
        match causes.find_map(|cause| cause.downcast_ref::<io::Error>()) {
            Some(io) => Failure::of_io(io, message),
            None => Failure::configuration(message),
        }
    }

    /// An I/O error that someone has to repair is a matter of configuration.
    pub(super) fn of_io(error: &io::Error, message: String) -> Self {
        use io::ErrorKind;
        match error.kind() {
            ErrorKind::NotFound
            | ErrorKind::PermissionDenied
            | ErrorKind::ReadOnlyFilesystem
            | ErrorKind::NotADirectory
            | ErrorKind::IsADirectory
            | ErrorKind::InvalidFilename
            | ErrorKind::InvalidInput
            | ErrorKind::InvalidData
            | ErrorKind::UnexpectedEof => Failure::configuration(message),
            _ => Failure::io(message),
        }
    }
}

impl From<config::Error> for Failure {
    fn from(error: config::Error) -> Self {
        Failure::configuration(error.to_string())
    }
}

impl From<queue::Error> for Failure {
    fn from(error: queue::Error) -> Self {
        let message = error.to_string();
        match error {
            queue::Error::StateDir { .. }
            | queue::Error::InUse { .. }
            | queue::Error::Foreign { .. } => Failure::configuration(message),
            _ => Failure::io(message),
        }
    }
}

/// The last worker of the engine is gone, for this reason.
impl From<String> for Failure {
    fn from(reason: String) -> Self {
        Failure::io(reason)
    }
}

impl From<SocketError> for Failure {
    fn from(error: SocketError) -> Self {
        let message = error.to_string();
        match &error {
            SocketError::Io { source, .. } => Failure::of_io(source, message),
            // Another daemon on the path, a path that cannot be one: no restart changes that.
            SocketError::InUse { .. }
            | SocketError::NotASocket { .. }
            | SocketError::TooLong { .. }
            | SocketError::Inherited { .. } => Failure::configuration(message),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_someone_must_repair_is_configuration_and_the_rest_may_pass() {
        let code = |kind| Failure::of_io(&io::Error::from(kind), String::new()).code;
        assert_eq!(code(io::ErrorKind::PermissionDenied), 78);
        assert_eq!(code(io::ErrorKind::ReadOnlyFilesystem), 78);
        assert_eq!(code(io::ErrorKind::StorageFull), 74);
        assert_eq!(code(io::ErrorKind::Other), 74);
    }

    #[test]
    fn a_model_of_a_kind_we_cannot_run_is_configuration() {
        let failure = Failure::model(&model::Error::Unsupported("architecture x".to_owned()));
        assert_eq!(failure.to_string(), "unsupported model: architecture x");
        assert_eq!(failure.code, 78);
    }

    #[test]
    fn a_full_disk_may_have_room_again() {
        let full = cache::Error::NoSpace {
            path: "/c".into(),
            bytes: 2,
            available: 1,
        };
        let failure = Failure::model(&model::Error::Weights(full.into()));
        assert_eq!(failure.code, 74);
    }

    #[test]
    fn a_synthetic_model_that_does_not_fit_is_configuration() {
        let (bytes, available) = (27 << 30, 21 << 30);
        let source = cache::Error::NoMemory { bytes, available };
        let error = weights::Error::SyntheticTooLarge(Box::new(source.into()));
        let failure = Failure::model(&model::Error::Weights(error));
        assert_eq!(
            failure.to_string(),
            "synthetic weights: the weights need 27.0 GiB of memory, and 21.0 GiB are available; \
             expected smaller sizes"
        );
        assert_eq!(failure.code, 78);
    }
}
