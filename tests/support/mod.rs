//! Helpers of several behaviour tests.

pub(crate) mod daemon;
pub(crate) mod http;
