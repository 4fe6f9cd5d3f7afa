//! The durable job store, one writer thread in front of it, and the live log of tokens in memory.
//!
//! Invariant: does not know what a prompt or a model is: a job is a body, a result, and a state.

mod error;
mod handle;
mod live;
mod state;

pub use error::Error;
pub use handle::{Completion, Queue};
pub use live::{LiveLog, Subscription};
pub use state::{Claimed, Filter, JobRow, NewJob, Submitted};
