//! The rows of the store, as plain data.

use crate::job::{Endpoint, JobId, State, Usage};

use super::batch::BatchId;

/// A job to accept.
#[derive(Debug, Clone, PartialEq)]
pub struct NewJob {
    pub endpoint: Endpoint,
    /// The request body as received: JSON text.
    pub body: Vec<u8>,
    /// Drawn at submit when the request has none, and stored.
    pub seed: u64,
    /// As resolved at submit; `None` when it is resolved only after the claim.
    pub max_tokens: Option<u32>,
    pub priority: i32,
    pub idempotency_key: Option<String>,
    /// Of the submitter.
    pub uid: u32,
    /// A connection waits for this job: without an idempotency key it is cancelled when the connection goes.
    pub attached: bool,
    /// Free JSON object of the submitter, as text.
    pub metadata: Option<String>,
    /// Unix milliseconds.
    pub created_at_ms: i64,
    pub times: Times,
    /// Refused when it would hardly be done by its deadline.
    pub refuse_late: bool,
}

/// Whether jobs are taken in, and started. It outlives the daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flow {
    /// None is started.
    pub paused: bool,
    /// No new one is taken in.
    pub draining: bool,
}

/// What an administrator wants of the flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlowChange {
    Pause,
    Drain,
    /// Undoes both.
    Resume,
}

impl Flow {
    /// A pause says nothing about a drain, nor a drain about a pause.
    pub fn after(self, change: FlowChange) -> Self {
        match change {
            FlowChange::Pause => Flow {
                paused: true,
                ..self
            },
            FlowChange::Drain => Flow {
                draining: true,
                ..self
            },
            FlowChange::Resume => Flow::default(),
        }
    }
}

/// When a job may run, in Unix milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Times {
    /// Not claimed before.
    pub not_before_ms: Option<i64>,
    /// Expired, and never published, when it is not done by then.
    pub deadline_ms: Option<i64>,
}

impl NewJob {
    /// For tests beside the code: a completion that nobody waits for, with nothing asked of it.
    #[cfg(test)]
    pub(crate) fn plain(body: impl Into<Vec<u8>>) -> Self {
        NewJob {
            endpoint: Endpoint::Completions,
            body: body.into(),
            seed: 0,
            max_tokens: None,
            priority: 0,
            idempotency_key: None,
            uid: 0,
            attached: false,
            metadata: None,
            created_at_ms: 0,
            times: Times::default(),
            refuse_late: false,
        }
    }

    /// Whether nobody could fetch its result once the connection is gone: there is no key to ask again with.
    pub(super) fn dies_with_its_connection(&self) -> bool {
        self.attached && self.idempotency_key.is_none()
    }
}

/// The answer to a submit: the job, and whether it was there before (same idempotency key).
#[derive(Debug, Clone, PartialEq)]
pub struct Submitted {
    pub job: JobRow,
    pub existed: bool,
}

/// One job as stored.
#[derive(Debug, Clone, PartialEq)]
pub struct JobRow {
    pub id: JobId,
    pub state: State,
    pub endpoint: Endpoint,
    pub priority: i32,
    pub seed: u64,
    pub uid: u32,
    /// It ends with the connection that waits for it. One with an idempotency key does not, and is kept as long as a
    /// detached one: whoever knows the key may ask again.
    pub attached: bool,
    pub metadata: Option<String>,
    pub times: Times,
    /// How often the job was claimed, not counting claims that a drain took back.
    pub attempts: u32,
    pub created_at_ms: i64,
    pub started_at_ms: Option<i64>,
    pub finished_at_ms: Option<i64>,
    pub usage: Option<Usage>,
    /// The response body of the endpoint: JSON text. Only of completed jobs, only from `get`.
    pub result: Option<Vec<u8>>,
    /// One sentence. Only of failed jobs.
    pub error: Option<String>,
    /// Queued jobs that run before this one: exact up to 1,000, and more than that beyond. Only from `get` and
    /// `list`, and not while the job waits for its time.
    pub position: Option<u64>,
    /// The batch that it is a request of.
    pub batch: Option<BatchId>,
}

/// A job handed to the engine.
#[derive(Debug, Clone, PartialEq)]
pub struct Claimed {
    pub id: JobId,
    pub priority: i32,
    pub endpoint: Endpoint,
    pub body: Vec<u8>,
    pub seed: u64,
    pub max_tokens: Option<u32>,
    pub created_at_ms: i64,
    /// Of the submitter.
    pub uid: u32,
    /// No daemon after this one will run it.
    pub dies_with_its_connection: bool,
    /// What an earlier run generated.
    pub transcript: Option<Transcript>,
}

/// A piece of what a job generated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// From 0; it takes the place of those with this number and higher ones.
    pub number: u32,
    /// Of everything that the output depends on.
    pub fingerprint: [u8; 32],
    pub body: Vec<u8>,
}

/// All pieces in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transcript {
    pub fingerprint: [u8; 32],
    pub parts: Vec<Vec<u8>>,
}

/// How a running job ends.
#[derive(Debug, Clone, PartialEq)]
pub enum Completion {
    Completed {
        /// The response body of the endpoint.
        result: Vec<u8>,
        usage: Usage,
        /// How its events lie within the result.
        outline: Vec<u8>,
        /// Kept as the job's transcript, to answer equal requests with. The job is a detached one from then on.
        keep: Option<Part>,
    },
    Failed {
        error: String,
        /// The request is to blame, not the engine.
        refused: bool,
        /// The field of it that is.
        param: Option<String>,
    },
    /// Through a fault of ours: the job is tried again later, unless that was often enough.
    Faulted { error: String },
}

/// Which files or batches to list: newest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Page {
    /// Only those with a smaller number.
    pub before: Option<i64>,
    pub limit: usize,
    /// Only those of this user.
    pub uid: Option<u32>,
}

/// Which jobs to list: newest first.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Filter {
    pub state: Option<State>,
    /// Only jobs with a smaller id.
    pub before: Option<JobId>,
    pub limit: usize,
    /// Only jobs of this submitter.
    pub uid: Option<u32>,
}
