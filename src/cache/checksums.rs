//! Checksums of tensors that several threads make piece by piece.
//!
//! A checksum takes its bytes in order, so each piece waits for its turn. Threads take pieces in order
//! too, so a wait is short, and whoever has the first unfinished piece never waits.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use xxhash_rust::xxh3::Xxh3;

/// One running checksum per tensor.
pub(super) struct Checksums {
    turns: Vec<Turn>,
    /// Some piece will never come.
    abandoned: AtomicBool,
}

#[derive(Default)]
struct Turn {
    state: Mutex<State>,
    moved: Condvar,
}

#[derive(Default)]
struct State {
    /// Bytes that are in the checksum.
    done: usize,
    /// The checksum's own memory is larger than many a tensor, so it begins with the first piece.
    hash: Option<Box<Xxh3>>,
}

impl Checksums {
    pub(super) fn new(tensors: usize) -> Self {
        Checksums {
            turns: (0..tensors).map(|_| Turn::default()).collect(),
            abandoned: AtomicBool::new(false),
        }
    }

    /// Adds a piece of `tensor` that begins after `start` bytes, once all before it have been added. False
    /// when one of those will never come.
    pub(super) fn add(&self, tensor: usize, start: usize, bytes: &[u8]) -> bool {
        let turn = &self.turns[tensor];
        let early =
            |state: &mut State| state.done != start && !self.abandoned.load(Ordering::Relaxed);
        let mut state = turn
            .moved
            .wait_while(turn.lock(), early)
            .unwrap_or_else(PoisonError::into_inner);
        if self.abandoned.load(Ordering::Relaxed) {
            return false;
        }
        let hash = state.hash.get_or_insert_default();
        hash.update(bytes);
        state.done += bytes.len();
        turn.moved.notify_all();
        true
    }

    /// Wakes everyone who waits for a piece that will not come.
    pub(super) fn abandon(&self) {
        self.abandoned.store(true, Ordering::Relaxed);
        for turn in &self.turns {
            // With the lock held, nobody is between looking at the flag and waiting.
            let _state = turn.lock();
            turn.moved.notify_all();
        }
    }

    /// XXH3-128 of every tensor. All pieces have been added.
    pub(super) fn finish(self) -> Vec<u128> {
        let digest = |turn: &Turn| turn.lock().hash.take().unwrap_or_default().digest128();
        self.turns.iter().map(digest).collect()
    }
}

impl Turn {
    /// A panic elsewhere abandons the whole file; the state is never used after it.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Abandons the checksums unless it is told that the thread's work is complete; also in a panic.
pub(super) struct Abandon<'a>(Option<&'a Checksums>);

impl<'a> Abandon<'a> {
    pub(super) fn unless_complete(checksums: &'a Checksums) -> Self {
        Abandon(Some(checksums))
    }

    pub(super) fn complete(mut self) {
        self.0 = None;
    }
}

impl Drop for Abandon<'_> {
    fn drop(&mut self) {
        if let Some(checksums) = self.0 {
            checksums.abandon();
        }
    }
}

#[cfg(test)]
mod tests {
    use xxhash_rust::xxh3::xxh3_128;

    use super::*;

    #[test]
    fn pieces_that_come_in_any_order_give_the_checksum_of_the_whole() {
        let values: Vec<u8> = (0..1000_u16).map(|i| (i % 251) as u8).collect();
        let checksums = Checksums::new(2);
        std::thread::scope(|scope| {
            for first in 0..4 {
                let (checksums, values) = (&checksums, &values);
                scope.spawn(move || {
                    // Thread 3 begins with the piece that all others wait for.
                    for piece in ((3 - first)..10).step_by(4) {
                        assert!(checksums.add(1, piece * 100, &values[piece * 100..][..100]));
                    }
                });
            }
        });
        let expected = [xxh3_128(&[]), xxh3_128(&values)];
        assert_eq!(checksums.finish(), expected);
    }

    #[test]
    fn nobody_waits_for_a_thread_that_failed() {
        let checksums = Checksums::new(1);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| checksums.add(0, 1, &[2]));
            drop(Abandon::unless_complete(&checksums));
            assert!(!waiting.join().unwrap());
        });
        let untouched = Checksums::new(1);
        Abandon::unless_complete(&untouched).complete();
        assert!(untouched.add(0, 0, &[1]));
    }
}
