//! How far the daemon is on its way from serving to gone, told to every connection.

use tokio::sync::watch;

/// Only ever moves forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    Serving,
    /// New work is refused; what was accepted goes on.
    Draining,
    /// Nothing will be computed any more: those who wait are sent away.
    Stopped,
}

/// The phase, shared between the daemon, which moves it, and the connections, which watch it.
#[derive(Debug, Clone)]
pub struct Lifecycle {
    phase: watch::Sender<Phase>,
}

impl Lifecycle {
    pub fn new() -> Self {
        Lifecycle {
            phase: watch::Sender::new(Phase::Serving),
        }
    }

    /// Moves to `phase`; moving back has no effect.
    pub fn advance(&self, phase: Phase) {
        self.phase.send_if_modified(|current| {
            let forward = phase > *current;
            *current = phase.max(*current);
            forward
        });
    }

    pub(super) fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// Returns once the phase is [`Phase::Stopped`].
    pub(super) async fn stopped(&self) {
        let mut watcher = self.phase.subscribe();
        // The sender lives in `self`, so the channel cannot close while this waits.
        let _ = watcher.wait_for(|phase| *phase == Phase::Stopped).await;
    }
}

impl Default for Lifecycle {
    fn default() -> Self {
        Lifecycle::new()
    }
}
