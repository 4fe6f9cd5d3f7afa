//! The durable job store, one writer thread in front of it, and the live log of tokens in memory.
//!
//! Promises: a job is accepted when it is on disk, and not before; a result is published once, together
//! with the end of the job; the same idempotency key and request find the same job; a crash or a drain
//! puts running jobs back; jobs start by priority, then by id, and not before their time; what is not done by its
//! deadline expires.
//!
//! Invariant: does not know what a prompt or a model is: a job is a body, a result, and a state.
//!
//! It fails in two ways. A full disk refuses the request, and the queue lives on. After any other fault
//! of the store every call gives [`Error::Store`], and [`Queue::failed`] tells the daemon to end.

mod alarm;
pub mod backup;
pub mod batch;
mod bell;
mod check;
mod directory;
mod error;
mod files;
mod group;
mod handle;
mod limits;
mod live;
pub mod pace;
mod purge_clock;
mod reader;
mod reserve;
mod row;
mod shared;
mod sqlite;
pub mod state;
mod store;
mod uploads;
mod waiting;
mod writer;

pub use bell::Bell;
pub use check::check;
pub use directory::StateDir;
pub use error::Error;
pub use files::{Files, NewStored, WholeFile};
pub use handle::{CANCEL_CHUNK, Outlook, Queue};
pub use limits::{Limits, Reached, Share};
pub use live::{LiveLog, Origin, Subscription};
pub use row::{
    Claimed, Completion, Filter, Flow, FlowChange, JobRow, NewJob, Page, Part, Submitted, Times,
    Transcript,
};
pub use sqlite::SqliteStore;
pub use state::{Blame, Retention};
pub use store::{
    Admission, Applied, BatchChange, Cancelled, Change, Finished, JobReader, JobStore, LINES_BYTES,
    Purged, Swept, Woken,
};
pub use uploads::Upload;
