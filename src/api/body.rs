//! Bodies in both directions: bounded reading, JSON writing.

use axum::body::Body;
use axum::extract::{FromRequest, Request};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::Serialize;

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

/// An answer with a value as JSON.
pub(super) fn json_response(status: StatusCode, value: &impl Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(text) => json_text_response(status, text),
        // Only maps with keys that are no texts fail, and there are none.
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
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
