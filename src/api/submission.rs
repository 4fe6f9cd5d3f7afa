//! From a request to a job in the queue.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::http::HeaderMap;
use rand::TryRng;
use rand::rngs::SysRng;

use crate::job::{Endpoint, Spec};
use crate::protocol::{self, Resolved};
use crate::queue::{JobRow, NewJob};

use super::model_slot::Served;
use super::refusal::Refusal;
use super::server::Shared;

/// The header that makes a repeated submit the same job.
const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// Longer keys are refused; they are stored and indexed.
const LONGEST_KEY: usize = 255;

/// The idempotency key of a request, if it has one.
pub(super) fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Refusal> {
    let Some(value) = headers.get(IDEMPOTENCY_KEY) else {
        return Ok(None);
    };
    match value.to_str() {
        Ok(key) if !key.is_empty() && key.len() <= LONGEST_KEY => Ok(Some(key.to_owned())),
        _ => Err(Refusal::bad_field(
            "Idempotency-Key",
            format!("Idempotency-Key must be 1 to {LONGEST_KEY} ASCII characters"),
        )),
    }
}

/// The seed that the request names, or a fresh one. 53 bits, so that every JSON reader can give the number
/// back exactly as it was shown.
pub(super) fn seed(endpoint: Endpoint, body: &[u8]) -> Result<u64, Refusal> {
    if let Some(seed) = protocol::seed(endpoint, body) {
        return Ok(seed);
    }
    fresh_seed().map_err(|error| Refusal::failed(format!("no random seed: {error}")))
}

/// A seed for a request that names none.
pub fn fresh_seed() -> std::io::Result<u64> {
    let drawn = SysRng.try_next_u64();
    drawn.map(|seed| seed >> 11).map_err(std::io::Error::other)
}

/// Takes in a job that the model can run. One that it cannot run may have been taken in before, under another model or
/// while this one was warming: then its key finds it again, and it comes without a spec.
pub(super) async fn submit(
    shared: &Shared,
    served: Arc<Served>,
    job: NewJob,
) -> Result<(JobRow, Option<Spec>), Refusal> {
    let (job, spec) = resolve(served, job).await?;
    match spec {
        Ok(spec) => {
            let max_tokens = Some(spec.params.max_tokens);
            let submitted = shared.queue.submit(NewJob { max_tokens, ..job }).await?;
            Ok((submitted.job, Some(spec)))
        }
        Err(refusal) => match shared.queue.submitted_before(job).await? {
            Some(row) => Ok((row, None)),
            None => Err(refusal),
        },
    }
}

/// Validates and tokenizes.
async fn resolve(
    served: Arc<Served>,
    job: NewJob,
) -> Result<(NewJob, Result<Spec, Refusal>), Refusal> {
    let resolve = move || {
        let resolved = Resolved {
            seed: job.seed,
            max_tokens: None,
        };
        let spec = protocol::resolve(&served.context(), job.endpoint, &job.body, resolved);
        (job, spec.map_err(Refusal::from))
    };
    in_background(resolve).await
}

/// Tokenizes on a thread that may be busy for a while: a long prompt takes milliseconds, and the other
/// connections should not wait for it.
pub(super) async fn in_background<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Refusal> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|_panicked| Refusal::failed("the text could not be tokenized"))
}

/// Unix milliseconds.
pub fn now_ms() -> i64 {
    let since_1970 = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since_1970.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_key(key: &[u8]) -> HeaderMap {
        let value = axum::http::HeaderValue::from_bytes(key).unwrap();
        HeaderMap::from_iter([(axum::http::HeaderName::from_static(IDEMPOTENCY_KEY), value)])
    }

    #[test]
    fn keys_are_short_ascii() {
        assert_eq!(idempotency_key(&HeaderMap::new()).unwrap(), None);
        assert_eq!(
            idempotency_key(&with_key(b"a b")).unwrap().as_deref(),
            Some("a b")
        );
        assert!(idempotency_key(&with_key(b"")).is_err());
        assert!(idempotency_key(&with_key(&[0xff])).is_err());
        assert!(idempotency_key(&with_key(&[b'k'; 256])).is_err());
    }
}
