//! One integration binary: a file per behaviour, helpers in `support`.

mod cli_batch;
mod cli_cache;
mod cli_daemon;
mod cli_run;
mod cli_submit;
mod config;
mod support;
