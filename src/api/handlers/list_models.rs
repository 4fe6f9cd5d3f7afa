//! `GET /v1/models`: the one model that is served; none while it is warming.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use crate::api::body::json_response;
use crate::api::server::Shared;
use crate::protocol::ModelList;

pub(in crate::api) async fn handle(State(shared): State<Shared>) -> Response {
    let list = match shared.model.get() {
        Some(served) => ModelList::new(Some(&served.info), served.ready_at),
        None => ModelList::new(None, 0),
    };
    json_response(StatusCode::OK, &list)
}
