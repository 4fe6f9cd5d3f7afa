//! A sequence that goes on behind what an earlier run generated tells exactly the rest.

use proptest::prelude::*;
use woolly::engine::Task;
use woolly::job::{Event, SamplingParams, Shaping};

use super::engine_fake::{
    CONTEXT, END, FakeModel, Output, collect, params, run, run_one, start, task, workers,
};

fn going_on(task: Task, ids: &[u32]) -> Task {
    Task {
        generated: ids.into(),
        ..task
    }
}

/// What is told behind the first `told` tokens.
fn rest(whole: &Output, told: usize) -> Output {
    Output {
        tokens: whole.tokens[told..].to_vec(),
        end: whole.end.clone(),
    }
}

/// One that fails tells why, and whether it is our fault.
fn failure(model: &FakeModel, task: Task) -> (String, bool) {
    let (sender, events) = async_channel::bounded(10);
    let pool = start(model, &workers(1, 1, 100), sender).unwrap();
    pool.submit(task);
    let output = collect(&events, 1).remove(0);
    pool.stop();
    match output.end {
        Some(Event::Failed { message, fault }) => (message, fault),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_would_have_ended_is_a_fault_of_ours() {
    let model = FakeModel::new(64);
    let few = SamplingParams {
        max_tokens: 3,
        ..params()
    };
    for (ids, token) in [(&[0, END][..], 2), (&[0, 1, 2], 3), (&[0, 1, 2, 3], 3)] {
        let said = failure(&model, going_on(task(0, &[1], few.clone()), ids));
        let sentence = format!(
            "the sequence was said to go on, but it would have ended at its token number {token}"
        );
        assert_eq!(said, (sentence, true));
    }
    let none = SamplingParams {
        max_tokens: 0,
        ..params()
    };
    assert!(failure(&model, going_on(task(0, &[1], none), &[0])).1);
}

#[test]
fn scores_of_the_prompt_are_not_told_again() {
    let model = FakeModel::new(64);
    let scoring = || Task {
        score_prompt: true,
        ..task(
            0,
            &[1, 2, 3],
            SamplingParams {
                logprobs: Some(1),
                max_tokens: 5,
                ignore_eos: true,
                ..params()
            },
        )
    };
    let (sender, events) = async_channel::bounded(100);
    let pool = start(&model, &workers(1, 1, 100), sender).unwrap();
    let told = |task: Task| {
        pool.submit(task);
        let mut told = vec![];
        while !matches!(told.last(), Some(Event::Finished { .. })) {
            told.push(events.recv_blocking().unwrap().event);
        }
        told
    };
    let whole = told(scoring());
    assert_eq!(
        whole
            .iter()
            .filter(|event| matches!(event, Event::Scored(_)))
            .count(),
        2
    );
    let ids = whole.iter().filter_map(|event| match event {
        Event::Token(token) => Some(token.id),
        _ => None,
    });
    let ids: Vec<u32> = ids.take(2).collect();
    assert_eq!(told(going_on(scoring(), &ids)), whole[4..]);
    pool.stop();
}

fn any_params() -> impl Strategy<Value = SamplingParams> {
    let shaping =
        (0u32..4, prop::bool::ANY, 0u32..3).prop_map(|(min_tokens, penalties, stops)| Shaping {
            min_tokens,
            repeat_penalty: if penalties { 1.3 } else { 1.0 },
            presence_penalty: if penalties { 0.5 } else { 0.0 },
            stop_tokens: (0..stops).map(|n| n * 9).collect(),
            ..Shaping::default()
        });
    let stop = prop::collection::vec("[a-c]{1,3}", 0..3);
    (
        1u32..60,
        prop::bool::ANY,
        any::<u64>(),
        stop,
        prop::bool::ANY,
        prop::option::of(0u8..3),
        shaping,
    )
        .prop_map(
            |(max_tokens, greedy, seed, stop, ignore_eos, logprobs, shaping)| SamplingParams {
                max_tokens,
                temperature: if greedy { 0.0 } else { 1.5 },
                seed,
                stop,
                ignore_eos,
                logprobs,
                shaping,
                ..params()
            },
        )
}

proptest! {
    /// Wherever each of several sequences was cut off, with memory for all of them or hardly for one.
    #[test]
    fn every_cut_gives_the_rest(
        jobs in prop::collection::vec(
            (prop::collection::vec(0..END, 1..50), any_params(), 0.0f64..1.0),
            1..6,
        ),
        slots in 1usize..4,
        tight: bool,
    ) {
        let model = FakeModel { cheap_tokens: 5, ..FakeModel::new(if tight { CONTEXT / 16 } else { 256 }) };
        let wholes: Vec<Output> =
            jobs.iter().map(|(prompt, params, _)| run_one(&model, prompt, params.clone())).collect();
        // Never the last token.
        let told: Vec<usize> = jobs
            .iter()
            .zip(&wholes)
            .map(|((_, _, share), whole)| (*share * whole.tokens.len() as f64) as usize)
            .collect();
        let tasks = jobs
            .iter()
            .zip(wholes.iter().zip(&told))
            .enumerate()
            .map(|(job, ((prompt, params, _), (whole, &told)))| {
                going_on(task(job as i64, prompt, params.clone()), &whole.ids()[..told])
            })
            .collect();
        let outputs = run(&model, &workers(1, slots, 20), tasks);
        let rests: Vec<Output> = wholes.iter().zip(&told).map(|(whole, &told)| rest(whole, told)).collect();
        prop_assert_eq!(outputs, rests);
    }
}
