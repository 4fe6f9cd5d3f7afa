//! Random changes with small numbers, so that they meet.

use proptest::prelude::*;
use woolly::job::{Endpoint, JobId, Usage};
use woolly::queue::batch::{BatchId, BatchState, FileId, NewBatch, NewFile, NewLine, Refused};
use woolly::queue::pace::Pace;
use woolly::queue::{
    Admission, BatchChange, Change, Completion, FlowChange, Limits, NewJob, Part, Retention, Times,
};

use crate::support::queue::{detached, failed};

/// Changes that meet the store together; `None` is a crash behind them.
pub(super) type Group = Vec<Option<Change>>;

pub(super) fn group() -> impl Strategy<Value = Group> {
    prop::collection::vec(change(), 1..6)
}

/// Limits that are reached now and then.
fn random_admission() -> impl Strategy<Value = Admission> {
    let pace = (0..3_000_u32, 1..4_u32).prop_map(|(run_ms, at_once)| Pace {
        run_ms: f64::from(run_ms),
        at_once: f64::from(at_once),
    });
    (
        2..9_u64,
        prop::option::of(10..90_u64),
        prop::option::of(1..6_u64),
        prop::option::of(10..60_u64),
        prop::option::of(pace),
    )
        .prop_map(
            |(max_jobs, max_bytes, max_jobs_per_user, max_bytes_per_user, pace)| {
                let limits = Limits {
                    max_jobs,
                    max_bytes,
                    max_jobs_per_user,
                    max_bytes_per_user,
                };
                Admission { limits, pace }
            },
        )
}

/// A file and what is left to take it in; no two are stored under one name.
fn file() -> impl Strategy<Value = NewFile> {
    let kept_s = prop::option::of(1..5_u32);
    let name = any::<u64>().no_shrink();
    (0..2_u32, 0..30_u64, kept_s, name).prop_map(|(uid, bytes, kept_s, name)| NewFile {
        uid,
        purpose: "batch".to_owned(),
        name: "lines.jsonl".to_owned(),
        stored_as: format!("{name:016x}"),
        bytes,
        kept_s,
    })
}

fn batch() -> impl Strategy<Value = NewBatch> {
    let key = prop::option::of(0..3_u8);
    (0..2_u32, 1..6_i64, -1..2_i32, key).prop_map(|(uid, input_file, priority, key)| NewBatch {
        uid,
        endpoint: Endpoint::Completions,
        input_file: FileId(input_file),
        completion_window: "24h".to_owned(),
        deadline_ms: 6_000,
        priority,
        metadata: None,
        output_kept_s: None,
        idempotency_key: key.map(|key| key.to_string()),
    })
}

fn line() -> impl Strategy<Value = NewLine> {
    let job = (0..2_u32, -1..2_i32, prop::option::of(0..6_000_i64));
    (job, 0..4_u8, prop::bool::weighted(0.2)).prop_map(
        |((uid, priority, deadline_ms), custom_id, refused)| NewLine {
            custom_id: custom_id.to_string(),
            job: NewJob {
                uid,
                priority,
                times: Times {
                    not_before_ms: None,
                    deadline_ms,
                },
                ..detached("line")
            },
            refused: refused.then(|| Refused {
                message: "refused".to_owned(),
                param: Some(custom_id.to_string()),
            }),
        },
    )
}

/// Mostly of the first batches, and as often as not at a moment when it has no effect.
fn batch_change() -> impl Strategy<Value = BatchChange> {
    use BatchChange::{
        Add, AddFile, Begin, Cancel, CancelJobs, End, Expand, Finalizing, Refuse, RemoveFile,
        Spool, SpoolDelivered,
    };
    let id = || (1..4_i64).prop_map(BatchId);
    let limits = || random_admission().prop_map(|admission| admission.limits);
    let ends = [
        BatchState::Failed,
        BatchState::Completed,
        BatchState::Expired,
        BatchState::Cancelled,
    ];
    let lines = prop::collection::vec(line(), 1..3);
    let end = (
        id(),
        prop::sample::select(ends.to_vec()),
        prop::option::of(file()),
        prop::option::of(file()),
    );
    prop_oneof![
        3 => (file(), limits()).prop_map(|(file, limits)| AddFile { file, limits }),
        2 => (0..3_u8, file(), batch(), limits()).prop_map(|(identity, file, batch, limits)| Spool {
            name: "spooled".to_owned(),
            identity: identity.to_string(),
            file,
            // What is dropped has an identity, and no key.
            batch: NewBatch { idempotency_key: None, ..batch },
            limits,
        }),
        1 => id().prop_map(SpoolDelivered),
        1 => (1..6_i64).prop_map(|id| RemoveFile(FileId(id))),
        4 => (batch(), limits()).prop_map(|(batch, limits)| Add { batch, limits }),
        1 => id().prop_map(|id| Refuse { id, errors: "[]".to_owned() }),
        6 => (id(), 0..6_u64).prop_map(|(id, total)| Begin { id, total }),
        9 => (id(), prop_oneof![3 => Just(0), 1 => 0..5_u64], lines)
            .prop_map(|(id, from, lines)| Expand { id, from, lines }),
        1 => id().prop_map(Cancel),
        1 => (id(), 1..3_usize).prop_map(|(id, limit)| CancelJobs { id, limit }),
        2 => id().prop_map(Finalizing),
        2 => end.prop_map(|(id, state, output, errors)| End { id, state, output, errors }),
    ]
}

