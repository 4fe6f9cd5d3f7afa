//! The job object: a row of the queue as JSON.
//!
//! `{"id", "object": "job", "status", "endpoint", "priority", "position", "attempts", "created_at",
//! "started_at", "finished_at", "metadata", "usage", "result", "error"}`; times are Unix seconds; what is
//! not there (yet) is null.

use serde_json::{Value, json};

use crate::job::State;
use crate::queue::JobRow;

/// Positions are counted up to here.
const COUNTED_POSITIONS: u64 = 1000;

pub(super) fn view(row: &JobRow) -> Value {
    json!({
        "id": row.id.to_string(),
        "object": "job",
        "status": row.state,
        "endpoint": row.endpoint,
        "priority": row.priority,
        "position": row.position.map(position),
        "attempts": row.attempts,
        "created_at": seconds(row.created_at_ms),
        "started_at": row.started_at_ms.map(seconds),
        "finished_at": row.finished_at_ms.map(seconds),
        "metadata": row.metadata.as_deref().and_then(parsed),
        "usage": row.usage,
        "result": row.result.as_deref().and_then(|result| serde_json::from_slice::<Value>(result).ok()),
        "error": error(row),
    })
}

fn position(position: u64) -> Value {
    if position > COUNTED_POSITIONS {
        format!(">{COUNTED_POSITIONS}").into()
    } else {
        position.into()
    }
}

fn seconds(milliseconds: i64) -> i64 {
    milliseconds.div_euclid(1000)
}

fn parsed(text: &str) -> Option<Value> {
    serde_json::from_str(text).ok()
}

fn error(row: &JobRow) -> Option<Value> {
    let code = match row.state {
        State::Failed => "failed",
        State::Cancelled => "cancelled",
        State::Expired => "expired",
        State::Queued | State::Running | State::Completed => return None,
    };
    let message = row
        .error
        .clone()
        .unwrap_or_else(|| format!("the job was {code}"));
    Some(json!({"message": message, "code": code}))
}

#[cfg(test)]
pub(super) mod tests {
    use crate::job::{Endpoint, JobId, Usage};

    use super::*;

    pub(in crate::api) fn row() -> JobRow {
        JobRow {
            id: JobId(7),
            state: State::Queued,
            endpoint: Endpoint::Completions,
            priority: -2,
            seed: 1,
            uid: 1000,
            attached: false,
            metadata: None,
            attempts: 0,
            created_at_ms: 1_700_000_000_999,
            started_at_ms: None,
            finished_at_ms: None,
            usage: None,
            result: None,
            error: None,
            position: Some(3),
        }
    }

    #[test]
    fn a_waiting_job_has_a_position() {
        assert_eq!(
            view(&row()),
            json!({
                "id": "job_7", "object": "job", "status": "queued", "endpoint": "/v1/completions",
                "priority": -2, "position": 3, "attempts": 0, "created_at": 1_700_000_000,
                "started_at": null, "finished_at": null, "metadata": null, "usage": null,
                "result": null, "error": null,
            })
        );
        let far = JobRow {
            position: Some(1001),
            ..row()
        };
        assert_eq!(view(&far)["position"], ">1000");
    }

    #[test]
    fn a_finished_job_has_a_result_or_an_error() {
        let completed = JobRow {
            state: State::Completed,
            result: Some(br#"{"choices":[]}"#.to_vec()),
            usage: Some(Usage::new(2, 3)),
            metadata: Some(r#"{"a":1}"#.to_owned()),
            ..row()
        };
        let shown = view(&completed);
        assert_eq!(shown["result"], json!({"choices": []}));
        assert_eq!(shown["usage"]["total_tokens"], 5);
        assert_eq!(shown["metadata"], json!({"a": 1}));
        assert_eq!(shown["error"], Value::Null);

        let failed = JobRow {
            state: State::Failed,
            error: Some("too long".to_owned()),
            ..row()
        };
        assert_eq!(
            view(&failed)["error"],
            json!({"message": "too long", "code": "failed"})
        );
        let cancelled = JobRow {
            state: State::Cancelled,
            ..row()
        };
        assert_eq!(
            view(&cancelled)["error"]["message"],
            "the job was cancelled"
        );
    }
}
