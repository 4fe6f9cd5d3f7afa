//! What the main thread is told by the others.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::SyncSender;
use std::thread::{self, JoinHandle};

use crate::model::LoadedModel;

use super::failure::Failure;

/// Messages that wait for the main thread, which does nothing but read them. Senders never block: a
/// message that finds the channel full is dropped, and then so many others of its kind are waiting that
/// this one would change nothing.
pub(super) const MESSAGES: usize = 64;

pub(super) enum Control {
    /// A signal to stop: the first drains, the second stops now.
    Stop,
    /// The model is warm, or cannot be loaded.
    Loaded(Box<Result<LoadedModel, Failure>>),
    /// Every tensor has passed its checksum.
    Verified,
    /// One has not, in this sentence: what was computed is thrown away, and the model has to be loaded
    /// again.
    Mistrusted(String),
    /// Nothing runs any more; only sent while draining.
    Idle,
    /// A part cannot go on, and so the daemon cannot.
    Failed(Failure),
}

/// Starts a named thread whose panic is the end of the daemon instead of a silent standstill.
pub(super) fn spawn(
    name: &str,
    control: SyncSender<Control>,
    work: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle<()>, Failure> {
    let thread_name = name.to_owned();
    let guarded = move || {
        if catch_unwind(AssertUnwindSafe(work)).is_err() {
            let failure = Failure::failed(format!("thread {thread_name} panicked"));
            let _ = control.try_send(Control::Failed(failure));
        }
    };
    let started = thread::Builder::new().name(name.to_owned()).spawn(guarded);
    started.map_err(|error| Failure::io(format!("cannot start thread {name}: {error}")))
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn a_panic_is_told_to_the_main_thread() {
        let (sender, control) = mpsc::sync_channel(MESSAGES);
        let thread = spawn("fragile", sender, || panic!("on purpose")).unwrap();
        thread.join().unwrap();
        match control.recv().unwrap() {
            Control::Failed(failure) => assert_eq!(failure.to_string(), "thread fragile panicked"),
            _ => panic!("another message"),
        }
    }
}
