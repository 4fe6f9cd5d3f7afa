//! HTTP bodies to job specs and outcomes to HTTP bodies.
//!
//! Invariant: pure; no I/O, no clock, no knowledge of who sent or stores a body.

mod completion;
mod context;
mod errors;

pub use completion::{ResponseMeta, StreamState};
pub use context::Context;
pub use errors::{ErrorBody, RequestError};

use crate::job::{Endpoint, Outcome, SequenceEvent, Spec, Usage};

/// Checks what can be checked without a model: JSON, types, ranges. For jobs that are accepted while
/// the model is still warming.
pub fn validate(_endpoint: Endpoint, _body: &[u8]) -> Result<(), RequestError> {
    todo!()
}

/// The seed the request names, if any; else the daemon draws one and stores it.
pub fn seed(_endpoint: Endpoint, _body: &[u8]) -> Option<u64> {
    todo!()
}

/// Whether the request asks for server-sent events.
pub fn wants_stream(_endpoint: Endpoint, _body: &[u8]) -> bool {
    todo!()
}

/// Validates and tokenizes a request body. A sequence that cannot fit the context is an error.
pub fn resolve(
    _context: &Context<'_>,
    _endpoint: Endpoint,
    _body: &[u8],
    _seed: u64,
) -> Result<Spec, RequestError> {
    todo!()
}

pub fn usage(_spec: &Spec, _outcome: &Outcome) -> Usage {
    todo!()
}

/// The response body of a finished job: JSON text.
pub fn render(
    _context: &Context<'_>,
    _meta: &ResponseMeta,
    _spec: &Spec,
    _outcome: &Outcome,
) -> Vec<u8> {
    todo!()
}

/// The `data:` payloads of one event of a stream, in order (without the final `[DONE]`).
pub fn render_event(
    _context: &Context<'_>,
    _meta: &ResponseMeta,
    _state: &mut StreamState,
    _event: &SequenceEvent,
) -> Vec<String> {
    todo!()
}
