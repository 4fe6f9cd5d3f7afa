//! Helpers of the behaviour tests.

mod scratch_gguf;
pub mod vocabularies;
