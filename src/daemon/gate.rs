//! The gate between what is computed and what is recorded.
//!
//! It is closed while the weights are being verified, and the thread that records waits at it before it
//! takes the first event. The bounded event channel makes the workers wait in turn, so until the gate opens
//! nothing computed leaves memory: no token in a stream, no result in the queue. When it is shut instead,
//! what was computed is thrown away.
//!
//! Invariant: decided once. An open gate cannot be shut, and a shut one never opens.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Closed,
    Open,
    Shut,
}

impl State {
    fn decided(self, decision: State) -> State {
        if self == State::Closed {
            decision
        } else {
            self
        }
    }
}

#[derive(Debug)]
pub(super) struct Gate {
    state: Mutex<State>,
    decided: Condvar,
}

impl Gate {
    /// Closed while there is something to verify, else open.
    pub(super) fn new(unverified: bool) -> Self {
        let state = if unverified {
            State::Closed
        } else {
            State::Open
        };
        Gate {
            state: Mutex::new(state),
            decided: Condvar::new(),
        }
    }

    /// The weights are sound.
    pub(super) fn open(&self) {
        self.decide(State::Open);
    }

    /// The weights are not sound, or nobody waits any longer to know. Without effect on an open gate.
    pub(super) fn shut(&self) {
        self.decide(State::Shut);
    }

    /// Waits for the decision; true when what was computed may be recorded.
    pub(super) fn wait(&self) -> bool {
        let waited = self
            .decided
            .wait_while(self.state(), |state| *state == State::Closed);
        *waited.unwrap_or_else(PoisonError::into_inner) == State::Open
    }

    fn decide(&self, decision: State) {
        let mut state = self.state();
        *state = state.decided(decision);
        self.decided.notify_all();
    }

    /// One word is written under this lock; it is never half written.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn only_a_closed_gate_can_be_decided() {
        use State::{Closed, Open, Shut};
        for decision in [Open, Shut] {
            assert_eq!(Closed.decided(decision), decision);
            assert_eq!(Open.decided(decision), Open);
            assert_eq!(Shut.decided(decision), Shut);
        }
    }

    #[test]
    fn without_doubt_it_is_open_from_the_beginning() {
        let gate = Gate::new(false);
        assert!(gate.wait());
        gate.shut();
        assert!(gate.wait());
    }

    #[test]
    fn who_waits_hears_of_the_decision() {
        for (decide, passes) in [(Gate::open as fn(&Gate), true), (Gate::shut, false)] {
            let gate = Gate::new(true);
            let (sender, passed) = mpsc::channel();
            std::thread::scope(|threads| {
                threads.spawn(|| sender.send(gate.wait()).unwrap());
                assert_eq!(passed.try_recv(), Err(mpsc::TryRecvError::Empty));
                decide(&gate);
                assert_eq!(passed.recv(), Ok(passes));
            });
        }
    }
}
