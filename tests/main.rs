//! All behaviour tests in one binary.

mod queue_crash;
mod queue_handle;
mod queue_store;
mod support;
