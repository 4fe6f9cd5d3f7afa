//! Jobs that come, are stopped, wait for each other and end, without an engine.

use crate::job::{Endpoint, FinishReason, SamplingParams, Sequence};

use super::*;

fn meta(id: i64) -> ResponseMeta {
    ResponseMeta {
        job: JobId(id),
        endpoint: Endpoint::Completions,
        created: 0,
    }
}

fn spec(sequences: usize) -> Arc<Spec> {
    let params = SamplingParams {
        max_tokens: 1,
        temperature: 0.0,
        top_k: 0,
        top_p: 1.0,
        seed: 0,
        stop: Vec::new(),
        ignore_eos: false,
        logprobs: None,
        shaping: crate::job::Shaping::default(),
    };
    Arc::new(Spec {
        sequences: vec![Sequence { prompt: vec![1] }; sequences],
        params,
        echo: false,
        return_token_ids: false,
        reuse: None,
        warnings: Vec::new(),
    })
}

fn event(job: i64, sequence: usize, event: Event) -> SequenceEvent {
    SequenceEvent {
        job: JobId(job),
        sequence,
        event,
    }
}

fn finished() -> Event {
    Event::Finished {
        reason: FinishReason::Stop,
        text: String::new(),
    }
}

fn token(id: u32) -> Event {
    Event::Token(crate::job::Token {
        id,
        ..Default::default()
    })
}

/// Events of one part.
const EVERY: usize = 4;

/// Jobs with odd numbers are equal to each other, and those with even ones.
fn of(job: i64) -> [u8; 32] {
    [(job % 2) as u8; 32]
}

fn sharing(job: i64) -> Sharing {
    Sharing {
        uid: 7,
        fingerprint: of(job),
    }
}

fn register(running: &mut Running, sequences: usize, job: i64) -> Arc<AtomicBool> {
    let checkpoint = Checkpoint::new(of(job), EVERY, Instant::now());
    running.register(spec(sequences), meta(job), checkpoint, Some(sharing(job)))
}

fn numbers(part: Option<Part>) -> Option<(u32, Vec<u32>)> {
    let part = part?;
    let events = super::super::transcript::decode(&[part.body]).unwrap();
    Some((part.number, super::super::transcript::ids(&events, 0)))
}

#[test]
fn parts_come_after_so_many_tokens() {
    let mut running = Running::default();
    register(&mut running, 2, 1);
    let now = Instant::now();
    let note = |running: &mut Running, sequence, event_| {
        let event = Arc::new(event(1, sequence, event_));
        let part = running.note(&event, false, now);
        running.apply(&event);
        numbers(part)
    };
    for id in 1..EVERY as u32 {
        assert_eq!(note(&mut running, 0, token(id)), None);
    }
    assert_eq!(note(&mut running, 1, token(7)), Some((0, vec![1, 2, 3])));
    running.handed_over(JobId(1), true, now);
    for sequence in [1, 1, 0] {
        assert_eq!(note(&mut running, sequence, token(5)), None);
    }
    assert_eq!(note(&mut running, 1, finished()), Some((1, vec![5])));
    // Not taken: it is due again with as many more, but the end comes first.
    running.handed_over(JobId(1), false, now);
    for _ in 1..EVERY {
        assert_eq!(note(&mut running, 0, token(6)), None);
    }
    assert_eq!(note(&mut running, 0, finished()), None);
}

#[test]
fn what_was_stopped_leaves_its_last_part() {
    let mut running = Running::default();
    register(&mut running, 1, 1);
    let repeated = Arc::new(event(1, 0, token(1)));
    assert_eq!(running.note(&repeated, true, Instant::now()), None);
    running.apply(&repeated);
    let fresh = Arc::new(event(1, 0, token(2)));
    assert_eq!(running.note(&fresh, false, Instant::now()), None);
    running.stop_all();
    let ended = running.apply(&event(1, 0, Event::Stopped)).unwrap();
    assert_eq!(numbers(ended.rest), Some((0, vec![1, 2])));
    // One that completed leaves none.
    let mut running = Running::default();
    register(&mut running, 1, 1);
    running.note(&fresh, false, Instant::now());
    assert_eq!(running.apply(&event(1, 0, finished())).unwrap().rest, None);
}

#[test]
fn equal_jobs_wait_until_the_end_of_the_first_is_written() {
    let mut running = Running::default();
    assert!(!running.waits_for_equal(JobId(1), sharing(1)));
    register(&mut running, 1, 1);
    for id in [3, 5, 7] {
        assert!(running.waits_for_equal(JobId(id), sharing(id)));
    }
    assert!(!running.waits_for_equal(JobId(2), sharing(2)));
    let other_user = Sharing {
        uid: 8,
        ..sharing(1)
    };
    assert!(!running.waits_for_equal(JobId(4), other_user));
    running.cancel(JobId(5));
    assert!(running.apply(&event(1, 0, finished())).is_some());
    assert!(
        running.waits_for_equal(JobId(9), sharing(9)),
        "its result is not there yet"
    );
    assert_eq!(
        running.published(Some(sharing(1))),
        [JobId(3), JobId(7), JobId(9)]
    );
    assert!(!running.waits_for_equal(JobId(11), sharing(11)));
    // One that wants to be computed anew answers for nobody.
    let checkpoint = Checkpoint::new(of(13), EVERY, Instant::now());
    running.register(spec(1), meta(13), checkpoint, None);
    assert!(!running.waits_for_equal(JobId(15), sharing(15)));
}

