//! All behaviour tests in one binary.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on should stop, helpers included"
)]

mod architecture;
mod queue_crash;
mod queue_handle;
mod queue_store;
mod support;
