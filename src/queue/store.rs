//! What a store of jobs must be able to do. One conformance suite (`tests/queue_store.rs`) holds for
//! every implementation.
//!
//! Invariant: a store knows no threads, no channels and no clock; the time is handed in.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::job::{JobId, State};

use super::batch::{
    BatchId, BatchRow, BatchState, FileId, FileRow, LineEnd, NewBatch, NewFile, NewLine, Spooled,
};
use super::limits::{Limits, Share};
use super::pace::Pace;
use super::state::{Blame, Retention};
use super::{
    Claimed, Completion, Error, Filter, Flow, FlowChange, JobRow, NewJob, Page, Part, Submitted,
    Transcript,
};

/// Bytes of results with which a page of [`JobReader::lines`] ends: one result may be large, and fifty of them are not in
/// memory at once.
pub const LINES_BYTES: usize = 4 << 20;

/// One request to change the store.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// Refused with [`Error::Draining`] while the queue is drained, with [`Error::Full`] when a limit is reached, and
    /// with [`Error::TooLate`] if the job asks for that and the pace says so, or the deadline has passed. A job with an
    /// idempotency key that the submitter used before is found again instead, full or not, as by
    /// [`Change::FindSubmitted`].
    Submit {
        job: NewJob,
        admission: Admission,
    },
    /// The job that its submitter made before with the key of this one; [`Error::IdempotencyConflict`] when the request
    /// was another. One that is found by a detached job is detached from now on: whoever asks for it in this way fetches
    /// it later.
    FindSubmitted(NewJob),
    /// The first queued job by (priority descending, id ascending) starts running, of those whose time has come and
    /// whose deadline has not passed. A suspect (see [`super::state::is_suspect`]) waits until nothing runs, and
    /// while it runs nothing is claimed.
    Claim,
    SetFlow(FlowChange),
    /// Deadlines that have passed, at most `limit` of them: their jobs expire.
    Wake {
        limit: usize,
    },
    /// Keeps what a job generated so far, if this daemon runs it.
    Checkpoint {
        id: JobId,
        part: Part,
    },
    /// Publishes result and state together, once, and only for a job this daemon runs. One whose deadline has passed
    /// expires instead, whether or not a wake was there before. A fault of ours puts the job
    /// back to queued by the rule of [`super::state::retry_at`], or fails it.
    Finish {
        id: JobId,
        completion: Completion,
    },
    /// Running jobs of this daemon go back to queued, and the claim does not count as an attempt.
    Requeue(Vec<JobId>),
    /// [`Error::NotFound`] when there is no such job.
    Cancel(JobId),
    /// Looks at the newest unfinished jobs that are older than `before`, of this user alone if one is given, and cancels
    /// those that are no requests of batches, which end with their batches. At most `limit` are looked at.
    CancelOpen {
        before: Option<JobId>,
        uid: Option<u32>,
        limit: usize,
    },
    /// Deletes an attached job that has ended, unless its submitter can ask again with a key.
    Delivered(JobId),
    Batch(BatchChange),
    /// Deletes at most `limit` jobs that ended long enough ago, but those of a batch only when that has ended. And at
    /// most `limit` files whose time is over, but none that an open batch needs.
    Purge {
        retention: Retention,
        limit: usize,
    },
}

/// What decides whether a job or a file is taken in.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Admission {
    pub limits: Limits,
    /// As measured; `None` refuses no job for its deadline.
    pub pace: Option<Pace>,
}

