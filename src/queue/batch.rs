//! Files and batches as plain data, and what a batch needs next: pure.
//!
//! ```text
//! validating -> failed | in_progress -> finalizing -> completed | expired
//! validating | in_progress -> cancelling -> cancelled
//! validating -> expired (only where its input cannot be read)
//! ```
//!
//! Invariant: a batch that has ended never changes. Knows no lines, only how many there are.

use std::fmt;
use std::str::FromStr;

use crate::job::{Endpoint, JobId, State};

use super::NewJob;

/// Batches whose files are open at once, and how many each has open at most: its input, its answers and its errors.
pub const MOST_AT_WORK: usize = 16;
pub const FILES_AT_WORK: usize = 3;

/// A file's number, printed as `file-<number>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileId(pub i64);

/// A batch's number, printed as `batch_<number>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BatchId(pub i64);

impl fmt::Display for FileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "file-{}", self.0)
    }
}

impl fmt::Display for BatchId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "batch_{}", self.0)
    }
}

/// The text is no such id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidId;

fn number(text: &str, prefix: &str) -> Result<i64, InvalidId> {
    let digits = text.strip_prefix(prefix).ok_or(InvalidId)?;
    let are_digits = digits.bytes().all(|byte| byte.is_ascii_digit());
    // One name for each: no leading zeros.
    let is_name = are_digits && !digits.is_empty() && !digits.starts_with('0');
    let number = is_name.then(|| digits.parse().ok()).flatten();
    number.ok_or(InvalidId)
}

impl FromStr for FileId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        number(text, "file-").map(FileId)
    }
}

impl FromStr for BatchId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        number(text, "batch_").map(BatchId)
    }
}

/// A file to keep; its bytes are on disk already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewFile {
    pub uid: u32,
    /// `batch` or `batch_output`.
    pub purpose: String,
    /// As the user calls it.
    pub name: String,
    /// Its name in the directory of files.
    pub stored_as: String,
    pub bytes: u64,
    /// Seconds from then on that it is kept; `None`: until somebody deletes it.
    pub kept_s: Option<u32>,
}

/// A file as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileRow {
    pub id: FileId,
    pub file: NewFile,
    pub created_at_ms: i64,
}

impl FileRow {
    /// From when on nobody gets to see it, in Unix milliseconds.
    pub fn expires_at_ms(&self) -> Option<i64> {
        let kept_ms = i64::from(self.file.kept_s?) * 1_000;
        Some(self.created_at_ms.saturating_add(kept_ms))
    }
}

/// Where a batch stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchState {
    Validating,
    Failed,
    InProgress,
    Finalizing,
    Completed,
    Expired,
    Cancelling,
    Cancelled,
}

impl NewBatch {
    /// Whether both were asked for in the same words, only perhaps not at the same time.
    pub fn is_same_request(&self, other: &NewBatch) -> bool {
        let deadline_ms = other.deadline_ms;
        NewBatch {
            deadline_ms,
            ..self.clone()
        } == *other
    }
}

impl BatchState {
    pub const ALL: [BatchState; 8] = [
        BatchState::Validating,
        BatchState::Failed,
        BatchState::InProgress,
        BatchState::Finalizing,
        BatchState::Completed,
        BatchState::Expired,
        BatchState::Cancelling,
        BatchState::Cancelled,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            BatchState::Validating => "validating",
            BatchState::Failed => "failed",
            BatchState::InProgress => "in_progress",
            BatchState::Finalizing => "finalizing",
            BatchState::Completed => "completed",
            BatchState::Expired => "expired",
            BatchState::Cancelling => "cancelling",
            BatchState::Cancelled => "cancelled",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }

    pub fn is_terminal(self) -> bool {
        use BatchState::{Cancelled, Completed, Expired, Failed};
        matches!(self, Failed | Completed | Expired | Cancelled)
    }

    /// Whether a cancel has an effect.
    pub fn can_cancel(self) -> bool {
        matches!(self, BatchState::Validating | BatchState::InProgress)
    }
}

/// A batch to accept.
#[derive(Debug, Clone, PartialEq)]
pub struct NewBatch {
    pub uid: u32,
    pub endpoint: Endpoint,
    pub input_file: FileId,
    /// As the user wrote it.
    pub completion_window: String,
    /// What is not done by then expires. Unix milliseconds.
    pub deadline_ms: i64,
    pub priority: i32,
    /// JSON object, as text.
    pub metadata: Option<String>,
    /// [`NewFile::kept_s`] of the files with its answers.
    pub output_kept_s: Option<u32>,
    /// A request with the same key of the same user finds this batch again.
    pub idempotency_key: Option<String>,
}

/// A batch as stored. Times are Unix milliseconds.
#[derive(Debug, Clone, PartialEq)]
pub struct BatchRow {
    pub id: BatchId,
    pub batch: NewBatch,
    pub state: BatchState,
    pub created_at_ms: i64,
    pub in_progress_at_ms: Option<i64>,
    pub finalizing_at_ms: Option<i64>,
    pub cancelling_at_ms: Option<i64>,
    pub ended_at_ms: Option<i64>,
    /// What is wrong with the lines, as JSON text.
    pub errors: Option<String>,
    pub output_file: Option<FileId>,
    pub error_file: Option<FileId>,
    pub lines: Lines,
}

impl BatchRow {
    /// Whether its window is over.
    pub fn is_late(&self, now_ms: i64) -> bool {
        now_ms >= self.batch.deadline_ms
    }
}

/// A batch that came through the spool directory.
#[derive(Debug, Clone, PartialEq)]
pub struct Spooled {
    /// What its file was called there, without the ending.
    pub name: String,
    /// What it is, whatever it is called.
    pub identity: String,
    pub batch: BatchRow,
}

