//! Which path is answered by which handler.

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{Method, Uri};
use axum::routing::{get, post};

use super::handlers::{
    backup_queue, cancel_batch, cancel_job, cancel_jobs, chat_completions, completions,
    create_batch, delete_file, detokenize, file_content, get_batch, get_file, get_job, health,
    job_events, list_batches, list_files, list_jobs, list_models, queue_flow, submit_job, tokenize,
    upload_file,
};
use super::refusal::Refusal;
use super::server::Shared;

pub(super) fn router(shared: Shared) -> Router {
    // Uploads have a limit of their own.
    let uploads = post(upload_file::handle)
        .get(list_files::handle)
        .layer(DefaultBodyLimit::disable());
    Router::new()
        .route("/health", get(health::handle))
        .route("/v1/models", get(list_models::handle))
        .route("/v1/completions", post(completions::handle))
        .route("/v1/chat/completions", post(chat_completions::handle))
        .route("/tokenize", post(tokenize::handle))
        .route("/detokenize", post(detokenize::handle))
        .route("/v1/jobs", post(submit_job::handle).get(list_jobs::handle))
        .route("/v1/jobs/cancel", post(cancel_jobs::handle))
        .route("/v1/jobs/{id}", get(get_job::handle))
        .route("/v1/jobs/{id}/cancel", post(cancel_job::handle))
        .route("/v1/jobs/{id}/events", get(job_events::handle))
        .route("/v1/queue/pause", post(queue_flow::pause))
        .route("/v1/queue/resume", post(queue_flow::resume))
        .route("/v1/queue/drain", post(queue_flow::drain))
        .route("/v1/queue/backup", get(backup_queue::handle))
        .route("/v1/files", uploads)
        .route(
            "/v1/files/{id}",
            get(get_file::handle).delete(delete_file::handle),
        )
        .route("/v1/files/{id}/content", get(file_content::handle))
        .route(
            "/v1/batches",
            post(create_batch::handle).get(list_batches::handle),
        )
        .route("/v1/batches/{id}", get(get_batch::handle))
        .route("/v1/batches/{id}/cancel", post(cancel_batch::handle))
        .fallback(async |uri: Uri| Refusal::no_such_path(uri.path()))
        .method_not_allowed_fallback(async |method: Method, uri: Uri| {
            Refusal::wrong_method(method.as_str(), uri.path())
        })
        .with_state(shared)
}