/// Changes of files and batches.
#[derive(Debug, Clone, PartialEq)]
pub enum BatchChange {
    /// Of a user; refused with [`Error::Full`] when a limit is reached.
    AddFile {
        file: NewFile,
        limits: Limits,
    },
    /// A file that was dropped into the spool directory, with its batch, whose `input_file` it becomes. Nothing new while
    /// a file with this identity was taken before and its results are not delivered; else refused as both are.
    Spool {
        name: String,
        identity: String,
        file: NewFile,
        batch: NewBatch,
        limits: Limits,
    },
    /// The results of such a batch are in the directory: the queue's own copies of them and of its input go, but none
    /// that an open batch needs.
    SpoolDelivered(BatchId),
    /// [`Error::FileInUse`] while a batch needs it. Its bytes go with it.
    RemoveFile(FileId),
    /// [`Error::NotFound`] when there is no such file, [`Error::Draining`] while the queue is drained, and refused when
    /// a limit is reached: until its end a batch counts as one job, and has the bytes of its input, its jobs, once more.
    /// A batch with an
    /// idempotency key that its user used before is found again instead, as in [`Change::Submit`].
    Add {
        batch: NewBatch,
        limits: Limits,
    },
    /// The lines of the file, or the file itself, cannot be used: the batch fails, unless it is being cancelled. `errors`
    /// is JSON.
    Refuse {
        id: BatchId,
        errors: String,
    },
    /// They can, and are so many.
    Begin {
        id: BatchId,
        total: u64,
    },
    /// Makes jobs of the lines from number `from` on; nothing when the batch does not stand there, or is not in
    /// progress.
    Expand {
        id: BatchId,
        from: u64,
        lines: Vec<NewLine>,
    },
    /// Unchanged where that is too late.
    Cancel(BatchId),
    /// Cancels at most `limit` jobs of the batch.
    CancelJobs {
        id: BatchId,
        limit: usize,
    },
    Finalizing(BatchId),
    /// Ends the batch, once, and adds its files with that. One that is being cancelled ends in no other state.
    End {
        id: BatchId,
        state: BatchState,
        output: Option<NewFile>,
        errors: Option<NewFile>,
    },
}

/// The answer to a [`Change`], variant by variant.
#[derive(Debug, Clone, PartialEq)]
pub enum Applied {
    Submitted(Submitted),
    /// `None`: there is none.
    Found(Option<JobRow>),
    /// `None`: no job is queued.
    Claimed(Option<Claimed>),
    /// As it is now.
    Flow(Flow),
    Finished(Finished),
    Woken(Woken),
    /// Those that were running here.
    Requeued(Vec<JobId>),
    Cancelled(Cancelled),
    File(FileRow),
    Batch(BatchRow),
    Spooled {
        batch: BatchRow,
        existed: bool,
    },
    /// Jobs that are queued now; `None`: the batch does not stand there.
    Expanded(Option<Vec<JobId>>),
    /// The names in their directory of files that are not known any more.
    Forgotten(Vec<String>),
    /// Jobs that ended, and their states before.
    Ended(Vec<(JobId, State)>),
    Swept(Swept),
    /// Whether the job was deleted.
    Delivered(bool),
    /// Whether it was kept.
    Checkpointed(bool),
    Purged(Purged),
}

/// The answer to a finish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finished {
    /// The job is terminal now.
    Published,
    /// It is queued again, and runs at this time (Unix milliseconds).
    Retried { at_ms: i64 },
    /// Its deadline has passed, and it is terminal without what it gave.
    Expired,
    /// It was not running here any more; nothing was stored.
    TooLate,
}

/// The answer to a wake.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Woken {
    /// Jobs that expired, and their states before.
    pub expired: Vec<(JobId, State)>,
    /// When the next job's time comes or its deadline passes, in Unix milliseconds.
    pub next_ms: Option<i64>,
}

/// The answer to a purge.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Purged {
    /// How many jobs were deleted.
    pub jobs: usize,
    /// The names of the deleted files in their directory.
    pub files: Vec<String>,
    /// When there may be something to delete again, in Unix milliseconds: the time of the oldest job or file that is
    /// left, also where something else keeps it.
    pub next_ms: Option<i64>,
}

/// The answer to a cancel.
#[derive(Debug, Clone, PartialEq)]
pub struct Cancelled {
    /// The job as it is now.
    pub job: JobRow,
    /// The state before; it equals the one now when the cancel came too late.
    pub before: State,
}

/// The answer to a cancel of open jobs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Swept {
    /// Jobs that ended, newest first, and their states before.
    pub ended: Vec<(JobId, State)>,
    /// The last one that was looked at, if there may be older ones.
    pub rest_before: Option<JobId>,
}

/// Reading, on a connection of its own: never waits for a commit of the writer.
pub trait JobReader: Send {
    fn get(&mut self, id: JobId) -> Result<JobRow, Error>;