/// Asks for the job of a submit instead.
fn find(submit: Change) -> Change {
    match submit {
        Change::Submit { job, .. } => Change::FindSubmitted(job),
        other => other,
    }
}

/// A change with small numbers, so that random ones meet; `None` is a crash.
pub(super) fn change() -> impl Strategy<Value = Option<Change>> {
    let id = || (1..12_i64).prop_map(JobId);
    let submit = (
        0..2_u8,
        -1..2_i32,
        prop::option::of(0..3_u8),
        0..2_u32,
        any::<bool>(),
        random_admission(),
        prop::option::of(0..6_000_i64),
        prop::option::of(0..6_000_i64),
        any::<bool>(),
    )
        .prop_map(
            |(
                body,
                priority,
                key,
                uid,
                attached,
                admission,
                not_before_ms,
                deadline_ms,
                refuse_late,
            )| {
                Change::Submit {
                    job: NewJob {
                        priority,
                        idempotency_key: key.map(|key| key.to_string()),
                        uid,
                        attached,
                        times: Times {
                            not_before_ms,
                            deadline_ms,
                        },
                        refuse_late,
                        ..detached(&body.to_string())
                    },
                    admission,
                }
            },
        )
        .boxed();
    let part = (0..3_u32, 0..2_u8, 0..9_u8).prop_map(|(number, fingerprint, body)| Part {
        number,
        fingerprint: [fingerprint; 32],
        body: vec![body],
    });
    let checkpoint = (id(), part.clone()).prop_map(|(id, part)| Change::Checkpoint { id, part });
    let first = part.prop_map(|part| Part { number: 0, ..part });
    let finish =
        (id(), 0..3_u8, prop::option::of(first)).prop_map(|(id, kind, keep)| Change::Finish {
            id,
            completion: match kind {
                0 => Completion::Completed {
                    result: b"yes".to_vec(),
                    usage: Usage::new(5, 7),
                    outline: b"outline".to_vec(),
                    keep,
                },
                1 => failed("no"),
                _ => Completion::Faulted {
                    error: "fault".to_owned(),
                },
            },
        });
    let purge =
        (0..6_000_i64, 0..6_000_i64).prop_map(|(detached_before_ms, attached_before_ms)| {
            Change::Purge {
                retention: Retention {
                    detached_before_ms,
                    attached_before_ms,
                },
                limit: 100,
            }
        });
    prop_oneof![
        6 => submit.clone().prop_map(Some),
        1 => submit.prop_map(find).prop_map(Some),
        5 => Just(Some(Change::Claim)),
        1 => prop_oneof![8 => Just(FlowChange::Resume), 1 => Just(FlowChange::Pause), 1 => Just(FlowChange::Drain)]
            .prop_map(|change| Some(Change::SetFlow(change))),
        2 => (1..4_usize).prop_map(|limit| Some(Change::Wake { limit })),
        4 => finish.prop_map(Some),
        4 => checkpoint.prop_map(Some),
        2 => prop::collection::vec(id(), 0..3).prop_map(|ids| Some(Change::Requeue(ids))),
        2 => id().prop_map(|id| Some(Change::Cancel(id))),
        1 => (prop::option::of(id()), prop::option::of(0..2_u32), 1..4_usize)
            .prop_map(|(before, uid, limit)| Some(Change::CancelOpen { before, uid, limit })),
        2 => id().prop_map(|id| Some(Change::Delivered(id))),
        1 => purge.prop_map(Some),
        8 => batch_change().prop_map(|change| Some(Change::Batch(change))),
        1 => Just(None),
    ]
}
