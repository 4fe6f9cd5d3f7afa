//! Files and batches as the API shows them.

use crate::protocol::batches::{BatchUsage, BatchView, Counts, FileView, LineErrors, Listing};
use crate::queue::batch::{BatchRow, BatchState, FileRow};

use super::server::Shared;

pub(super) fn file(row: &FileRow) -> FileView {
    FileView {
        id: row.id.to_string(),
        object: "file".to_owned(),
        bytes: row.file.bytes,
        created_at: seconds(row.created_at_ms),
        expires_at: row.expires_at_ms().map(seconds),
        filename: row.file.name.clone(),
        purpose: row.file.purpose.clone(),
        status: "processed".to_owned(),
    }
}

/// `warnings` names the fields of a request that had no effect.
pub(super) fn batch(shared: &Shared, row: &BatchRow, warnings: Vec<String>) -> BatchView {
    let ended = |state: BatchState| row.ended_at_ms.filter(|_| row.state == state).map(seconds);
    let errors = row.errors.as_deref();
    let metadata = row.batch.metadata.as_deref();
    BatchView {
        id: row.id.to_string(),
        object: "batch".to_owned(),
        endpoint: row.batch.endpoint.path().to_owned(),
        // Whatever the lines call it; null until it is warm.
        model: shared.model.get().map(|served| served.info.name.clone()),
        errors: errors.and_then(|text| serde_json::from_str::<LineErrors>(text).ok()),
        input_file_id: row.batch.input_file.to_string(),
        completion_window: row.batch.completion_window.clone(),
        status: row.state.as_str().to_owned(),
        output_file_id: row.output_file.map(|id| id.to_string()),
        error_file_id: row.error_file.map(|id| id.to_string()),
        created_at: seconds(row.created_at_ms),
        in_progress_at: row.in_progress_at_ms.map(seconds),
        expires_at: Some(seconds(row.batch.deadline_ms)),
        finalizing_at: row.finalizing_at_ms.map(seconds),
        completed_at: ended(BatchState::Completed),
        failed_at: ended(BatchState::Failed),
        expired_at: ended(BatchState::Expired),
        cancelling_at: row.cancelling_at_ms.map(seconds),
        cancelled_at: ended(BatchState::Cancelled),
        request_counts: Counts {
            total: row.lines.total,
            completed: row.lines.completed,
            failed: row.lines.failed,
        },
        usage: BatchUsage::new(row.lines.prompt_tokens, row.lines.completion_tokens),
        metadata: metadata.and_then(|text| serde_json::from_str(text).ok()),
        warnings,
    }
}

/// A page of which one more was asked for than it may show.
pub(super) fn listing<T>(mut data: Vec<T>, limit: usize, id: impl Fn(&T) -> &str) -> Listing<T> {
    let has_more = data.len() > limit;
    data.truncate(limit);
    Listing {
        object: "list".to_owned(),
        first_id: data.first().map(|one| id(one).to_owned()),
        last_id: data.last().map(|one| id(one).to_owned()),
        data,
        has_more,
    }
}

fn seconds(milliseconds: i64) -> i64 {
    milliseconds.div_euclid(1000)
}
