//! `POST /v1/jobs/cancel?before=job_9`: cancels the caller's unfinished jobs, of an administrator those of all, newest
//! first, and no more than a commit holds at once. If there may be more, they are those before `more_before`. Requests of
//! batches stay: they are cancelled with their batch.

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::json;

use crate::api::access::Caller;
use crate::api::body::{RequestBody, json_response};
use crate::api::refusal::Refusal;
use crate::api::server::Shared;
use crate::job::JobId;

type Pairs = Vec<(String, String)>;

pub(in crate::api) async fn handle(
    State(shared): State<Shared>,
    caller: Caller,
    pairs: Result<Query<Pairs>, QueryRejection>,
    // Nothing in it matters, but a connection that closes over unread bytes loses the answer too.
    _body: RequestBody,
) -> Result<Response, Refusal> {
    let Query(pairs) = pairs.map_err(|error| Refusal::bad_request(error.body_text()))?;
    let before = before(&pairs)?;
    let swept = shared
        .queue
        .cancel_open(before, caller.list_filter())
        .await?;
    Ok(json_response(
        StatusCode::OK,
        &json!({
            "object": "jobs.cancelled",
            "cancelled": swept.ended.len(),
            "more_before": swept.rest_before.map(|id| id.to_string()),
        }),
    ))
}

fn before(pairs: &[(String, String)]) -> Result<Option<JobId>, Refusal> {
    match pairs {
        [] => Ok(None),
        [(name, id)] if name == "before" => match id.parse() {
            Ok(id) => Ok(Some(id)),
            Err(_) => Err(Refusal::bad_field(
                name,
                "before must be the id of a job".to_owned(),
            )),
        },
        _ => {
            let other = pairs.iter().find(|(name, _)| name != "before");
            let (name, problem) = other.map_or(("before", "is given twice"), |(name, _)| {
                (name.as_str(), "is not known; known is before")
            });
            Err(Refusal::bad_field(name, format!("{name} {problem}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_job_is_named_at_most_and_nothing_else() {
        let read = |pairs: &[(&str, &str)]| {
            let pairs: Pairs = pairs
                .iter()
                .map(|(name, value)| (name.to_string(), value.to_string()))
                .collect();
            before(&pairs)
        };
        assert_eq!(read(&[]).unwrap(), None);
        assert_eq!(read(&[("before", "job_9")]).unwrap(), Some(JobId(9)));
        let bad: [(&str, &[(&str, &str)]); 4] = [
            ("before", &[("before", "9")]),
            ("before", &[("before", "job_9"), ("before", "job_8")]),
            ("status", &[("status", "queued")]),
            ("limit", &[("before", "job_9"), ("limit", "5")]),
        ];
        for (field, pairs) in bad {
            assert_eq!(read(pairs).unwrap_err().param(), Some(field));
        }
    }
}
