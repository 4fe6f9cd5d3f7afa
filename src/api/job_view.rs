//! The job object: a row of the queue as the API shows it.

use serde_json::Value;

use crate::job::State;
use crate::protocol::JobView;
use crate::protocol::jobs::JobError;
use crate::queue::JobRow;
use crate::queue::pace::Estimate;

/// `warnings` names the fields of a submission that had no effect.
pub(super) fn view(row: &JobRow, estimate: Option<Estimate>, warnings: Vec<String>) -> JobView {
    JobView {
        id: row.id.to_string(),
        object: "job".to_owned(),
        status: row.state,
        endpoint: row.endpoint,
        priority: row.priority,
        position: row.position.map(Into::into),
        created_at: seconds(row.created_at_ms),
        started_at: row.started_at_ms.map(seconds),
        finished_at: row.finished_at_ms.map(seconds),
        estimated_start_at: estimate.map(|estimate| seconds(estimate.start_ms)),
        estimated_finish_at: estimate.map(|estimate| seconds(estimate.finish_ms)),
        not_before: row.times.not_before_ms.map(seconds),
        deadline: row.times.deadline_ms.map(seconds),
        attempts: row.attempts,
        usage: row.usage,
        result: row.result.as_deref().and_then(parsed),
        error: error(row),
        metadata: row.metadata.as_deref().map(str::as_bytes).and_then(parsed),
        batch_id: row.batch.map(|batch| batch.to_string()),
        warnings,
    }
}

fn seconds(milliseconds: i64) -> i64 {
    milliseconds.div_euclid(1000)
}

fn parsed(text: &[u8]) -> Option<Value> {
    serde_json::from_slice(text).ok()
}

fn error(row: &JobRow) -> Option<JobError> {
    match row.state {
        State::Failed | State::Cancelled | State::Expired => {}
        State::Queued | State::Running | State::Completed => return None,
    }
    let code = row.state.as_str().to_owned();
    let message = row
        .error
        .clone()
        .unwrap_or_else(|| format!("the job was {code}"));
    Some(JobError { message, code })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::job::{Endpoint, JobId, Usage};
    use crate::queue::Times;

    use super::*;

    fn row() -> JobRow {
        JobRow {
            id: JobId(7),
            state: State::Queued,
            endpoint: Endpoint::Completions,
            priority: -2,
            seed: 1,
            uid: 1000,
            attached: false,
            metadata: None,
            times: Times::default(),
            attempts: 0,
            created_at_ms: 1_700_000_000_999,
            started_at_ms: None,
            finished_at_ms: None,
            usage: None,
            result: None,
            error: None,
            position: Some(3),
            batch: None,
        }
    }

    fn shown(row: &JobRow) -> Value {
        serde_json::to_value(view(row, None, Vec::new())).unwrap()
    }

    #[test]
    fn a_waiting_job_has_a_position() {
        assert_eq!(
            shown(&row()),
            json!({
                "id": "job_7", "object": "job", "status": "queued", "endpoint": "/v1/completions",
                "priority": -2, "position": 3, "created_at": 1_700_000_000, "started_at": null,
                "finished_at": null, "estimated_start_at": null, "estimated_finish_at": null, "not_before": null, "deadline": null, "attempts": 0, "usage": null, "result": null, "error": null,
                "metadata": null, "batch_id": null,
            })
        );
        let estimate = Estimate {
            start_ms: 1_700_000_001_999,
            finish_ms: 1_700_000_009_000,
        };
        let view = view(&row(), Some(estimate), vec![]);
        assert_eq!(
            (view.estimated_start_at, view.estimated_finish_at),
            (Some(1_700_000_001), Some(1_700_000_009))
        );
        let far = JobRow {
            position: Some(1001),
            ..row()
        };
        assert_eq!(shown(&far)["position"], ">1000");
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
        let completed = shown(&completed);
        assert_eq!(completed["result"], json!({"choices": []}));
        assert_eq!(completed["usage"]["total_tokens"], 5);
        assert_eq!(completed["metadata"], json!({"a": 1}));
        assert_eq!(completed["error"], Value::Null);

        let failed = JobRow {
            state: State::Failed,
            error: Some("too long".to_owned()),
            ..row()
        };
        assert_eq!(
            shown(&failed)["error"],
            json!({"message": "too long", "code": "failed"})
        );
        let cancelled = JobRow {
            state: State::Cancelled,
            ..row()
        };
        assert_eq!(
            shown(&cancelled)["error"]["message"],
            "the job was cancelled"
        );
    }
}
