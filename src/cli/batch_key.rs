//! The idempotency keys of `woollyctl batch run`: under the same key the daemon finds the same job again.
//!
//! A key is made of all that makes the job this one and no other: the bytes of the file, the name of the run, the line,
//! and the request. So the same command has the same keys wherever it runs, and nothing has to be remembered.

use crate::protocol::JobRequest;

/// Lengths go in front, so that no two different sets of parts give the same bytes.
pub(super) fn key(file: &[u8; 32], run: &str, line: u64, job: Option<&JobRequest>) -> String {
    let (endpoint, body, times) = match job {
        Some(job) => (job.endpoint.path(), job.body_text(), times(job)),
        None => ("", Vec::new(), None),
    };
    let number = line.to_string();
    let mut hasher = blake3::Hasher::new();
    hasher.update(file);
    let parts = [
        run.as_bytes(),
        number.as_bytes(),
        endpoint.as_bytes(),
        &body,
    ];
    for part in parts.into_iter().chain(times.as_deref().map(str::as_bytes)) {
        hasher.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_le_bytes());
        hasher.update(part);
    }
    let hash = hasher.finalize().to_hex();
    format!(
        "woollyctl-batch-{}",
        hash.chars().take(32).collect::<String>()
    )
}

/// What stands beside the body, if anything does. The daemon refuses a known key with another priority or time.
fn times(job: &JobRequest) -> Option<String> {
    let times = (job.priority, job.not_before, job.deadline);
    (times != (0, None, None)).then(|| format!("{times:?}"))
}

/// The key of a line's job after so many attempts whose jobs ended without an answer.
pub(super) fn attempt(key: &str, attempts: u32) -> String {
    match attempts {
        0 => key.to_owned(),
        attempts => format!("{key}-{attempts}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, Value};

    use crate::job::Endpoint;

    use super::*;

    fn job(prompt: &str) -> JobRequest {
        let body = Map::from_iter([("prompt".to_owned(), Value::from(prompt))]);
        JobRequest::new(Endpoint::Completions, body)
    }

    #[test]
    fn keys_are_the_same_for_the_same_line_and_differ_otherwise() {
        let (file, job) = ([7; 32], job("a"));
        let first = key(&file, "", 1, Some(&job));
        assert_eq!(first, key(&file, "", 1, Some(&job)));
        let mut changed = vec![
            key(&[8; 32], "", 1, Some(&job)),
            key(&file, "again", 1, Some(&job)),
            key(&file, "", 2, Some(&job)),
            key(&file, "", 1, None),
        ];
        let mut other = |change: fn(&mut JobRequest)| {
            let mut job = job.clone();
            change(&mut job);
            changed.push(key(&file, "", 1, Some(&job)));
        };
        other(|job| job.endpoint = Endpoint::ChatCompletions);
        other(|job| job.body.clear());
        other(|job| job.priority = 1);
        other(|job| job.not_before = Some(1));
        other(|job| job.deadline = Some(1));
        changed.extend((0..3).map(|attempts| attempt(&first, attempts)));
        let count = changed.len();
        changed.sort();
        changed.dedup();
        assert_eq!(changed.len(), count);
    }

    #[test]
    fn the_first_attempt_has_the_key_itself() {
        assert_eq!(attempt("k", 0), "k");
        assert_eq!(attempt("k", 12), "k-12");
    }
}
