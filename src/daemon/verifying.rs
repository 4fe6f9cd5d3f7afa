//! Reading every weight while jobs already run.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::SyncSender;
use std::thread::JoinHandle;
use std::time::Instant;

use crate::cache;
use crate::weights::{self, Verdict};

use super::control::{self, Control};
use super::failure::Failure;
use super::gate::Gate;

/// Reads everything, unless the flag is set meanwhile.
pub(super) type Verification =
    Box<dyn FnOnce(&AtomicBool) -> Result<Verdict, weights::Error> + Send>;

/// Verifies on a thread of its own, which decides the gate and then tells the main thread. `enough` ends it
/// early.
pub(super) fn start(
    verification: Verification,
    gate: Arc<Gate>,
    enough: Arc<AtomicBool>,
    control: SyncSender<Control>,
) -> Result<JoinHandle<()>, Failure> {
    let sender = control.clone();
    control::spawn("woolly-verify", control, move || {
        let started = Instant::now();
        let message = match verification(&enough) {
            Ok(Verdict::Stopped) => return,
            Ok(Verdict::Sound) => {
                gate.open();
                let elapsed_ms = started.elapsed().as_millis() as u64;
                tracing::info!(elapsed_ms, "the weights are verified");
                Control::Verified
            }
            Err(error) => {
                gate.shut();
                told(error)
            }
        };
        let _ = sender.try_send(message);
    })
}

/// Wrong values can be made again; whatever else keeps us from reading them cannot be helped here.
fn told(error: weights::Error) -> Control {
    match error {
        weights::Error::Cache(cache::Error::Refused { .. }) => {
            Control::Mistrusted(error.to_string())
        }
        error => Control::Failed(Failure::model(&error.into())),
    }
}
