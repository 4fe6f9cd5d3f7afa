//! One integration binary: a file per behaviour, helpers in `support`.

mod config;
