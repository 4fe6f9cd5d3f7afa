//! How threads of the queue wait for a change of what a lock guards.

use std::sync::{Condvar, MutexGuard, PoisonError};
use std::time::Duration;

/// Waits for a word of `changed`, at most so long. Panics of others under the lock are passed over: every critical
/// section of these leaves the state whole.
pub(super) fn wait<'a, T>(
    changed: &Condvar,
    state: MutexGuard<'a, T>,
    most: Option<Duration>,
) -> MutexGuard<'a, T> {
    match most {
        None => changed.wait(state).unwrap_or_else(PoisonError::into_inner),
        Some(most) => {
            let waited = changed.wait_timeout(state, most);
            waited.unwrap_or_else(PoisonError::into_inner).0
        }
    }
}
