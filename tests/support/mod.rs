//! Helpers of the integration tests.

pub(crate) mod gguf_file;