    /// How the events of a completed job lie within its result; `None` for all others, and for one whose outline was
    /// not kept.
    fn outline(&mut self, id: JobId) -> Result<Option<Vec<u8>>, Error>;

    /// Newest first, at most `filter.limit`.
    fn list(&mut self, filter: &Filter) -> Result<Vec<JobRow>, Error>;

    /// The transcript of the last completed job of this user with this fingerprint that has one.
    fn transcript(&mut self, fingerprint: &[u8; 32], uid: u32)
    -> Result<Option<Transcript>, Error>;

    /// Every state once, in the order of [`State::ALL`].
    fn counts(&mut self) -> Result<Vec<(State, u64)>, Error>;

    fn flow(&mut self) -> Result<Flow, Error>;

    /// What all have in the queue, and what this user has.
    fn shares(&mut self, uid: u32) -> Result<(Share, Share), Error>;

    /// Copies the store as it is now into a new file, without holding anybody up, and breaks off as soon as `stop` is
    /// set. Asks `keep` about each file by the name it is stored as; the copy knows only those that it has. Jobs that run
    /// are queued in the copy: whoever opens it has nobody to blame.
    fn copy_to(
        &mut self,
        file: &Path,
        stop: &Arc<AtomicBool>,
        keep: &mut dyn FnMut(&str) -> bool,
    ) -> Result<(), Error>;

    fn file(&mut self, id: FileId) -> Result<FileRow, Error>;

    /// Those with this purpose, if one is given, whose time is not over.
    fn files(
        &mut self,
        page: Page,
        purpose: Option<&str>,
        now_ms: i64,
    ) -> Result<Vec<FileRow>, Error>;

    /// The names of all files in their directory.
    fn stored_names(&mut self) -> Result<Vec<String>, Error>;

    fn batch(&mut self, id: BatchId) -> Result<BatchRow, Error>;

    fn batches(&mut self, page: Page) -> Result<Vec<BatchRow>, Error>;

    /// The batch that this user made with this idempotency key.
    fn batch_of_key(&mut self, uid: u32, key: &str) -> Result<Option<BatchRow>, Error>;

    /// Those that have not ended, oldest first.
    fn open_batches(&mut self) -> Result<Vec<BatchRow>, Error>;

    /// Spooled batches whose results were not delivered, oldest first.
    fn undelivered(&mut self) -> Result<Vec<Spooled>, Error>;

    /// The requests of a batch that are jobs, from this line on, in their order: at most `limit`, and none behind the
    /// one with which their results come to [`LINES_BYTES`]. None at all only when there is none.
    fn lines(&mut self, id: BatchId, from: u64, limit: usize) -> Result<Vec<LineEnd>, Error>;
}

/// The durable set of jobs. One store at a time may be open on a directory or database.
pub trait JobStore: Send {
    /// Takes over from a daemon that is gone, by the rule of [`super::state::after_crash`]: call it once
    /// after opening. A job that was running then has one crash more, and fails by the rule of
    /// [`super::state::is_poison`] with this limit (0: crashes are not counted), unless nobody is to blame: then its
    /// claim does not count as an attempt either. Returns all queued jobs.
    fn recover(
        &mut self,
        now_ms: i64,
        blame: Blame,
        poison_limit: u32,
    ) -> Result<Vec<JobId>, Error>;

    /// Applies a group of changes in order, durably, in one transaction. A change that is refused leaves
    /// no trace and does not touch its neighbours. On a full disk a store may fall back to a transaction
    /// for each change, to refuse only those that do not fit.
    ///
    /// After [`Error::NoSpace`] for the whole group nothing of it is stored, and it may be tried again.
    /// After any other error nobody knows what is on disk until the store is opened anew: it cannot be
    /// trusted with another write.
    fn apply(
        &mut self,
        group: &[Change],
        now_ms: i64,
    ) -> Result<Vec<Result<Applied, Error>>, Error>;

    /// A reader that sees every group whose `apply` has returned.
    fn reader(&self) -> Result<Box<dyn JobReader>, Error>;

    /// Leaves everything tidy on disk.
    fn close(self: Box<Self>) -> Result<(), Error>;
}
