//! Same task, same bytes: whatever the neighbours, chunks, slots, KV memory and workers.

use std::sync::atomic::Ordering;

use woolly::engine::{Sampler, Scratch, Task};
use woolly::job::{Event, FinishReason, SamplingParams, Shaping};

use crate::engine_fake::*;

/// Sixteen prompts of 1 to 121 tokens, greedy and sampled, some with stop strings and logprobs.
pub(crate) fn tasks() -> Vec<Task> {
    (0..16u32)
        .map(|n| {
            let length = 1 + (n * n) % 123;
            let prompt: Vec<u32> = (0..length).map(|i| (i * 7 + n * 3) % 40).collect();
            let mut task = task(i64::from(n), &prompt, varied_params(n));
            task.sequence = n as usize % 3;
            task
        })
        .collect()
}

fn varied_params(n: u32) -> SamplingParams {
    SamplingParams {
        max_tokens: 20 + n * 9,
        temperature: if n.is_multiple_of(3) {
            0.0
        } else {
            0.5 + n as f32 / 8.0
        },
        top_k: if n % 4 == 1 { 5 } else { 0 },
        top_p: if n % 4 == 2 { 0.8 } else { 1.0 },
        seed: u64::from(n) << 33,
        stop: if n % 5 == 4 {
            vec!["ax".into(), "helloz".into()]
        } else {
            Vec::new()
        },
        ignore_eos: !n.is_multiple_of(4),
        logprobs: (n % 6 == 5).then_some(3),
        shaping: Shaping {
            min_p: if n.is_multiple_of(5) { 0.2 } else { 0.0 },
            typical_p: if n.is_multiple_of(7) { 0.6 } else { 1.0 },
            ..Shaping::default()
        },
    }
}

fn one_at_a_time() -> Vec<Output> {
    let model = FakeModel::new(64);
    let single = |task: Task| {
        let job = task.job.0 as usize;
        run(&model, &workers(1, 1, 256), vec![task]).remove(job)
    };
    tasks().into_iter().map(single).collect()
}

#[test]
fn engine_pool_alone_gives_what_the_plain_loop_gives() {
    for (task, output) in tasks().into_iter().zip(one_at_a_time()) {
        let sampler = Sampler::new(&task.params, task.sequence);
        let banned: &[u32] = if task.params.ignore_eos {
            &[END, OTHER_END]
        } else {
            &[]
        };
        let mut history = task.prompt.to_vec();
        for (index, token) in output.tokens.iter().enumerate() {
            let logits = row(history.iter().copied(), None);
            let drawn = sampler
                .draw(&logits, banned, index, &mut Scratch::default())
                .unwrap();
            assert_eq!(token.id, drawn, "{} token {index}", task.job);
            history.push(drawn);
        }
        let ended = [END, OTHER_END].contains(&output.tokens.last().unwrap().id);
        let (reason, _) = output.finish();
        let full = output.tokens.len() == task.params.max_tokens as usize;
        assert!(full || reason == FinishReason::Stop);
        assert_eq!(ended && !task.params.ignore_eos, ended);
    }
}

#[test]
fn engine_pool_output_depends_on_nothing_but_the_task() {
    let expected = one_at_a_time();
    let lengths: Vec<usize> = expected.iter().map(|output| output.tokens.len()).collect();
    assert!(
        lengths.iter().sum::<usize>() > 600,
        "long enough to mean something: {lengths:?}"
    );
    for (count, slots) in [(1, 16), (1, 3), (2, 4)] {
        for chunk in [1, 5, 7, 128] {
            // The largest task has 103 + 155 positions, which is 17 blocks.
            for blocks in [200, 17] {
                let model = FakeModel::new(blocks);
                let outputs = run(&model, &workers(count, slots, chunk), tasks());
                let case =
                    format!("{count} workers, {slots} slots, chunk {chunk}, {blocks} blocks");
                assert_same(&outputs, &expected, &case);
                assert!(model.counts.largest_batch.load(Ordering::SeqCst) <= slots + chunk);
            }
        }
    }
}

