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
//! no other. Memory does not grow with a file, but for 16 bytes for each line while it is looked through.

mod expansion;
mod input;
mod output;
mod rounds;
mod trouble;
mod validation;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::SyncSender;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use async_channel::{Receiver, TryRecvError};

use crate::queue::Queue;

use super::control::Control;
use super::failure::Failure;
use rounds::{Round, Rounds};

pub(super) use input::LONGEST_LINE;

/// How often a wait that has an end looks for the bell. Only while there is trouble.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The thread; it ends when the queue is closed or has failed. A panic there is told to the daemon, which ends.
pub(super) fn start(queue: Queue, control: SyncSender<Control>) -> std::io::Result<JoinHandle<()>> {
    let builder = std::thread::Builder::new().name("woolly-batches".to_owned());
    builder.spawn(move || {
        if catch_unwind(AssertUnwindSafe(|| run(&queue))).is_err() {
            let failure = Failure::io("the thread of batches panicked".to_owned());
            let _ = control.try_send(Control::Failed(failure));
        }
    })
}

fn run(queue: &Queue) {
    let bell = queue.batch_bell();
    let mut rounds = Rounds::new(queue);
    loop {
        match rounds.next() {
            // Something changed: there may be a next step at once.
            Round::Changed => {}
            Round::Idle { again_at } => {
                if !wait(&bell, again_at) {
                    return;
                }
            }
            Round::Over => return,
        }
    }
}

/// Until the bell rings, or until then. False once the queue is closed.
fn wait(bell: &Receiver<()>, until: Option<Instant>) -> bool {
    let Some(until) = until else {
        return bell.recv_blocking().is_ok();
    };
    while Instant::now() < until {
        match bell.try_recv() {
            Ok(()) => return true,
            Err(TryRecvError::Closed) => return false,
            Err(TryRecvError::Empty) => std::thread::sleep(LOOK_EVERY),
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_ends_with_the_bell_its_time_or_the_queue() {
        let (ring, bell) = async_channel::bounded(1);
        let far = Some(Instant::now() + Duration::from_secs(3_600));
        ring.try_send(()).unwrap();
        assert!(wait(&bell, far));
        assert!(wait(&bell, Some(Instant::now())));
        ring.close();
        assert!(!wait(&bell, far) && !wait(&bell, None));
    }
}
