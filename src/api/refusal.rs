//! Every answer that is not a success.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::protocol::RequestError;
use crate::queue;

use super::body::json_response;

/// Seconds after which a client may ask again. Clients of OpenAI's library give up above 120.
const RETRY_WARMING_S: u32 = 2;
const RETRY_DRAINING_S: u32 = 5;
const RETRY_FULL_S: u32 = 10;
const RETRY_NO_SPACE_S: u32 = 60;

/// A refusal: status, body, and what a client should do next.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Refusal {
    status: StatusCode,
    kind: &'static str,
    code: Option<&'static str>,
    message: String,
    param: Option<String>,
    retry: Retry,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Retry {
    /// The client decides by the status.
    Unsaid,
    AfterSeconds(u32),
    /// The same request can never succeed, whatever the status suggests.
    Never,
}

impl Refusal {
    fn new(
        status: StatusCode,
        kind: &'static str,
        code: Option<&'static str>,
        message: String,
    ) -> Self {
        Refusal {
            status,
            kind,
            code,
            message,
            param: None,
            retry: Retry::Unsaid,
        }
    }

    fn unavailable(code: &'static str, message: &str, seconds: u32) -> Self {
        let refusal = Refusal::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "unavailable_error",
            Some(code),
            message.to_owned(),
        );
        Refusal {
            retry: Retry::AfterSeconds(seconds),
            ..refusal
        }
    }

    /// 400 that names the field.
    pub(super) fn bad_field(param: &str, message: impl Into<String>) -> Self {
        RequestError {
            message: message.into(),
            param: Some(param.to_owned()),
        }
        .into()
    }

    /// 400 about the request as a whole.
    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        RequestError {
            message: message.into(),
            param: None,
        }
        .into()
    }

    pub(super) fn forbidden(message: &str) -> Self {
        Refusal::new(
            StatusCode::FORBIDDEN,
            "permission_error",
            Some("forbidden"),
            message.to_owned(),
        )
    }

    pub(super) fn no_such_job() -> Self {
        queue::Error::NotFound.into()
    }

    pub(super) fn no_such_path(path: &str) -> Self {
        let message = format!("there is nothing at {path}");
        Refusal::new(
            StatusCode::NOT_FOUND,
            "not_found_error",
            Some("not_found"),
            message,
        )
    }

    pub(super) fn wrong_method(method: &str, path: &str) -> Self {
        let message = format!("{path} does not answer {method}");
        Refusal::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "invalid_request_error",
            Some("method_not_allowed"),
            message,
        )
    }

    pub(super) fn too_large(limit: usize) -> Self {
        let message = format!("the request body is larger than {limit} bytes");
        let code = Some("request_too_large");
        Refusal::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "invalid_request_error",
            code,
            message,
        )
    }

    pub(super) fn warming() -> Self {
        Refusal::unavailable("warming", "the model is being loaded", RETRY_WARMING_S)
    }

    pub(super) fn draining() -> Self {
        Refusal::unavailable(
            "draining",
            "the daemon is stopping and takes no new work",
            RETRY_DRAINING_S,
        )
    }

    /// Someone else cancelled the job that a connection waited for.
    pub(super) fn cancelled() -> Self {
        let refusal = Refusal::new(
            StatusCode::CONFLICT,
            "invalid_request_error",
            Some("cancelled"),
            "the job was cancelled".to_owned(),
        );
        Refusal {
            retry: Retry::Never,
            ..refusal
        }
    }

    /// 500: the job, or the daemon, failed.
    pub(super) fn failed(message: impl Into<String>) -> Self {
        let status = StatusCode::INTERNAL_SERVER_ERROR;
        let refusal = Refusal::new(status, "server_error", Some("failed"), message.into());
        // Same job, same bytes: the same failure too.
        Refusal {
            retry: Retry::Never,
            ..refusal
        }
    }

    /// The body, also used as an event of a stream that is already under way.
    pub(super) fn body(&self) -> Value {
        json!({"error": {
            "message": self.message,
            "type": self.kind,
            "code": self.code,
            "param": self.param,
        }})
    }
}

impl From<RequestError> for Refusal {
    fn from(error: RequestError) -> Self {
        let refusal = Refusal::new(
            StatusCode::BAD_REQUEST,
            "invalid_request_error",
            None,
            error.message,
        );
        Refusal {
            param: error.param,
            ..refusal
        }
    }
}

impl From<queue::Error> for Refusal {
    fn from(error: queue::Error) -> Self {
        use queue::Error;
        let message = error.to_string();
        match error {
            Error::Full { .. } => Refusal {
                retry: Retry::AfterSeconds(RETRY_FULL_S),
                ..Refusal::new(
                    StatusCode::TOO_MANY_REQUESTS,
                    "rate_limit_error",
                    Some("queue_full"),
                    message,
                )
            },
            Error::NotFound => Refusal::new(
                StatusCode::NOT_FOUND,
                "not_found_error",
                Some("not_found"),
                message,
            ),
            Error::IdempotencyConflict => Refusal {
                retry: Retry::Never,
                ..Refusal::new(
                    StatusCode::CONFLICT,
                    "invalid_request_error",
                    Some("idempotency_conflict"),
                    message,
                )
            },
            Error::NoSpace { .. } => Refusal::unavailable("no_space", &message, RETRY_NO_SPACE_S),
            Error::Closed => Refusal::draining(),
            Error::Store { .. } | Error::StateDir { .. } => Refusal::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "server_error",
                Some("store"),
                message,
            ),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = json_response(self.status, &self.body());
        match self.retry {
            Retry::Unsaid => {}
            Retry::AfterSeconds(seconds) => {
                response
                    .headers_mut()
                    .insert(header::RETRY_AFTER, HeaderValue::from(seconds));
            }
            Retry::Never => {
                let never = HeaderValue::from_static("false");
                response.headers_mut().insert("x-should-retry", never);
            }
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header<'a>(response: &'a Response, name: &str) -> Option<&'a str> {
        response
            .headers()
            .get(name)
            .map(|value| value.to_str().unwrap())
    }

    #[test]
    fn the_queues_errors_tell_clients_whether_to_try_again() {
        let full = Refusal::from(queue::Error::Full { limit: 3 }).into_response();
        assert_eq!(full.status(), 429);
        assert_eq!(header(&full, "retry-after"), Some("10"));

        let conflict = Refusal::from(queue::Error::IdempotencyConflict).into_response();
        assert_eq!(conflict.status(), 409);
        assert_eq!(header(&conflict, "x-should-retry"), Some("false"));

        let missing = Refusal::from(queue::Error::NotFound).into_response();
        assert_eq!(
            (missing.status().as_u16(), header(&missing, "retry-after")),
            (404, None)
        );
        assert_eq!(header(&missing, "content-type"), Some("application/json"));
    }

    #[test]
    fn a_bad_field_is_named_in_openais_shape() {
        let refusal = Refusal::bad_field("limit", "limit must be from 1 to 100");
        assert_eq!(
            refusal.body(),
            json!({"error": {
                "message": "limit must be from 1 to 100",
                "type": "invalid_request_error",
                "code": null,
                "param": "limit",
            }})
        );
        assert_eq!(refusal.into_response().status(), 400);
    }
}
