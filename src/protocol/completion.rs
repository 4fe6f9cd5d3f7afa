//! `/v1/completions`.

use crate::job::{Endpoint, JobId};

/// What a response says of itself.
#[derive(Debug, Clone, PartialEq)]
pub struct ResponseMeta {
    pub job: JobId,
    pub endpoint: Endpoint,
    /// Unix seconds.
    pub created: i64,
}

/// What a stream has to remember between events.
pub struct StreamState {}

impl StreamState {
    /// `body` is the request: it says whether usage is wanted in the last chunk.
    pub fn new(_spec: &crate::job::Spec, _body: &[u8]) -> Self {
        todo!()
    }
}
