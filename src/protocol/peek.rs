//! What the daemon must know of a body before it is resolved. Bodies that are not valid have none of it;
//! [`validate`](super::validate) says why.

use crate::job::Endpoint;

use super::fields::Fields;
use super::sampling::take_seed;

/// The seed the request names, if any; else the daemon draws one and stores it.
pub fn seed(_endpoint: Endpoint, body: &[u8]) -> Option<u64> {
    Fields::from_body(body)
        .and_then(|mut fields| take_seed(&mut fields))
        .ok()
        .flatten()
}

/// Whether the request asks for server-sent events.
pub fn wants_stream(_endpoint: Endpoint, body: &[u8]) -> bool {
    Fields::from_body(body)
        .and_then(|mut fields| fields.flag("stream"))
        .unwrap_or(false)
}
