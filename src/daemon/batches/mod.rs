//! Batches: the lines of a file become jobs, and the ends of the jobs become files. One thread, which takes the next
//! step of every open batch in turn whenever the queue rings.
//!
//! - `input`: the lines of a file, one by one; `validation` looks through them, `expansion` makes jobs of them.
//! - `output`: the files of answers and of errors.
//! - `trouble`: what passes, what ends one batch, and what ends the thread.
//! - `rounds`: which batch has its turn.
//!
//! Invariant: all that is known of a batch is in the store, so a daemon that dies in between goes on, and makes no job
//! twice: the store takes lines only from where the batch stands. A step is a short one, so that a long file holds up
//! no other. Memory does not grow with a file, but for 16 bytes for each line while it is looked through: two at once.

mod expansion;
mod input;
mod output;
mod rounds;
#[cfg(test)]
mod tests;
mod trouble;
mod validation;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::SyncSender;
use std::thread::JoinHandle;

use crate::queue::Queue;

use super::control::Control;
use super::failure::Failure;
use rounds::{Round, Rounds};

pub(super) use input::longest_line;

/// The thread; it ends when the queue is closed or has failed. A panic there is told to the daemon, which ends.
pub(super) fn start(
    queue: Queue,
    longest_line: u64,
    control: SyncSender<Control>,
) -> std::io::Result<JoinHandle<()>> {
    let builder = std::thread::Builder::new().name("woolly-batches".to_owned());
    builder.spawn(move || {
        if catch_unwind(AssertUnwindSafe(|| run(&queue, longest_line))).is_err() {
            let failure = Failure::io("the thread of batches panicked".to_owned());
            let _ = control.try_send(Control::Failed(failure));
        }
    })
}

fn run(queue: &Queue, longest_line: u64) {
    let bell = queue.batch_bell();
    let mut rounds = Rounds::new(queue, longest_line);
    loop {
        match rounds.next() {
            // Something changed: there may be a next step at once.
            Round::Changed => {}
            Round::Idle { again_at } => {
                if !bell.wait(again_at) {
                    return;
                }
            }
            Round::Over => return,
        }
    }
}
