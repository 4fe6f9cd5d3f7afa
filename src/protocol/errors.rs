//! Error bodies: `{"error": {"message", "type", "code", "param"}}`, and the HTTP status of each kind.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A request that is refused; `param` names the field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct RequestError {
    pub message: String,
    pub param: Option<String>,
}

impl RequestError {
    /// A problem with one field. The sentence begins with the field's name.
    pub(super) fn field(name: impl fmt::Display, problem: impl fmt::Display) -> Self {
        RequestError {
            message: format!("{name} {problem}"),
            param: Some(name.to_string()),
        }
    }

    /// A problem with the body as a whole.
    pub(super) fn body(message: impl Into<String>) -> Self {
        RequestError {
            message: message.into(),
            param: None,
        }
    }

    /// The same problem in a body that is itself the field `outer` of another.
    pub(super) fn inside(self, outer: &str) -> Self {
        let param = match self.param {
            Some(param) => format!("{outer}.{param}"),
            None => outer.to_owned(),
        };
        RequestError {
            message: format!("{outer}: {}", self.message),
            param: Some(param),
        }
    }
}

/// Why a request was not answered as asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    InvalidRequest,
    Forbidden,
    NotFound,
    Conflict,
    TooLarge,
    QueueFull,
    Unavailable,
    Internal,
}

impl ErrorKind {
    /// The HTTP status.
    pub fn status(self) -> u16 {
        match self {
            ErrorKind::InvalidRequest => 400,
            ErrorKind::Forbidden => 403,
            ErrorKind::NotFound => 404,
            ErrorKind::Conflict => 409,
            ErrorKind::TooLarge => 413,
            ErrorKind::QueueFull => 429,
            ErrorKind::Unavailable => 503,
            ErrorKind::Internal => 500,
        }
    }

    /// The `type` of the error body: OpenAI's words where it has one.
    pub fn as_str(self) -> &'static str {
        match self {
            ErrorKind::InvalidRequest | ErrorKind::TooLarge => "invalid_request_error",
            ErrorKind::Forbidden => "permission_error",
            ErrorKind::NotFound => "not_found_error",
            ErrorKind::Conflict => "conflict_error",
            ErrorKind::QueueFull => "rate_limit_error",
            ErrorKind::Unavailable => "unavailable_error",
            ErrorKind::Internal => "server_error",
        }
    }
}

/// The body of every error answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ErrorBody {
    pub error: ErrorDetail,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ErrorDetail {
    pub message: String,
    #[serde(rename = "type")]
    pub kind: String,
    pub code: Option<String>,
    pub param: Option<String>,
}

impl ErrorBody {
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        ErrorBody {
            error: ErrorDetail {
                message: message.into(),
                kind: kind.as_str().to_owned(),
                code: None,
                param: None,
            },
        }
    }

    /// With a machine-readable code, such as `queue_full`.
    pub fn with_code(mut self, code: &str) -> Self {
        self.error.code = Some(code.to_owned());
        self
    }
}

impl From<RequestError> for ErrorBody {
    fn from(error: RequestError) -> Self {
        let mut body = ErrorBody::new(ErrorKind::InvalidRequest, error.message);
        body.error.param = error.param;
        body
    }
}
