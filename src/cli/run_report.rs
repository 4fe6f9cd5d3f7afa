//! What `woolly run` tells about itself: memory, times, tokens per second.

use std::time::Duration;

use serde_json::{Value, json};

use crate::job::{FinishReason, Usage};

use super::render;
use super::run_session::{Generated, Session};

/// The answer to `--dry-run`.
pub(super) fn initialization(session: &Session) -> Value {
    let loaded = &session.loaded;
    let (kv_bytes, worker) = session.worker().unwrap_or_default();
    json!({
        "model": loaded.info.name,
        "parameters": loaded.report.parameters,
        "context": loaded.info.context,
        "vocabulary": loaded.info.vocab,
        "fingerprint": loaded.info.fingerprint,
        "from_cache": loaded.report.from_cache,
        "seconds": {
            "weights": loaded.times.weights.as_secs_f64(),
            "tokenizer": loaded.times.tokenizer.as_secs_f64(),
            "load": loaded.times.total.as_secs_f64(),
            "worker": worker.as_secs_f64(),
        },
        "memory": {
            "weight_bytes": loaded.report.bytes,
            "kv_bytes": kv_bytes,
            "resident_bytes": resident_bytes(),
        },
    })
}

/// The answer to a prompt with `--json`.
pub(super) fn answer(session: &Session, generated: &Generated) -> Value {
    let usage = Usage::new(
        generated.prompt_tokens as u64,
        generated.tokens.len() as u64,
    );
    json!({
        "model": session.loaded.info.name,
        "text": generated.text,
        "token_ids": generated.tokens,
        "finish_reason": generated.finish.map(|reason| match reason {
            FinishReason::Stop => "stop",
            FinishReason::Length => "length",
        }),
        "usage": usage,
        "timing": {
            "load_seconds": session.loaded.times.total.as_secs_f64(),
            "prompt_seconds": generated.first_token.as_secs_f64(),
            "prompt_tokens_per_second": per_second(generated.prompt_tokens, generated.first_token),
            "decode_seconds": generated.decode.as_secs_f64(),
            "decode_tokens_per_second": per_second(decoded(generated), generated.decode),
        },
    })
}

/// Lines for people.
pub(super) fn timing(session: &Session, generated: &Generated) -> String {
    let loaded = &session.loaded;
    let rate = |count, time| match per_second(count, time) {
        Some(rate) => format!(
            "{count} tokens in {:.3} s, {rate:.1} tokens/s",
            seconds(time)
        ),
        None => "nothing to measure".to_owned(),
    };
    format!(
        "load    {:.3} s (weights {:.3} s, tokenizer {:.3} s beside them; {} parameters, {})\nprompt  {}\ndecode  {}\n",
        seconds(loaded.times.total),
        seconds(loaded.times.weights),
        seconds(loaded.times.tokenizer),
        loaded.report.parameters,
        render::bytes(loaded.report.bytes),
        rate(generated.prompt_tokens, generated.first_token),
        rate(decoded(generated), generated.decode),
    )
}

/// The first token comes out of the prompt's own step.
fn decoded(generated: &Generated) -> usize {
    generated.tokens.len().saturating_sub(1)
}

fn seconds(time: Duration) -> f64 {
    time.as_secs_f64()
}

/// `None` when nothing was counted or no time passed.
fn per_second(count: usize, time: Duration) -> Option<f64> {
    (count > 0 && !time.is_zero()).then(|| count as f64 / time.as_secs_f64())
}

/// Memory of this process that is in RAM, mapped weights included; `None` where the system does not tell.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_needs_tokens_and_time() {
        assert_eq!(per_second(10, Duration::from_secs(2)), Some(5.0));
        assert_eq!(per_second(0, Duration::from_secs(2)), None);
        assert_eq!(per_second(10, Duration::ZERO), None);
    }

    #[test]
    fn linux_tells_the_resident_memory() {
        if cfg!(target_os = "linux") {
            assert!(resident_bytes().unwrap() > 1 << 16);
        }
    }
}
