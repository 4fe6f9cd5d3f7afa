//! Tells one thread that something happened, whatever it was and however often.
//!
//! Invariant: a ring that nobody waits for is kept, one of them; a closed bell ends every wait.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::waiting::wait;

#[derive(Debug, Default)]
pub struct Bell {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    rung: bool,
    closed: bool,
}

impl Bell {
    pub(super) fn ring(&self) {
        self.lock().rung = true;
        self.changed.notify_one();
    }

    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    /// Until it rings or has rung since the last wait, or until then. False once it is closed and no ring is left.
    pub fn wait(&self, until: Option<Instant>) -> bool {
        let mut state = self.lock();
        loop {
            if std::mem::take(&mut state.rung) {
                return true;
            }
            if state.closed {
                return false;
            }
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return true;
            }
            state = wait(&self.changed, state, left);
        }
    }

    /// Every critical section leaves the state whole.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_wait_ends_with_a_ring_its_time_or_the_close() {
        let far = Some(Instant::now() + Duration::from_secs(3_600));
        let bell = Arc::new(Bell::default());
        bell.ring();
        bell.ring();
        assert!(bell.wait(far));
        // Two rings before a wait are one: this one ends by its time.
        assert!(bell.wait(Some(Instant::now())));
        let waiting = std::thread::spawn({
            let bell = bell.clone();
            move || (bell.wait(None), bell.wait(far), bell.wait(None))
        });
        bell.ring();
        bell.close();
        assert_eq!(waiting.join().unwrap(), (true, false, false));
    }
}
