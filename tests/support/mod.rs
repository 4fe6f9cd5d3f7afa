//! Helpers of the behaviour tests.

pub(crate) mod served_model;
pub(crate) mod vocabularies;
