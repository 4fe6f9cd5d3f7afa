//! Every task ends with exactly one last event, whatever goes wrong. (`collect` and `run` fail on an
//! event after the last one.)

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use woolly::job::{Event, FinishReason, SamplingParams};

use crate::engine_fake::*;

fn endless() -> SamplingParams {
    SamplingParams {
        max_tokens: 400,
        ignore_eos: true,
        ..params()
    }
}

#[test]
fn engine_failures_unusable_logits_end_only_their_sequence() {
    let short = SamplingParams {
        max_tokens: 5,
        ignore_eos: true,
        ..params()
    };
    let tasks = vec![
        task(0, &[1, NAN], short.clone()),
        task(1, &[1, 2], short.clone()),
        task(
            2,
            &[1, INFINITE],
            SamplingParams {
                temperature: 1.0,
                ..short.clone()
            },
        ),
    ];
    let alone = run_one(&FakeModel::new(64), &[1, 2], short);
    let outputs = run(&FakeModel::new(64), &workers(1, 4, 8), tasks);
    assert_eq!(outputs[1], alone);
    assert_eq!(
        outputs[0].failure(),
        "the model gave NaN as the logit of token 7: its weights are damaged, or it overflows"
    );
    assert_eq!(
        outputs[2].failure(),
        "the model gave inf as the logit of token 7: its weights are damaged, or it overflows"
    );
    assert!(outputs[0].tokens.is_empty() && outputs[2].tokens.is_empty());
}

#[test]
fn engine_failures_impossible_tasks_are_refused_with_the_reason() {
    let small = FakeModel::new(10);
    let outputs = run(
        &small,
        &workers(1, 2, 8),
        vec![
            task(0, &[], params()),
            task(1, &[1, VOCAB as u32], params()),
            task(2, &[1; CONTEXT + 1], params()),
            task(
                3,
                &[1; 100],
                SamplingParams {
                    max_tokens: 61,
                    ..params()
                },
            ),
            task(
                4,
                &[1; 100],
                SamplingParams {
                    max_tokens: 60,
                    ..endless()
                },
            ),
        ],
    );
    assert_eq!(
        outputs[0].failure(),
        "the prompt is empty; it must have at least one token"
    );
    assert_eq!(
        outputs[1].failure(),
        "the prompt has the token 48, but the model's tokens end at 47"
    );
    assert_eq!(
        outputs[2].failure(),
        "the prompt has 513 tokens, but the model's context is 512"
    );
    assert_eq!(
        outputs[3].failure(),
        "prompt and output may need 161 positions, but the KV memory of a worker holds 160: \
         lower max_tokens or raise workers.kv_bytes"
    );
    assert_eq!(outputs[4].finish().0, FinishReason::Length);
    assert_eq!(outputs[4].tokens.len(), 60);
}

#[test]
fn engine_failures_a_cancelled_sequence_stops_at_the_next_token() {
    // Room for one event: the worker is at most one step ahead of what was received.
    let (sender, events) = async_channel::bounded(1);
    let pool = start(&FakeModel::new(64), &workers(1, 2, 8), sender).unwrap();
    let task = task(0, &[1], endless());
    pool.submit(task.clone());
    for _ in 0..5 {
        assert!(matches!(
            events.recv_blocking().unwrap().event,
            Event::Token(_)
        ));
    }
    task.cancelled.store(true, Ordering::SeqCst);
    let rest = collect(&events, 1).remove(0);
    assert_eq!(rest.end, Some(Event::Stopped));
    assert!(
        rest.tokens.len() <= 3,
        "{} tokens after the cancel",
        rest.tokens.len()
    );
    pool.stop();
    assert!(events.recv_blocking().is_err());
}

