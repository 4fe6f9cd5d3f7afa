//! `POST /v1/jobs`: a request that is answered later, accepted also while the model is warming.
//!
//! `{"endpoint": "/v1/completions", "body": {..}, "priority": 0, "metadata": {..}}`, and the
//! `Idempotency-Key` header, -> 202 with the job object, after the job is on disk.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde_json::{Map, Value};

use crate::api::access::Caller;
use crate::api::body::{RequestBody, json_response};
use crate::api::job_view::view;
use crate::api::refusal::Refusal;
use crate::api::server::Shared;
use crate::api::submission;
use crate::job::Endpoint;
use crate::protocol;
use crate::queue::NewJob;

/// Priorities are small numbers; a typing error should not win over everything for ever.
const PRIORITIES: std::ops::RangeInclusive<i64> = -1000..=1000;

pub(in crate::api) async fn handle(
    State(shared): State<Shared>,
    caller: Caller,
    headers: HeaderMap,
    body: RequestBody,
) -> Result<Response, Refusal> {
    shared.takes_work()?;
    let key = submission::idempotency_key(&headers)?;
    let submit = Submit::read(body.object()?)?;
    let seed = submission::seed(submit.endpoint, &submit.body)?;
    let body = match shared.model.get() {
        Some(served) => {
            submission::resolve(served, submit.endpoint, submit.body, seed)
                .await?
                .1
        }
        None => {
            protocol::validate(submit.endpoint, &submit.body)?;
            submit.body
        }
    };
    let job = NewJob {
        endpoint: submit.endpoint,
        body,
        seed,
        priority: submit.priority,
        idempotency_key: key,
        uid: caller.uid,
        attached: false,
        metadata: submit.metadata,
        created_at_ms: submission::now_ms(),
    };
    let submitted = shared.queue.submit(job).await?;
    Ok(json_response(StatusCode::ACCEPTED, &view(&submitted.job)))
}

/// A submit request, taken apart.
#[derive(Debug, PartialEq)]
struct Submit {
    endpoint: Endpoint,
    body: Vec<u8>,
    priority: i32,
    metadata: Option<String>,
}

impl Submit {
    fn read(mut request: Map<String, Value>) -> Result<Self, Refusal> {
        let endpoints = || {
            let paths: Vec<_> = Endpoint::ALL
                .iter()
                .map(|endpoint| endpoint.path())
                .collect();
            Refusal::bad_field(
                "endpoint",
                format!("endpoint must be one of {}", paths.join(", ")),
            )
        };
        let endpoint = request.remove("endpoint");
        let endpoint = endpoint
            .as_ref()
            .and_then(Value::as_str)
            .and_then(Endpoint::from_path)
            .ok_or_else(endpoints)?;
        let body = match request.remove("body") {
            Some(body @ Value::Object(_)) => body.to_string().into_bytes(),
            _ => {
                return Err(Refusal::bad_field(
                    "body",
                    "body must be the JSON object of the request",
                ));
            }
        };
        let priority = match request.remove("priority") {
            None | Some(Value::Null) => 0,
            Some(priority) => priority
                .as_i64()
                .filter(|priority| PRIORITIES.contains(priority))
                .and_then(|priority| i32::try_from(priority).ok())
                .ok_or_else(|| {
                    Refusal::bad_field(
                        "priority",
                        "priority must be a whole number from -1000 to 1000",
                    )
                })?,
        };
        let metadata = match request.remove("metadata") {
            None | Some(Value::Null) => None,
            Some(metadata @ Value::Object(_)) => Some(metadata.to_string()),
            Some(_) => {
                return Err(Refusal::bad_field(
                    "metadata",
                    "metadata must be a JSON object",
                ));
            }
        };
        // A deadline that is not kept is worse than none: nothing is accepted without effect.
        match request.keys().next() {
            None => Ok(Submit {
                endpoint,
                body,
                priority,
                metadata,
            }),
            Some(unknown) => Err(Refusal::bad_field(
                unknown,
                format!(
                    "{unknown} is not a field of a job; known are endpoint, body, priority, metadata"
                ),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(value: Value) -> Result<Submit, Refusal> {
        Submit::read(value.as_object().unwrap().clone())
    }

    #[test]
    fn a_submit_is_taken_apart() {
        let request = json!({
            "endpoint": "/v1/chat/completions", "body": {"b": 1, "a": 2}, "priority": -3, "metadata": {"k": "v"},
        });
        assert_eq!(
            read(request).unwrap(),
            Submit {
                endpoint: Endpoint::ChatCompletions,
                body: br#"{"b":1,"a":2}"#.to_vec(),
                priority: -3,
                metadata: Some(r#"{"k":"v"}"#.to_owned()),
            }
        );
    }

    #[test]
    fn what_is_wrong_is_named() {
        let right = json!({"endpoint": "/v1/completions", "body": {}});
        assert!(read(right.clone()).is_ok());
        let cases = [
            ("endpoint", json!("/v1/embeddings")),
            ("endpoint", json!(null)),
            ("body", json!("text")),
            ("priority", json!(1.5)),
            ("priority", json!(1001)),
            ("metadata", json!([])),
            ("deadline", json!(17)),
        ];
        for (field, value) in cases {
            let mut request = right.clone();
            request[field] = value;
            let refusal = read(request).unwrap_err();
            assert_eq!(refusal.body()["error"]["param"], field);
        }
    }
}
