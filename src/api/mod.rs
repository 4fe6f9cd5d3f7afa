//! HTTP/1.1 over a Unix socket: authenticate, limit, answer, stream.
//!
//! A synchronous completion is a job that the connection waits for, so that there is one path through the
//! queue for everything.
//!
//! Invariant: does not know what computes: what it must know of the model is put into a [`ModelSlot`] by
//! the daemon once the model is warm. Before that jobs are accepted and completions are refused.
//!
//! Every refusal has OpenAI's shape: `{"error": {"message", "type", "code", "param"}}`.

mod access;
mod batch_view;
mod body;
mod connections;
mod cursor;
mod event_id;
mod form;
mod handlers;
mod job_view;
mod lifecycle;
mod model_slot;
mod open_files;
mod pages;
mod patient;
mod refusal;
mod routes;
mod server;
mod socket;
mod sse;
mod submission;
mod waiting;

pub use access::Rights;
pub use lifecycle::{Lifecycle, Phase};
pub use model_slot::{ModelSlot, Served};
pub use open_files::raise_file_limit;
pub use server::{Api, serve};
pub use socket::{Bound, SocketError, bind, inherited};
pub use submission::{fresh_seed, now_ms};
