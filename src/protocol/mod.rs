//! HTTP bodies to job specs and outcomes to HTTP bodies.
//!
//! Every body type works in both directions, so that the daemon and its clients share them. Requests
//! are read field by field: a refusal names its field, and fields that are not known are accepted and
//! reported in `warnings`. Fields that are known elsewhere and would change the answer are refused.
//!
//! Invariant: pure; no I/O, no clock, no knowledge of who sent or stores a body. No body makes it
//! panic. The same body and [`Resolved`] resolve to the same spec for ever.

pub mod batch_line;
pub mod batches;
pub mod chat;
pub mod completion;
mod context;
mod errors;
mod fields;
pub mod jobs;
pub mod logprobs;
pub mod models;
mod neutral;
mod outline;
mod peek;
mod render;
mod resolve;
pub mod sampling;
pub mod shaping;
mod stream;
pub mod tokenize;

pub use batches::{BatchRequest, BatchView, FileView};
pub use chat::{ChatCompletion, ChatRequest};
pub use completion::{Completion, CompletionRequest, Prompt};
pub use context::Context;
pub use errors::{ErrorBody, ErrorDetail, ErrorKind, RequestError};
pub use jobs::{JobList, JobRequest, JobView};
pub use models::{Health, HealthStatus, ModelList};
pub use outline::{Retold, outline, retell};
pub use peek::{seed, wants_stream};
pub use render::{ResponseMeta, render, usage};
pub use resolve::{Resolved, resolve, validate};
pub use sampling::MAX_SEQUENCES;
pub use stream::{StreamState, render_event};
pub use tokenize::{detokenize, tokenize};
