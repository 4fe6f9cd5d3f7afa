//! The verbs of `woollyctl` and `woolly`, one file each.
//!
//! `woollyctl` speaks HTTP/1.1 to the daemon's Unix socket and holds no state of its own: what it must not
//! lose lies in the daemon's queue, under an idempotency key that the client can derive again. `woolly run`
//! computes in its own process and knows no daemon.
//!
//! Invariant: nothing here decides what a request means; the daemon does. Answers go to standard output,
//! everything else (progress, warnings, errors) to standard error.

mod batch;
mod batch_columns;
mod batch_fetch;
mod batch_gate;
mod batch_input;
mod batch_key;
mod batch_lines;
mod batch_output;
mod batch_pace;
mod batch_problem;
mod batch_records;
mod batch_remote;
mod batch_shape;
mod batch_summary;
mod batch_table;
mod cache;
mod calendar;
mod cancel;
mod client;
mod ctl;
mod error;
mod follow;
mod generation;
mod health;
mod interrupt;
mod list;
mod mishaps;
mod model;
mod new_file;
mod open_files;
mod progress;
mod prompt_template;
mod queue;
mod queue_check;
mod reconnect;
mod render;
mod run;
mod run_chat;
mod run_report;
mod run_session;
mod sampling;
mod schedule;
mod settings;
mod sse;
mod status;
mod submit;
mod transfer;
mod unpacked_backup;
mod wait;
mod watch;
mod wire;

pub use ctl::Ctl;
pub use error::{Error, exit};
pub use run::Woolly;
