//! Wakes the writer when a job's time comes or its deadline passes.
//!
//! Times are those of the system's clock, which people set and machines correct: so nobody waits for one longer than
//! [`LONGEST_WAIT`] without looking at the clock again.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::waiting::wait;

const LONGEST_WAIT: Duration = Duration::from_secs(30);

#[derive(Default)]
pub(super) struct Alarm {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Unix milliseconds.
    due_ms: Option<i64>,
    closed: bool,
}

impl Alarm {
    /// Rings once at this time instead of another.
    pub(super) fn set(&self, due_ms: Option<i64>) {
        let mut state = self.lock();
        if state.due_ms != due_ms {
            state.due_ms = due_ms;
            self.changed.notify_one();
        }
    }

    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_one();
    }

    /// Calls `ring` at the times that are set, until it is closed. Also when the clock was set back: the time may have
    /// been told by the wrong one.
    pub(super) fn run(&self, now_ms: impl Fn() -> i64, ring: impl Fn()) {
        let mut state = self.lock();
        let mut seen_ms = i64::MIN;
        while !state.closed {
            let most = match state.due_ms {
                None => None,
                Some(due_ms) => {
                    let now_ms = now_ms();
                    let is_set_back = now_ms < std::mem::replace(&mut seen_ms, now_ms);
                    let left = due_ms.saturating_sub(now_ms);
                    if left <= 0 || is_set_back {
                        state.due_ms = None;
                        drop(state);
                        ring();
                        state = self.lock();
                        continue;
                    }
                    Some(Duration::from_millis(left.unsigned_abs()).min(LONGEST_WAIT))
                }
            };
            state = wait(&self.changed, state, most);
        }
    }

    /// Every critical section leaves the state whole.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};
    use std::sync::{Arc, mpsc};

    use super::*;

    #[test]
    fn it_rings_when_the_clock_says_so_and_ends_when_closed() {
        let (alarm, clock) = (Arc::new(Alarm::default()), Arc::new(AtomicI64::new(100)));
        let (sender, rings) = mpsc::channel();
        let thread = std::thread::spawn({
            let (alarm, clock) = (alarm.clone(), clock.clone());
            move || alarm.run(|| clock.load(Ordering::SeqCst), || sender.send(()).unwrap())
        });
        alarm.set(Some(100));
        rings.recv().unwrap();
        // Far away, until the clock is set forward and somebody sets the alarm again.
        alarm.set(Some(1_000_000));
        clock.store(2_000_000, Ordering::SeqCst);
        alarm.set(Some(1_000_001));
        rings.recv().unwrap();
        // The clock is set back.
        clock.store(3_000_000, Ordering::SeqCst);
        alarm.set(Some(9_000_000));
        clock.store(100, Ordering::SeqCst);
        alarm.set(Some(9_000_001));
        rings.recv().unwrap();
        alarm.close();
        thread.join().unwrap();
        assert!(rings.recv().is_err());
    }
}