#[test]
fn engine_pool_order_of_arrival_changes_nothing() {
    let expected = one_at_a_time();
    let mut reversed = tasks();
    reversed.reverse();
    assert_same(
        &run(&FakeModel::new(40), &workers(1, 5, 16), reversed),
        &expected,
        "reversed",
    );
}

#[test]
fn engine_pool_preempted_sequences_continue_with_the_same_bytes() {
    // Reserved at first: 4 + 256 positions, 17 blocks each. In the end each needs 404, 26 blocks.
    let long = |n: u32| {
        let sampling = SamplingParams {
            max_tokens: 400,
            ignore_eos: true,
            ..varied_params(n)
        };
        task(
            i64::from(n),
            &[n, 2, 3, 4],
            SamplingParams {
                stop: Vec::new(),
                ..sampling
            },
        )
    };
    let tasks = || (0..4).map(long).collect::<Vec<_>>();
    let roomy = FakeModel::new(200);
    let expected = run(&roomy, &workers(1, 4, 32), tasks());
    let each = 4 + 400 - 1;
    assert_eq!(roomy.counts.positions.load(Ordering::SeqCst), 4 * each);
    assert_eq!(
        roomy.counts.rows.load(Ordering::SeqCst),
        4 * 400,
        "logits only where a token is drawn"
    );

    // All four are there before the first step, or how far the third comes depends on the machine's load.
    let (_permits, gate) = async_channel::bounded(1);
    let tight = FakeModel {
        gate: Some(gate),
        ..FakeModel::new(52)
    };
    assert_same(
        &run(&tight, &workers(1, 4, 32), tasks()),
        &expected,
        "preempted",
    );
    assert!(
        tight.counts.most_sequences.load(Ordering::SeqCst) >= 3,
        "three were admitted"
    );
    let computed = tight.counts.positions.load(Ordering::SeqCst);
    assert!(
        computed > 4 * each + 256,
        "one was computed again: {computed}"
    );
    assert!(computed < 4 * each + 400, "and only once: {computed}");
}

#[test]
fn engine_pool_the_lowest_priority_gives_way() {
    // Three are admitted, two can grow to their end: without priorities those are the first two.
    let tasks = |priorities: [i32; 3]| -> Vec<_> {
        let of = |(n, &priority): (usize, &i32)| {
            let params = SamplingParams {
                max_tokens: 400,
                ignore_eos: true,
                stop: Vec::new(),
                ..varied_params(n as u32)
            };
            Task {
                priority,
                ..task(n as i64, &[n as u32, 2, 3, 4], params)
            }
        };
        priorities.iter().enumerate().map(of).collect()
    };
    let mut outputs = Vec::new();
    for (priorities, expected) in [
        ([0, 0, 0], [0, 1, 2]),
        ([-1, 0, 7], [1, 2, 0]),
        ([0, -3, 0], [0, 2, 1]),
    ] {
        let (_permits, gate) = async_channel::bounded(1);
        let tight = FakeModel {
            gate: Some(gate),
            ..FakeModel::new(52)
        };
        let (found, mut order) = run_in_order(&tight, &workers(1, 3, 32), tasks(priorities));
        // Two end in the same step, in the order of their priorities.
        order[..2].sort_unstable();
        assert_eq!(order, expected, "{priorities:?}");
        outputs.push(found);
    }
    assert_same(&outputs[1], &outputs[0], "another order");
    assert_same(&outputs[2], &outputs[0], "a third");
}

