//! Bodies in both directions: bounded reading, JSON writing.

use axum::body::Body;
use axum::extract::{FromRequest, Request};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde_json::{Map, Value};

use super::refusal::Refusal;
use super::server::Shared;

/// A request body as received, at most `api.max_body_bytes` long.
pub(super) struct RequestBody(pub(super) Vec<u8>);

impl FromRequest<Shared> for RequestBody {
    type Rejection = Refusal;

    async fn from_request(request: Request, shared: &Shared) -> Result<Self, Refusal> {
        let limit = shared.max_body_bytes;
        match Limited::new(request.into_body(), limit).collect().await {
            Ok(collected) => Ok(RequestBody(collected.to_bytes().into())),
            Err(error) if error.is::<LengthLimitError>() => Err(Refusal::too_large(limit)),
            Err(error) => Err(Refusal::bad_request(format!(
                "the request body broke off: {error}"
            ))),
        }
    }
}

impl RequestBody {
    /// The body as a JSON object.
    pub(super) fn object(&self) -> Result<Map<String, Value>, Refusal> {
        match serde_json::from_slice(&self.0) {
            Ok(Value::Object(object)) => Ok(object),
            Ok(_) => Err(Refusal::bad_request(
                "the request body must be a JSON object",
            )),
            Err(error) => Err(Refusal::bad_request(format!(
                "the request body is not JSON: {error}"
            ))),
        }
    }
}

/// An answer with a JSON value.
pub(super) fn json_response(status: StatusCode, value: &Value) -> Response {
    json_text_response(status, value.to_string().into_bytes())
}

/// An answer with JSON text that exists already, such as a stored result.
pub(super) fn json_text_response(status: StatusCode, text: Vec<u8>) -> Response {
    (
        status,
        [(header::CONTENT_TYPE, "application/json")],
        Body::from(text),
    )
        .into_response()
}