#[test]
fn engine_failures_a_waiting_sequence_is_cancelled_without_running() {
    // The first sequence takes 17 of 20 blocks, so the second waits for KV memory.
    let (sender, events) = async_channel::bounded(1);
    let model = FakeModel::new(20);
    let pool = start(&model, &workers(1, 4, 8), sender).unwrap();
    let waiting = task(
        1,
        &[2],
        SamplingParams {
            max_tokens: 300,
            ..endless()
        },
    );
    pool.submit(task(
        0,
        &[1],
        SamplingParams {
            max_tokens: 300,
            ..endless()
        },
    ));
    pool.submit(waiting.clone());
    for _ in 0..5 {
        assert_eq!(events.recv_blocking().unwrap().job.0, 0);
    }
    waiting.cancelled.store(true, Ordering::SeqCst);
    let outputs = collect(&events, 2);
    assert_eq!(
        outputs[1],
        Output {
            tokens: Vec::new(),
            end: Some(Event::Stopped)
        }
    );
    assert_eq!(outputs[0].tokens.len(), 295);
    assert_eq!(model.counts.most_sequences.load(Ordering::SeqCst), 1);
    pool.stop();
}

#[test]
fn engine_failures_a_task_cancelled_before_it_is_taken_gives_no_token() {
    let cancelled = task(0, &[1], endless());
    cancelled.cancelled.store(true, Ordering::SeqCst);
    let model = FakeModel::new(64);
    let outputs = run(
        &model,
        &workers(1, 2, 8),
        vec![cancelled, task(1, &[1], params())],
    );
    assert_eq!(
        outputs[0],
        Output {
            tokens: Vec::new(),
            end: Some(Event::Stopped)
        }
    );
    assert_eq!(outputs[1], run_one(&model, &[1], params()).clone());
}

#[test]
fn engine_failures_stopping_answers_running_and_waiting_tasks() {
    for count in [1, 2] {
        let (sender, events) = async_channel::bounded(1);
        let pool = start(&FakeModel::new(64), &workers(count, 2, 8), sender).unwrap();
        // Each worker takes one task at least before it waits for room for its events, and the task
        // channel holds two more for each.
        let tasks = 3 * count;
        for job in 0..tasks as i64 {
            pool.submit(task(job, &[1, job as u32], endless()));
        }
        let first = events.recv_blocking().unwrap();
        assert!(matches!(first.event, Event::Token(_)));
        let stopper = std::thread::spawn(|| pool.stop());
        let outputs = collect(&events, tasks);
        assert!(
            outputs
                .iter()
                .all(|output| output.end == Some(Event::Stopped)),
            "{count} workers"
        );
        stopper.join().unwrap();
        assert!(
            events.recv_blocking().is_err(),
            "the event channel is closed and empty"
        );
    }
}

#[test]
fn engine_failures_dropping_the_pool_stops_it() {
    let (sender, events) = async_channel::bounded(1);
    let pool = start(&FakeModel::new(64), &workers(1, 1, 8), sender).unwrap();
    pool.submit(task(0, &[1], endless()));
    drop(pool);
    assert_eq!(collect(&events, 1)[0].end, Some(Event::Stopped));
    assert!(events.recv_blocking().is_err());
}

#[test]
fn engine_failures_without_a_receiver_the_workers_end() {
    let (sender, events) = async_channel::bounded(1);
    let model = FakeModel::new(64);
    let pool = start(&model, &workers(2, 2, 8), sender).unwrap();
    drop(events);
    (0..20).for_each(|job| pool.submit(task(job, &[1], endless())));
    pool.stop();
    // All twenty, four at a time, would take two thousand steps.
    let steps = model.counts.steps.load(Ordering::SeqCst);
    assert!(steps < 20, "{steps}");
}

#[test]
fn engine_failures_a_panic_fails_its_worker_s_sequences_and_the_worker_is_rebuilt() {
    let (permits, gate) = async_channel::bounded(64);
    let (sender, events) = async_channel::bounded(64);
    let model = FakeModel {
        gate: Some(gate),
        ..FakeModel::new(64)
    };
    let pool = start(&model, &workers(1, 2, 8), sender).unwrap();
    pool.submit(task(0, &[1], endless()));
    permits.send_blocking(()).unwrap();
    assert!(matches!(
        events.recv_blocking().unwrap().event,
        Event::Token(_)
    ));
    pool.submit(task(1, &[2, PANIC], endless()));
    // Two more steps at most: one that may have begun without the new task, one that panics.
    permits.send_blocking(()).unwrap();
    permits.send_blocking(()).unwrap();
    let outputs = collect(&events, 2);
    let message = "decode worker 0 panicked: assertion `left != right` failed: the fake model was asked to panic";
    assert!(
        outputs[0].failure().starts_with(message),
        "{}",
        outputs[0].failure()
    );
    assert!(outputs[1].failure().starts_with(message));
    assert!(outputs[1].tokens.is_empty());

    drop(permits); // From here on the steps run freely.
    pool.submit(task(0, &[1, 2, 3], params()));
    let again = collect(&events, 1).remove(0);
    assert_eq!(again, run_one(&FakeModel::new(64), &[1, 2, 3], params()));
    assert_eq!(model.counts.builds.load(Ordering::SeqCst), 2);
    pool.stop();
    assert!(events.recv_blocking().is_err());
}