#[test]
fn engine_pool_joins_between_steps() {
    let (permits, gate) = async_channel::bounded(64);
    let (sender, events) = async_channel::bounded(64);
    let model = FakeModel {
        gate: Some(gate),
        ..FakeModel::new(64)
    };
    let pool = start(&model, &workers(1, 4, 8), sender).unwrap();
    let forever = SamplingParams {
        ignore_eos: true,
        max_tokens: 30,
        ..params()
    };
    pool.submit(task(0, &[1], forever.clone()));
    permits.send_blocking(()).unwrap();
    permits.send_blocking(()).unwrap();
    let first = [
        events.recv_blocking().unwrap(),
        events.recv_blocking().unwrap(),
    ];
    assert!(first.iter().all(|event| event.job.0 == 0));
    // The worker waits at its third step or is about to; a task that comes now joins at the fourth
    // at the latest, long before the first one ends.
    pool.submit(task(
        1,
        &[2],
        SamplingParams {
            max_tokens: 3,
            ..forever
        },
    ));
    let mut before_joining = 0;
    let mut second_ended = false;
    while !second_ended {
        permits.send_blocking(()).unwrap();
        let event = events.recv_blocking().unwrap();
        before_joining += usize::from(event.job.0 == 0);
        second_ended = event.job.0 == 1 && matches!(event.event, Event::Finished { .. });
    }
    assert!(
        before_joining < 10,
        "{before_joining} tokens of the first task meanwhile"
    );
    drop(permits);
    assert_eq!(model.counts.most_sequences.load(Ordering::SeqCst), 2);
    drop(pool);
}

#[test]
fn engine_pool_a_long_prompt_does_not_stall_the_others() {
    let model = FakeModel::new(64);
    let long: Vec<u32> = (0..400).map(|i| i % 40).collect();
    let forever = SamplingParams {
        ignore_eos: true,
        max_tokens: 60,
        ..params()
    };
    let (sender, events) = async_channel::bounded(4);
    let pool = start(&model, &workers(1, 2, 10), sender).unwrap();
    pool.submit(task(0, &[1], forever.clone()));
    pool.submit(task(
        1,
        &long,
        SamplingParams {
            max_tokens: 1,
            ..forever
        },
    ));
    // The long prompt takes 40 steps of 10 tokens, in each of which the other sequence advances.
    let mut short_tokens = 0;
    loop {
        let event = events.recv_blocking().unwrap();
        if event.job.0 == 1 {
            break;
        }
        short_tokens += 1;
    }
    assert!(short_tokens >= 38, "{short_tokens}");
    std::thread::scope(|scope| {
        scope.spawn(|| while events.recv_blocking().is_ok() {});
        pool.stop();
        events.close();
    });
}

#[test]
fn engine_pool_reports_its_size_and_names_its_threads() {
    let (sender, _events) = async_channel::bounded(1);
    let model = FakeModel::new(10);
    let pool = start(&model, &workers(2, 8, 16), sender.clone()).unwrap();
    assert_eq!(pool.slots(), 16);
    assert_eq!(pool.max_positions(), 160);
    pool.stop();
    let mut names = model.counts.threads.lock().unwrap().clone();
    names.sort();
    assert_eq!(names, ["woolly-w0-t0", "woolly-w1-t0"]);
    let pool = start(&FakeModel::new(999), &workers(1, 1, 1), sender).unwrap();
    assert_eq!(pool.max_positions(), CONTEXT);
    drop(pool);
}

#[test]
fn engine_pool_seeds_and_sequence_numbers_are_different_streams() {
    let sampled = |seed, sequence| {
        let params = SamplingParams {
            temperature: 1.5,
            ignore_eos: true,
            seed,
            ..params()
        };
        let mut task = task(0, &[1, 2, 3], params);
        task.sequence = sequence;
        run(&FakeModel::new(64), &workers(1, 1, 8), vec![task])
            .remove(0)
            .ids()
    };
    assert_eq!(sampled(1, 0), sampled(1, 0));
    assert_ne!(sampled(1, 0), sampled(2, 0));
    assert_ne!(sampled(1, 0), sampled(1, 1));
}
