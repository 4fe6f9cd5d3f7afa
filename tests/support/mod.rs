//! Helpers of the behaviour tests.

pub(crate) mod cli;
pub(crate) mod fake_daemon;
