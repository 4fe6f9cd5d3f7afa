//! The rules of a job's states: pure functions, so that every store follows the same ones.
//!
//! ```text
//! queued -> running -> completed | failed | cancelled | expired
//! ```
//!
//! Invariant: decides from plain data alone; knows no store and reads no clock. Terminal states never
//! change, whatever the cause.

use crate::job::{Endpoint, State};

use super::row::Times;

/// Why a state changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The engine takes the job.
    Claim,
    /// A drain or a preemption gives the job back.
    Requeue,
    /// It failed through a fault of ours, and is tried again later.
    Retry,
    Complete,
    Fail,
    Cancel,
    Expire,
}

impl Cause {
    pub const ALL: [Cause; 7] = [
        Cause::Claim,
        Cause::Requeue,
        Cause::Retry,
        Cause::Complete,
        Cause::Fail,
        Cause::Cancel,
        Cause::Expire,
    ];
}

/// The state that `cause` leads to, or `None` where it has no effect.
pub fn next(from: State, cause: Cause) -> Option<State> {
    match (from, cause) {
        (State::Queued, Cause::Claim) => Some(State::Running),
        (State::Running, Cause::Requeue | Cause::Retry) => Some(State::Queued),
        (State::Running, Cause::Complete) => Some(State::Completed),
        (State::Running, Cause::Fail) => Some(State::Failed),
        (State::Queued | State::Running, Cause::Cancel) => Some(State::Cancelled),
        (State::Queued | State::Running, Cause::Expire) => Some(State::Expired),
        _ => None,
    }
}

/// The state of a job at the start of a daemon, from its state when the one before ended.
///
/// Nobody waits any longer for an attached job, unless its submitter can come back for it with the
/// idempotency key (`keyed`).
pub fn after_crash(state: State, attached: bool, keyed: bool) -> State {
    match state {
        State::Queued | State::Running if attached && !keyed => State::Cancelled,
        State::Running => State::Queued,
        other => other,
    }
}

/// Who may have ended the daemon before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// A job that ran then: the crash is counted for each of them.
    RunningJobs,
    /// Something outside, known for sure, such as a file that went away under its map.
    Nobody,
}

/// A job that ran while so many daemons died is a suspect, see [`is_suspect`].
pub const SUSPECT_CRASHES: u32 = 2;

/// Whether a job is what kills daemons: so many died while it ran alone. A limit of 0 finds none.
pub fn is_poison(solo_crashes: u32, limit: u32) -> bool {
    limit > 0 && solo_crashes >= limit
}

/// What a job says that was found to be poison.
pub fn poison_sentence(solo_crashes: u32) -> String {
    format!("the daemon died {solo_crashes} times while it ran this job alone")
}

/// A job that failed so often through a fault of ours has failed.
pub const MAX_FAULTS: u32 = 3;
const FIRST_PAUSE_MS: i64 = 1_000;

fn pause_ms(faults: u32) -> i64 {
    FIRST_PAUSE_MS << faults.saturating_sub(1).min(20)
}

/// When a job runs again after so many faults of ours: after 1, 2, 4, .. seconds. `None` when it was tried often enough.
pub fn retry_at(now_ms: i64, faults: u32) -> Option<i64> {
    (faults < MAX_FAULTS).then(|| now_ms.saturating_add(pause_ms(faults)))
}

/// The times at which a job waits that is tried again later: behind them it has waited long enough, and before them the
/// clock was set back, because no pause is as long as that.
pub fn pauses_until(now_ms: i64) -> std::ops::RangeInclusive<i64> {
    let longest_ms = pause_ms(MAX_FAULTS - 1);
    now_ms.saturating_add(1)..=now_ms.saturating_add(longest_ms)
}

/// Whether a job runs alone: daemons died while it ran, or this is its last try. Then it takes no other down with it,
/// and no other takes it down.
pub fn is_suspect(crashes: u32, faults: u32) -> bool {
    crashes >= SUSPECT_CRASHES || faults + 1 >= MAX_FAULTS
}

