//! Which path is answered by which handler.

use axum::Router;
use axum::http::{Method, Uri};
use axum::routing::{get, post};

use super::handlers::{
    cancel_job, chat_completions, completions, detokenize, get_job, health, job_events, list_jobs,
    list_models, submit_job, tokenize,
};
use super::refusal::Refusal;
use super::server::Shared;

pub(super) fn router(shared: Shared) -> Router {
    Router::new()
        .route("/health", get(health::handle))
        .route("/v1/models", get(list_models::handle))
        .route("/v1/completions", post(completions::handle))
        .route("/v1/chat/completions", post(chat_completions::handle))
        .route("/tokenize", post(tokenize::handle))
        .route("/detokenize", post(detokenize::handle))
        .route("/v1/jobs", post(submit_job::handle).get(list_jobs::handle))
        .route("/v1/jobs/{id}", get(get_job::handle))
        .route("/v1/jobs/{id}/cancel", post(cancel_job::handle))
        .route("/v1/jobs/{id}/events", get(job_events::handle))
        .fallback(async |uri: Uri| Refusal::no_such_path(uri.path()))
        .method_not_allowed_fallback(async |method: Method, uri: Uri| {
            Refusal::wrong_method(method.as_str(), uri.path())
        })
        .with_state(shared)
}
