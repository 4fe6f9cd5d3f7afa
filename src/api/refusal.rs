//! Every answer that is not a success.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::protocol::{ErrorBody, ErrorKind, RequestError};
use crate::queue;

use super::body::json_response;

/// Seconds after which a client may ask again. Clients of OpenAI's library give up above 120.
const RETRY_CONNECTIONS_S: u32 = 1;
const RETRY_WARMING_S: u32 = 2;
const RETRY_DRAINING_S: u32 = 5;
const RETRY_FULL_S: u32 = 10;
const RETRY_NO_SPACE_S: u32 = 60;

/// A refusal: status, body, and what a client should do next.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Refusal {
    status: StatusCode,
    body: ErrorBody,
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
    fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        // Every kind has a valid status; the fallback only spares a panic.
        let status =
            StatusCode::from_u16(kind.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Refusal {
            status,
            body: ErrorBody::new(kind, message),
            retry: Retry::Unsaid,
        }
    }

    fn code(mut self, code: &str) -> Self {
        self.body = self.body.with_code(code);
        self
    }

    fn retry(self, retry: Retry) -> Self {
        Refusal { retry, ..self }
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
        Refusal::new(ErrorKind::InvalidRequest, message)
    }

    pub(super) fn forbidden(message: &str) -> Self {
        Refusal::new(ErrorKind::Forbidden, message).code("forbidden")
    }

    /// A job that others must not know of looks the same.
    pub(super) fn no_such_job(id: &str) -> Self {
        Refusal::new(ErrorKind::NotFound, format!("there is no job {id}")).code("not_found")
    }

    /// 404 with this sentence; what others must not know of looks the same.
    pub(super) fn unknown(message: String) -> Self {
        Refusal::new(ErrorKind::NotFound, message).code("not_found")
    }

    pub(super) fn no_such_path(path: &str) -> Self {
        Refusal::new(ErrorKind::NotFound, format!("there is nothing at {path}")).code("not_found")
    }

    pub(super) fn wrong_method(method: &str, path: &str) -> Self {
        let refusal = Refusal::bad_request(format!("{path} does not answer {method}"));
        Refusal {
            status: StatusCode::METHOD_NOT_ALLOWED,
            ..refusal.code("method_not_allowed")
        }
    }

    pub(super) fn too_large(limit: usize) -> Self {
        let message = format!("the request body is larger than {limit} bytes");
        Refusal::new(ErrorKind::TooLarge, message).code("request_too_large")
    }

    /// One user has as many connections as he may.
    pub(super) fn too_many_connections() -> Self {
        let message = "this user has as many connections as one user may";
        Refusal::new(ErrorKind::QueueFull, message)
            .code("connections")
            .retry(Retry::AfterSeconds(RETRY_CONNECTIONS_S))
    }

    pub(super) fn warming() -> Self {
        Refusal::new(ErrorKind::Unavailable, "the model is being loaded")
            .code("warming")
            .retry(Retry::AfterSeconds(RETRY_WARMING_S))
    }

    pub(super) fn draining() -> Self {
        Refusal::new(
            ErrorKind::Unavailable,
            "the daemon is stopping and takes no new work",
        )
        .code("draining")
        .retry(Retry::AfterSeconds(RETRY_DRAINING_S))
    }

    /// Someone else cancelled the job that a connection waited for.
    pub(super) fn cancelled() -> Self {
        Refusal::new(ErrorKind::Conflict, "the job was cancelled")
            .code("cancelled")
            .retry(Retry::Never)
    }

    /// 500: the job, or the daemon, failed. Same job, same bytes: the same failure too.
    pub(super) fn failed(message: impl Into<String>) -> Self {
        Refusal::new(ErrorKind::Internal, message)
            .code("failed")
            .retry(Retry::Never)
    }

    /// The body as JSON text, also used as an event of a stream that is already under way.
    pub(super) fn json(&self) -> String {
        serde_json::to_string(&self.body).unwrap_or_default()
    }

    /// The whole answer for a connection on which no request is read any more.
    pub(super) fn as_last_words(&self) -> String {
        let body = self.json();
        let (head, _) = self.clone().into_response().into_parts();
        let mut text = format!("HTTP/1.1 {}\r\n", head.status);
        for (name, value) in &head.headers {
            let value = value.to_str().unwrap_or_default();
            text += &format!("{name}: {value}\r\n");
        }
        let length = body.len();
        text + &format!("connection: close\r\ncontent-length: {length}\r\n\r\n{body}")
    }

    /// The field that is wrong.
    #[cfg(test)]
    pub(super) fn param(&self) -> Option<&str> {
        self.body.error.param.as_deref()
    }
}

impl From<RequestError> for Refusal {
    fn from(error: RequestError) -> Self {
        Refusal {
            body: error.into(),
            ..Refusal::bad_request("")
        }
    }
}

impl From<queue::Error> for Refusal {
    fn from(error: queue::Error) -> Self {
        use queue::Error;
        let message = error.to_string();
        match error {
            Error::Draining => Refusal::new(ErrorKind::Unavailable, message)
                .code("draining")
                .retry(Retry::AfterSeconds(RETRY_DRAINING_S)),
            Error::TooLate { .. } => {
                Refusal::bad_field("deadline", message).code("deadline_too_soon")
            }
            Error::Full(_) => Refusal::new(ErrorKind::QueueFull, message)
                .code("queue_full")
                .retry(Retry::AfterSeconds(RETRY_FULL_S)),
            Error::TooLarge(_) => Refusal::new(ErrorKind::TooLarge, message)
                .code("request_too_large")
                .retry(Retry::Never),
            Error::NotFound => Refusal::new(ErrorKind::NotFound, message).code("not_found"),
            Error::IdempotencyConflict => Refusal::new(ErrorKind::Conflict, message)
                .code("idempotency_conflict")
                .retry(Retry::Never),
            Error::FileInUse => Refusal::new(ErrorKind::Conflict, message)
                .code("file_in_use")
                .retry(Retry::Never),
            Error::File { .. } => Refusal::new(ErrorKind::Internal, message).code("file"),
            Error::NoSpace { .. } => Refusal::new(ErrorKind::Unavailable, message)
                .code("no_space")
                .retry(Retry::AfterSeconds(RETRY_NO_SPACE_S)),
            Error::Closed => Refusal::draining(),
            Error::Store { .. }
            | Error::StateDir { .. }
            | Error::InUse { .. }
            | Error::Foreign { .. } => Refusal::new(ErrorKind::Internal, message).code("store"),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = json_response(self.status, &self.body);
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
        let full = Refusal::from(queue::Error::Full(queue::Reached::Jobs(3))).into_response();
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
        let expected = r#"{"error":{"message":"limit must be from 1 to 100","type":"invalid_request_error","code":null,"param":"limit"}}"#;
        assert_eq!(refusal.json(), expected);
        assert_eq!(refusal.into_response().status(), 400);
        assert_eq!(
            Refusal::wrong_method("PUT", "/x").into_response().status(),
            405
        );
    }
}
