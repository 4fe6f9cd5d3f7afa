//! `POST /detokenize`: token ids to text, control tokens by name.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use crate::api::body::{RequestBody, json_response};
use crate::api::refusal::Refusal;
use crate::api::server::Shared;
use crate::api::submission::in_background;
use crate::protocol;

pub(in crate::api) async fn handle(
    State(shared): State<Shared>,
    body: RequestBody,
) -> Result<Response, Refusal> {
    let served = shared.served()?;
    let text = in_background(move || protocol::detokenize(&served.context(), &body.0)).await??;
    Ok(json_response(StatusCode::OK, &text))
}
