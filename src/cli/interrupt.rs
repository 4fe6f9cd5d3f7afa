//! Ctrl-C as a value that a verb can wait for, so that it can tidy up.
//!
//! Only verbs that have something to tidy up install it; the others simply end.

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tokio::sync::watch;

use super::Error;

/// The exit code of a program ended by its second Ctrl-C, as shells count it.
const INTERRUPTED_TWICE: i32 = 130;

/// Becomes true once, with the first signal.
#[derive(Debug, Clone)]
pub(super) struct Interrupt(watch::Receiver<bool>);

impl Interrupt {
    /// From now on the first SIGINT, SIGTERM or SIGHUP is told to the waiter; a second one ends the process.
    pub(super) fn install() -> Result<Self, Error> {
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])
            .map_err(|problem| Error::Failed(format!("cannot listen for signals: {problem}")))?;
        let (sender, receiver) = watch::channel(false);
        std::thread::Builder::new()
            .name("woolly-signals".into())
            .spawn(move || {
                for (earlier, _) in signals.forever().enumerate() {
                    if earlier > 0 {
                        std::process::exit(INTERRUPTED_TWICE);
                    }
                    // A watch channel holds one value, and sending never waits.
                    sender.send_replace(true);
                }
            })
            .map_err(|problem| Error::Failed(format!("cannot start a thread: {problem}")))?;
        Ok(Interrupt(receiver))
    }

    /// Whether a signal has come, for work that asks now and then.
    pub(super) fn has_come(&self) -> bool {
        *self.0.borrow()
    }

    /// Returns when a signal has come.
    pub(super) async fn wait(&mut self) {
        // The sender lives as long as the process; were it gone, no signal could come any more.
        if self.0.wait_for(|&come| come).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