/// Requests of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Lines {
    /// In the file; 0 until it is validated.
    pub total: u64,
    /// Those that have become jobs.
    pub expanded: u64,
    /// Jobs at their end, and how.
    pub ended: u64,
    pub completed: u64,
    /// Those that were cancelled by themselves too.
    pub failed: u64,
    pub prompt_tokens: u64,
    pub completion_tokens: u64,
}

/// One request of a batch, to become a job.
#[derive(Debug, Clone, PartialEq)]
pub struct NewLine {
    pub custom_id: String,
    pub job: NewJob,
    /// Why it cannot run: the job has failed before it began.
    pub refused: Option<Refused>,
}

/// What is wrong with a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    pub message: String,
    /// The field that is to blame.
    pub param: Option<String>,
}

/// The order in which lines become jobs: that of their requests' texts, so that equal beginnings of prompts run one after
/// the other and are computed once. Answers stand in the order of the file all the same.
pub fn prefix_order(lines: &[NewLine]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..lines.len()).collect();
    order.sort_by(|&one, &other| lines[one].job.body.cmp(&lines[other].job.body));
    order
}

/// How one request of a batch ended.
#[derive(Debug, Clone, PartialEq)]
pub struct LineEnd {
    pub line: u64,
    pub custom_id: String,
    pub job: JobId,
    pub state: State,
    pub result: Option<Vec<u8>>,
    pub error: Option<String>,
    pub refused: bool,
    /// Of a refused one: the field that is to blame.
    pub param: Option<String>,
}

/// What to do for a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Look through the file, and say how many lines there are or what is wrong with them.
    Validate,
    /// Make jobs of the lines from this one on.
    Expand { from: u64 },
    /// Cancel the jobs that have not ended.
    CancelJobs,
    /// Every job is at its end: write the files, and end in this state.
    Finalize(BatchState),
    /// Until a job ends, or somebody cancels.
    Wait,
}

/// What an unfinished batch needs next.
pub fn next_step(batch: &BatchRow, now_ms: i64) -> Step {
    let Lines {
        total,
        expanded,
        ended,
        ..
    } = batch.lines;
    let late = batch.is_late(now_ms);
    let all_ended = ended == expanded;
    match batch.state {
        BatchState::Validating => Step::Validate,
        BatchState::Cancelling if all_ended => Step::Finalize(BatchState::Cancelled),
        BatchState::Cancelling => Step::CancelJobs,
        BatchState::InProgress if expanded < total && !late => Step::Expand { from: expanded },
        BatchState::InProgress | BatchState::Finalizing if all_ended => {
            // Each job has the deadline of the batch: what neither completed nor failed has expired, or it was never
            // made a job.
            let done = batch.lines.completed + batch.lines.failed == total;
            Step::Finalize(if done {
                BatchState::Completed
            } else {
                BatchState::Expired
            })
        }
        _ => Step::Wait,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_back_and_nothing_else_is() {
        assert_eq!(FileId(12).to_string().parse(), Ok(FileId(12)));
        assert_eq!(BatchId(3).to_string().parse(), Ok(BatchId(3)));
        for text in [
            "file-",
            "file--1",
            "file-1x",
            "file-01",
            "file-0",
            "file-99999999999999999999",
            "batch_1",
            "",
        ] {
            assert_eq!(text.parse::<FileId>(), Err(InvalidId), "{text}");
        }
        for state in BatchState::ALL {
            assert_eq!(BatchState::parse(state.as_str()), Some(state));
        }
    }

    #[test]
    fn a_batch_goes_on_from_where_it_is() {
        let step = |state, total, expanded, ended, done, now_ms| {
            let batch = BatchRow {
                id: BatchId(1),
                batch: NewBatch {
                    uid: 1,
                    endpoint: Endpoint::Completions,
                    input_file: FileId(1),
                    completion_window: "24h".to_owned(),
                    deadline_ms: 100,
                    priority: 0,
                    metadata: None,
                    output_kept_s: None,
                    idempotency_key: None,
                },
                state,
                created_at_ms: 0,
                in_progress_at_ms: None,
                finalizing_at_ms: None,
                cancelling_at_ms: None,
                ended_at_ms: None,
                errors: None,
                output_file: None,
                error_file: None,
                lines: Lines {
                    total,
                    expanded,
                    ended,
                    completed: done,
                    ..Lines::default()
                },
            };
            next_step(&batch, now_ms)
        };
        use BatchState::{
            Cancelled, Cancelling, Completed, Expired, Finalizing, InProgress, Validating,
        };
        assert_eq!(step(Validating, 0, 0, 0, 0, 500), Step::Validate);
        assert_eq!(step(InProgress, 5, 2, 2, 2, 99), Step::Expand { from: 2 });
        assert_eq!(step(InProgress, 5, 5, 4, 4, 99), Step::Wait);
        assert_eq!(step(InProgress, 5, 5, 5, 5, 99), Step::Finalize(Completed));
        // Late: no more lines become jobs, and those that did have expired.
        assert_eq!(step(InProgress, 5, 2, 1, 1, 100), Step::Wait);
        assert_eq!(step(InProgress, 5, 2, 2, 2, 100), Step::Finalize(Expired));
        assert_eq!(step(Finalizing, 5, 5, 5, 4, 99), Step::Finalize(Expired));
        assert_eq!(step(Cancelling, 5, 5, 4, 4, 99), Step::CancelJobs);
        assert_eq!(step(Cancelling, 5, 3, 3, 3, 99), Step::Finalize(Cancelled));
    }
}
