//! Ctrl-C as a value that a verb can wait for, so that it can tidy up.
//!
//! Only verbs that have something to tidy up install it; the others simply end. A signal that is ignored when the
//! program starts stays so: `nohup` ignores SIGHUP, and a shell without job control SIGINT for what it runs in the
//! background, so that the work outlives the terminal.

use std::ffi::c_int;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tokio::sync::watch;

use super::Error;

const SIGNALS: [c_int; 3] = [SIGINT, SIGTERM, SIGHUP];

/// The exit code of a program ended by its second Ctrl-C, as shells count it.
const INTERRUPTED_TWICE: i32 = 130;

/// The set of ignored signals in the text of /proc/PID/status.
fn ignored(status: &str) -> u64 {
    let set = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    set.and_then(|set| u64::from_str_radix(set.trim(), 16).ok())
        .unwrap_or(0)
}

/// Whether a set has a signal in it; the lowest bit is signal 1.
fn holds(set: u64, signal: c_int) -> bool {
    let bit = u32::try_from(signal - 1).ok();
    bit.and_then(|bit| set.checked_shr(bit))
        .is_some_and(|set| set & 1 == 1)
}

/// Becomes true once, with the first signal.
#[derive(Debug, Clone)]
pub(super) struct Interrupt(watch::Receiver<bool>);

impl Interrupt {
    /// From now on the first SIGINT, SIGTERM or SIGHUP that is not ignored is told to the waiter; a second one ends the
    /// process.
    pub(super) fn install() -> Result<Self, Error> {
        // Without /proc nobody says what is ignored.
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let ignored = ignored(&status);
        let heard = SIGNALS
            .into_iter()
            .filter(|&signal| !holds(ignored, signal));
        let mut signals = Signals::new(heard)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_signals_are_read_from_the_status_of_a_process() {
        let set = ignored("Name:\tx\nSigBlk:\t0000000000000002\nSigIgn:\t0000000000001001\n");
        assert_eq!(set, 0x1001);
        assert!(holds(set, SIGHUP) && holds(set, 13));
        assert!(!holds(set, SIGINT) && !holds(set, SIGTERM) && !holds(set, 0));
        assert_eq!(ignored(""), 0);
        assert_eq!(ignored("SigIgn:\tx\n"), 0);
    }
}
