//! Loading the model while jobs are already accepted.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::api::ModelSlot;
use crate::config;
use crate::model;
use crate::tensor::Elements;
use crate::weights::{Progress, Work};

use super::control::{self, Control};
use super::failure::Failure;
use super::systemd;

/// How long the service manager is asked to wait for the next sign of progress.
const PATIENCE: Duration = Duration::from_secs(60);
/// It is asked again after this.
const ASK_AGAIN: Duration = Duration::from_secs(2);

/// Loads the model on a thread of its own and tells the main thread when it is done. A stop during the load
/// does not wait for it: a half-built cache file is temporary and found by the next start.
pub(super) fn start(
    model: &config::Model,
    elements: Elements,
    cache: &config::Cache,
    slot: ModelSlot,
    control: SyncSender<Control>,
) -> Result<(), Failure> {
    let (model, cache) = (model.clone(), cache.clone());
    let sender = control.clone();
    control::spawn("woolly-load", control, move || {
        systemd::status("loading the model");
        let progress = WarmingProgress::new(slot);
        let loaded = model::load(&model, elements, &cache, &progress);
        let loaded = loaded.map_err(|error| Failure::model(&error));
        if let Ok(loaded) = &loaded {
            tracing::info!(
                model = loaded.info.name,
                parameters = loaded.report.parameters,
                bytes = loaded.report.bytes,
                from_cache = loaded.report.from_cache,
                weights_ms = millis(loaded.times.weights),
                tokenizer_ms = millis(loaded.times.tokenizer),
                elapsed_ms = millis(loaded.times.total),
                "model is warm"
            );
        }
        let _ = sender.try_send(Control::Loaded(Box::new(loaded)));
    })?;
    Ok(())
}

/// With a decimal: a warm start is a matter of single milliseconds.
fn millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 10_000.0).round() / 10.0
}

fn sentence(work: Work) -> &'static str {
    match work {
        Work::Reading => "the model is being read",
        Work::Making => "the weights are being made",
        Work::Verifying => "the weights are being verified",
        Work::Unpacking => "the weights are being written",
    }
}

/// Shows what takes long in `/health` and to the service manager.
struct WarmingProgress {
    slot: ModelSlot,
    work: Mutex<&'static str>,
    /// The last percentage that the service manager was told.
    told: AtomicU64,
    patience: Mutex<Patience>,
}

impl WarmingProgress {
    fn new(slot: ModelSlot) -> Self {
        WarmingProgress {
            slot,
            work: Mutex::default(),
            told: AtomicU64::new(0),
            patience: Mutex::default(),
        }
    }

    fn moved(&self) {
        // Whoever finds it taken has a neighbour that asks for both.
        if let Ok(mut patience) = self.patience.try_lock()
            && patience.runs_out(Instant::now())
        {
            systemd::extend_timeout(PATIENCE);
        }
    }
}

impl Progress for WarmingProgress {
    fn begin(&self, work: Work, total_bytes: u64) {
        let sentence = sentence(work);
        tracing::info!(bytes = total_bytes, "{sentence}");
        self.slot.begin(sentence, total_bytes);
        *self.work.lock().unwrap_or_else(PoisonError::into_inner) = sentence;
        self.told.store(0, Ordering::Relaxed);
        self.moved();
    }

    fn advance(&self, bytes: u64) {
        let percent = self.slot.advance(bytes);
        self.moved();
        if self.told.fetch_max(percent, Ordering::Relaxed) < percent {
            let sentence = *self.work.lock().unwrap_or_else(PoisonError::into_inner);
            systemd::status(&format!("{sentence}: {percent} %"));
        }
    }

    fn finish(&self) {
        self.slot.finish();
        self.moved();
        systemd::status("loading the model");
    }
}

/// When the service manager was last asked to go on waiting. It is asked only when bytes have moved, so a
/// load that hangs is still ended by the manager.
#[derive(Default)]
struct Patience {
    asked: Option<Instant>,
}

impl Patience {
    /// Whether it is time to ask again; the caller does.
    fn runs_out(&mut self, now: Instant) -> bool {
        let due = self
            .asked
            .is_none_or(|asked| now.saturating_duration_since(asked) >= ASK_AGAIN);
        if due {
            self.asked = Some(now);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_is_asked_for_at_once_and_then_now_and_then() {
        let start = Instant::now();
        let at = |part: f64| start + ASK_AGAIN.mul_f64(part);
        let mut patience = Patience::default();
        let asked: Vec<bool> = [0.0, 0.0, 0.9, 1.0, 1.5, 2.1, 9.0]
            .map(|part| patience.runs_out(at(part)))
            .to_vec();
        assert_eq!(asked, [true, false, false, true, false, true, true]);
        assert!(PATIENCE >= 10 * ASK_AGAIN, "a slow disk has pauses");
    }

    #[test]
    fn times_have_one_decimal() {
        assert_eq!(millis(Duration::from_micros(12_345)), 12.3);
    }
}
