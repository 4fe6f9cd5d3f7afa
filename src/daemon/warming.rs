//! Loading the model while jobs are already accepted.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::SyncSender;

use crate::api::ModelSlot;
use crate::config;
use crate::model;
use crate::weights::Progress;

use super::control::{self, Control};
use super::failure::Failure;
use super::systemd;

/// Loads the model on a thread of its own and tells the main thread when it is done. A stop during the load
/// does not wait for it: a half-built cache file is temporary and found by the next start.
pub(super) fn start(
    model: &config::Model,
    cache: &config::Cache,
    slot: ModelSlot,
    control: SyncSender<Control>,
) -> Result<(), Failure> {
    let (model, cache) = (model.clone(), cache.clone());
    let sender = control.clone();
    control::spawn("woolly-load", control, move || {
        systemd::status("loading the model");
        let progress = WarmingProgress {
            slot,
            told: AtomicU64::new(0),
        };
        let loaded = model::load(&model, &cache, &progress).map_err(|error| Failure::model(&error));
        if let Ok(loaded) = &loaded {
            tracing::info!(
                model = loaded.info.name,
                parameters = loaded.report.parameters,
                bytes = loaded.report.bytes,
                from_cache = loaded.report.from_cache,
                elapsed_ms = loaded.elapsed.as_millis() as u64,
                "model is warm"
            );
        }
        let _ = sender.try_send(Control::Loaded(Box::new(loaded)));
    })?;
    Ok(())
}

/// Shows a conversion in `/health` and to the service manager.
struct WarmingProgress {
    slot: ModelSlot,
    /// The last percentage that the service manager was told.
    told: AtomicU64,
}

impl Progress for WarmingProgress {
    fn begin(&self, total_bytes: u64) {
        tracing::info!(bytes = total_bytes, "making the weights");
        self.slot.begin(total_bytes);
    }

    fn advance(&self, bytes: u64) {
        let percent = self.slot.advance(bytes);
        if self.told.fetch_max(percent, Ordering::Relaxed) < percent {
            systemd::status(&format!("making the weights: {percent} %"));
        }
    }

    fn finish(&self) {
        systemd::status("loading the model");
    }
}