#[test]
fn nobody_waits_for_a_crowd_of_equal_jobs() {
    let mut running = Running::default();
    register(&mut running, 1, 1);
    for held in 0..MAX_HELD as i64 {
        assert!(running.waits_for_equal(JobId(3 + 2 * held), sharing(1)));
    }
    assert!(running.may_claim(2));
    let beyond = 3 + 2 * MAX_HELD as i64;
    assert!(!running.waits_for_equal(JobId(beyond), sharing(1)));
    register(&mut running, 1, beyond);
    // A place is free again.
    running.cancel(JobId(3));
    assert!(running.waits_for_equal(JobId(beyond + 2), sharing(1)));
    running.apply(&event(1, 0, finished()));
    assert_eq!(running.published(Some(sharing(1))).len(), MAX_HELD);
}

#[test]
fn who_waits_for_an_equal_one_is_unfinished_too() {
    let mut running = Running::default();
    register(&mut running, 1, 1);
    assert!(running.waits_for_equal(JobId(3), sharing(3)));
    running.stop_all();
    assert_eq!(running.take_unfinished(), [JobId(1), JobId(3)]);
}

#[test]
fn what_another_run_goes_on_behind_is_no_output() {
    let failure = Event::Failed {
        message: "broken".to_owned(),
        fault: true,
    };
    assert!(is_output(&token(1)) && is_output(&finished()));
    assert!(!is_output(&failure) && !is_output(&Event::Stopped));
}

#[test]
fn slots_are_counted_in_sequences() {
    let mut running = Running::default();
    register(&mut running, 3, 1);
    assert!(running.may_claim(4));
    assert!(!running.may_claim(3));
    assert!(running.apply(&event(1, 2, finished())).is_none());
    assert!(
        running.may_claim(3),
        "a slot is free as soon as its sequence is over"
    );
    register(&mut running, 9, 2);
    assert!(!running.may_claim(4));
    running.stop_claims();
    assert!(
        running.may_claim(4),
        "who waits for a slot must see that claims are over"
    );
}

#[test]
fn the_daemon_is_idle_when_the_last_job_is_published() {
    let mut running = Running::default();
    register(&mut running, 1, 1);
    running.claims_ended();
    assert!(!running.is_idle());
    assert!(running.apply(&event(1, 0, finished())).is_some());
    assert!(!running.is_idle());
    assert_eq!(running.published(None), []);
    assert!(running.is_idle());
    assert!(
        running.apply(&event(1, 0, finished())).is_none(),
        "late events are ignored"
    );
}

#[test]
fn a_failing_sequence_stops_its_neighbours() {
    let mut running = Running::default();
    let flag = register(&mut running, 2, 1);
    let failure = Event::Failed {
        message: "broken".to_owned(),
        fault: false,
    };
    assert!(running.apply(&event(1, 0, failure)).is_none());
    assert!(flag.load(Ordering::Relaxed));
    let ended = running.apply(&event(1, 1, Event::Stopped)).unwrap();
    assert_eq!(
        ended.end,
        End::Failed {
            error: "broken".to_owned(),
            fault: false,
        }
    );
    assert_eq!(running.take_unfinished(), []);
}

#[test]
fn only_jobs_that_we_stopped_are_unfinished() {
    let mut running = Running::default();
    for id in 1..=4 {
        register(&mut running, 1, id);
    }
    running.cancel(JobId(1));
    running.stop_all();
    assert!(running.apply(&event(1, 0, Event::Stopped)).is_some());
    assert!(running.apply(&event(3, 0, Event::Stopped)).is_some());
    // The engine finished this one before it saw the flag.
    assert!(running.apply(&event(2, 0, finished())).is_some());
    assert_eq!(running.take_unfinished(), [JobId(3), JobId(4)]);
}

#[test]
fn a_job_that_is_registered_after_the_stop_stops_too() {
    let mut running = Running::default();
    running.stop_all();
    assert!(register(&mut running, 1, 1).load(Ordering::Relaxed));
    assert!(running.apply(&event(1, 0, Event::Stopped)).is_some());
    assert_eq!(running.take_unfinished(), [JobId(1)]);
}

#[test]
fn a_cancellation_may_come_before_the_job_is_registered() {
    let mut running = Running::default();
    running.before_claim();
    running.cancel(JobId(5));
    assert!(register(&mut running, 1, 5).load(Ordering::Relaxed));
    // A cancellation that came too late is forgotten with the next claim.
    running.cancel(JobId(6));
    running.before_claim();
    assert!(!register(&mut running, 1, 6).load(Ordering::Relaxed));
}