#[test]
fn engine_failures_without_workers_tasks_are_stopped_and_the_reason_is_told() {
    let model = FakeModel {
        fails_to_rebuild: true,
        ..FakeModel::new(64)
    };
    let (sender, events) = async_channel::bounded(64);
    let pool = start(&model, &workers(1, 1, 8), sender).unwrap();
    let failed = pool.failed();
    assert!(!pool.is_over());
    pool.submit(task(0, &[PANIC], params()));
    // Two may find room in the channel before the panic; none is to blame.
    (1..6).for_each(|job| pool.submit(task(job, &[1], params())));
    let outputs = collect(&events, 6);
    assert!(
        outputs[0]
            .failure()
            .starts_with("decode worker 0 panicked: "),
        "{}",
        outputs[0].failure()
    );
    for output in &outputs[1..] {
        assert_eq!(output.end, Some(Event::Stopped));
    }
    let reason = failed.recv_blocking().unwrap();
    assert!(
        reason.ends_with(", and could not be rebuilt: unsupported model: no memory"),
        "{reason}"
    );
    assert!(pool.is_over());
    pool.stop();
    assert!(events.recv_blocking().is_err());
    assert!(failed.recv_blocking().is_err());
}

#[test]
fn engine_failures_the_other_worker_takes_over() {
    // Set once both workers run: nothing can be built after that.
    let sealed = Arc::new(AtomicBool::new(false));
    let model = FakeModel::new(64);
    let (sender, events) = async_channel::bounded(64);
    let (inner, shut) = (model.clone(), sealed.clone());
    let build = move |worker: usize| {
        assert!(!shut.load(Ordering::SeqCst), "no second life");
        inner.build(worker)
    };
    let pool = woolly::engine::Pool::start_with(
        &workers(2, 1, 8),
        SHAPE,
        Arc::new(FakeVocabulary),
        build,
        sender,
    )
    .unwrap();
    sealed.store(true, Ordering::SeqCst);
    let failed = pool.failed();
    pool.submit(task(0, &[PANIC], params()));
    collect(&events, 1)[0].failure();
    let expected = run_one(&FakeModel::new(64), &[1, 2, 3], params());
    for _ in 0..10 {
        pool.submit(task(0, &[1, 2, 3], params()));
        assert_eq!(collect(&events, 1)[0], expected);
    }
    assert!(failed.try_recv().is_err());
    pool.submit(task(0, &[PANIC], params()));
    collect(&events, 1)[0].failure();
    let reason = failed.recv_blocking().unwrap();
    assert!(
        reason.ends_with(", and could not be rebuilt: no second life"),
        "{reason}"
    );
    pool.submit(task(0, &[1], params()));
    assert_eq!(collect(&events, 1)[0].end, Some(Event::Stopped));
    pool.stop();
}

#[test]
fn engine_failures_a_model_that_cannot_be_built_is_the_pool_s_error() {
    let (sender, events) = async_channel::bounded(1);
    let model = FakeModel {
        fails_to_rebuild: true,
        ..FakeModel::new(64)
    };
    // With two workers the second build fails.
    let error = start(&model, &workers(2, 1, 1), sender)
        .err()
        .expect("one of two workers failed");
    assert_eq!(error.to_string(), "unsupported model: no memory");
    assert!(
        events.recv_blocking().is_err(),
        "the other worker ended too"
    );
}