/// Milliseconds that a finished attached job is kept when nobody fetched it.
pub const ATTACHED_RETENTION_MS: i64 = 60_000;

/// Jobs that finished before these times (Unix milliseconds) may be deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    pub detached_before_ms: i64,
    pub attached_before_ms: i64,
}

impl Retention {
    /// Detached jobs are kept for `retention_s`, attached ones for [`ATTACHED_RETENTION_MS`] or less.
    pub fn at(now_ms: i64, retention_s: u64) -> Self {
        let keep_ms = i64::try_from(retention_s.saturating_mul(1_000)).unwrap_or(i64::MAX);
        Retention {
            detached_before_ms: now_ms.saturating_sub(keep_ms),
            attached_before_ms: now_ms.saturating_sub(keep_ms.min(ATTACHED_RETENTION_MS)),
        }
    }
}

/// What two submits with the same idempotency key must share, `times` being when it may run. Each part is preceded
/// by its length, so that no two different requests give the same bytes.
pub fn request_hash(
    endpoint: Endpoint,
    body: &[u8],
    priority: i32,
    metadata: Option<&str>,
    times: Times,
) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    let mut part = |bytes: &[u8]| {
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    part(endpoint.path().as_bytes());
    part(body);
    part(&priority.to_le_bytes());
    // An absent part must differ from an empty one.
    part(&[u8::from(metadata.is_some())]);
    part(metadata.unwrap_or_default().as_bytes());
    // Only where there are some: a hash of version 1 knew none.
    if times != Times::default() {
        for time in [times.not_before_ms, times.deadline_ms] {
            part(&[u8::from(time.is_some())]);
            part(&time.unwrap_or_default().to_le_bytes());
        }
    }
    *hasher.finalize().as_bytes()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_legal_transition_and_no_other() {
        let legal: Vec<_> = State::ALL
            .into_iter()
            .flat_map(|from| Cause::ALL.into_iter().map(move |cause| (from, cause)))
            .filter_map(|(from, cause)| Some((from, cause, next(from, cause)?)))
            .collect();
        assert_eq!(
            legal,
            [
                (State::Queued, Cause::Claim, State::Running),
                (State::Queued, Cause::Cancel, State::Cancelled),
                (State::Queued, Cause::Expire, State::Expired),
                (State::Running, Cause::Requeue, State::Queued),
                (State::Running, Cause::Retry, State::Queued),
                (State::Running, Cause::Complete, State::Completed),
                (State::Running, Cause::Fail, State::Failed),
                (State::Running, Cause::Cancel, State::Cancelled),
                (State::Running, Cause::Expire, State::Expired),
            ]
        );
    }

    #[test]
    fn a_crash_keeps_what_somebody_can_still_fetch() {
        for keyed in [false, true] {
            assert_eq!(after_crash(State::Running, false, keyed), State::Queued);
            assert_eq!(after_crash(State::Queued, false, keyed), State::Queued);
        }
        assert_eq!(after_crash(State::Running, true, true), State::Queued);
        assert_eq!(after_crash(State::Queued, true, true), State::Queued);
        assert_eq!(after_crash(State::Running, true, false), State::Cancelled);
        assert_eq!(after_crash(State::Queued, true, false), State::Cancelled);
    }

    #[test]
    fn retention_survives_extreme_settings() {
        let ever = Retention::at(1_000, u64::MAX);
        assert_eq!(ever.detached_before_ms, 1_000 - i64::MAX);
        assert_eq!(ever.attached_before_ms, 1_000 - ATTACHED_RETENTION_MS);
        let never = Retention::at(i64::MIN, 5);
        assert_eq!(never.detached_before_ms, i64::MIN);
        assert_eq!(Retention::at(90_000, 5).attached_before_ms, 85_000);
    }

    #[test]
    fn absent_and_empty_metadata_are_different_requests() {
        let hash =
            |metadata| request_hash(Endpoint::Completions, b"{}", 0, metadata, Times::default());
        assert_ne!(hash(None), hash(Some("")));
    }

    #[test]
    fn times_are_part_of_a_request() {
        let hash = |not_before_ms, deadline_ms| {
            let times = Times {
                not_before_ms,
                deadline_ms,
            };
            request_hash(Endpoint::Completions, b"{}", 0, None, times)
        };
        let all = [
            hash(None, None),
            hash(Some(0), None),
            hash(None, Some(0)),
            hash(Some(1), None),
        ];
        for (index, one) in all.iter().enumerate() {
            assert!(!all[..index].contains(one));
        }
    }

    #[test]
    fn faults_of_ours_are_tried_again_after_longer_and_longer_pauses() {
        assert_eq!(
            [1, 2, 3, 4].map(|faults| retry_at(10, faults)),
            [Some(1_010), Some(2_010), None, None]
        );
        assert_eq!(retry_at(i64::MAX, 1), Some(i64::MAX));
        assert_eq!(pauses_until(10), 11..=2_010);
    }

    #[test]
    fn who_is_tried_for_the_last_time_runs_alone_as_a_suspect_does() {
        let alone = |crashes, faults| is_suspect(crashes, faults);
        assert_eq!(
            [0, 1, 2, 3].map(|n| alone(n, 0)),
            [false, false, true, true]
        );
        assert_eq!(
            [0, 1, 2, 3].map(|n| alone(0, n)),
            [false, false, true, true]
        );
    }

    #[test]
    fn poison_is_what_killed_daemons_alone() {
        assert_eq!(
            [0, 2, 3, 4].map(|crashes| is_poison(crashes, 3)),
            [false, false, true, true]
        );
        assert!(!is_poison(99, 0));
    }

    proptest! {
        /// A model that remembers only whether the end was reached and whether the job runs.
        #[test]
        fn random_causes_follow_the_model(causes in prop::collection::vec(0..Cause::ALL.len(), 0..40)) {
            let (mut state, mut running, mut ended) = (State::Queued, false, false);
            for cause in causes.into_iter().map(|i| Cause::ALL[i]) {
                let effect = !ended && match cause {
                    Cause::Claim => !running,
                    Cause::Requeue | Cause::Retry | Cause::Complete | Cause::Fail => running,
                    Cause::Cancel | Cause::Expire => true,
                };
                let reached = next(state, cause);
                prop_assert_eq!(reached.is_some(), effect);
                if effect {
                    running = cause == Cause::Claim;
                    ended = !matches!(cause, Cause::Claim | Cause::Requeue | Cause::Retry);
                }
                state = reached.unwrap_or(state);
                prop_assert_eq!(state.is_terminal(), ended);
                prop_assert_eq!(state == State::Running, running);
            }
        }

        #[test]
        fn a_crash_never_touches_the_end(state in 0..State::ALL.len(), attached: bool, keyed: bool) {
            let state = State::ALL[state];
            let after = after_crash(state, attached, keyed);
            prop_assert_ne!(after, State::Running);
            if state.is_terminal() {
                prop_assert_eq!(after, state);
            }
            prop_assert_eq!(after_crash(after, attached, keyed), after);
        }

        #[test]
        fn different_requests_hash_differently(
            a in (prop::collection::vec(any::<u8>(), 0..4), any::<i8>(), prop::option::of("[a-b]{0,2}")),
            b in (prop::collection::vec(any::<u8>(), 0..4), any::<i8>(), prop::option::of("[a-b]{0,2}")),
        ) {
            let hash = |(body, priority, metadata): &(Vec<u8>, i8, Option<String>)| {
                request_hash(Endpoint::Completions, body, i32::from(*priority), metadata.as_deref(), Times::default())
            };
            prop_assert_eq!(hash(&a) == hash(&b), a == b);
            prop_assert_ne!(
                hash(&a),
                request_hash(Endpoint::ChatCompletions, &a.0, i32::from(a.1), a.2.as_deref(), Times::default())
            );
        }
    }
}
