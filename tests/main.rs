//! One integration binary: a file per behaviour, helpers in `support`.

mod api_completions;
mod api_jobs;
mod config;
mod daemon_lifecycle;
mod support;
