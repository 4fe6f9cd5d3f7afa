//! `POST /v1/jobs`: a request that is answered later, accepted also while the model is warming. 202 with
//! the job object, after the job is on disk.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;

use crate::api::access::Caller;
use crate::api::body::{RequestBody, json_response};
use crate::api::job_view::view;
use crate::api::refusal::Refusal;
use crate::api::server::Shared;
use crate::api::submission;
use crate::job::JobId;
use crate::protocol::JobRequest;
use crate::queue::{Filter, NewJob, Times};

pub(in crate::api) async fn handle(
    State(shared): State<Shared>,
    caller: Caller,
    headers: HeaderMap,
    body: RequestBody,
) -> Result<Response, Refusal> {
    shared.takes_work()?;
    let key = submission::idempotency_key(&headers)?;
    let (request, warnings) = JobRequest::parse(&body.0)?;
    let (endpoint, body) = (request.endpoint, request.body_text());
    let seed = submission::seed(endpoint, &body)?;
    let job = NewJob {
        endpoint,
        body,
        seed,
        max_tokens: None,
        priority: request.priority,
        idempotency_key: key,
        uid: caller.uid,
        attached: false,
        metadata: request.metadata_text(),
        created_at_ms: submission::now_ms(),
        times: times(&request),
        refuse_late: request.refuse_late,
    };
    // What can never run is refused now, where someone is listening. While the model is warming that is
    // found out by dispatch.
    let mut row = match shared.model.get() {
        Some(served) => submission::submit(&shared, served, job).await?.0,
        None => shared.queue.submit(job).await?.job,
    };
    // It is accepted, whatever comes of this: its place and its times are looked up for who reads the answer.
    let newest = Filter {
        before: Some(JobId(row.id.0.saturating_add(1))),
        limit: 1,
        ..Filter::default()
    };
    let looked_up = shared
        .queue
        .read_with_outlook(move |reader| reader.list(&newest));
    let estimate = looked_up.await.ok().and_then(|(there, outlook)| {
        let there = there.first().filter(|there| there.id == row.id);
        row.position = there.and_then(|there| there.position);
        outlook.of(&row)
    });
    Ok(json_response(
        StatusCode::ACCEPTED,
        &view(&row, estimate, warnings),
    ))
}

/// A deadline that has passed is accepted like another: the job expires, and whoever asks with the same key finds it.
fn times(request: &JobRequest) -> Times {
    let milliseconds = |seconds: i64| seconds.saturating_mul(1000);
    Times {
        not_before_ms: request.not_before.map(milliseconds),
        deadline_ms: request.deadline.map(milliseconds),
    }
}
