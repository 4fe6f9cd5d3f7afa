//! SIGTERM and SIGINT: the first drains, the second stops now, the third ends the process on the spot.
//!
//! Ending on the spot loses nothing either: the next start finds the running jobs, blames none of them, and queues them
//! again.

use std::sync::mpsc::SyncSender;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::control::{self, Control};
use super::failure::Failure;

/// Signals that are obeyed in order; more than this many are not waited for.
const OBEYED: usize = 2;

/// Watches for signals on a thread of its own, for as long as the process lives.
pub(super) fn watch(control: SyncSender<Control>) -> Result<(), Failure> {
    let mut signals = Signals::new([SIGTERM, SIGINT])
        .map_err(|error| Failure::failed(format!("cannot watch for signals: {error}")))?;
    let sender = control.clone();
    control::spawn("woolly-signals", control, move || {
        for (count, signal) in signals.forever().enumerate() {
            if count < OBEYED {
                let _ = sender.try_send(Control::Stop);
            } else {
                // Does not return for these signals.
                let _ = signal_hook::low_level::emulate_default_handler(signal);
            }
        }
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn signals_are_told_one_by_one() {
        let (sender, control) = mpsc::sync_channel(control::MESSAGES);
        watch(sender).unwrap();
        for _ in 0..OBEYED {
            // Waiting for each: the kernel merges signals of one kind that nobody has taken yet.
            signal_hook::low_level::raise(SIGTERM).unwrap();
            assert!(matches!(control.recv(), Ok(Control::Stop)));
        }
    }
}
