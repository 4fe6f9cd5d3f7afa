//! Layers with a sliding window keep what the window shows and no more, and nothing of it changes an output.

use std::sync::atomic::Ordering;

use proptest::prelude::*;
use woolly::engine::Task;
use woolly::model::{KV_BLOCK_TOKENS, ring_blocks};

use super::engine_fake::{
    FakeModel, assert_same, collect, params, run, run_one, start, task, workers,
};

const MAX_DRAFT: usize = 7;

/// A model with no more blocks for the window than its slots may need in one step.
fn model(blocks: usize, window: usize, slots: usize, prefill_chunk: usize) -> FakeModel {
    let step = slots + prefill_chunk + MAX_DRAFT;
    let rings = slots * ring_blocks(window, 1) + step.div_ceil(KV_BLOCK_TOKENS);
    FakeModel {
        window: Some((window, rings.min(blocks))),
        cheap_tokens: 5,
        ..FakeModel::new(blocks)
    }
}

fn few(max_tokens: u32) -> woolly::job::SamplingParams {
    woolly::job::SamplingParams {
        max_tokens,
        ignore_eos: true,
        ..params()
    }
}

/// Positions computed so far.
fn positions(model: &FakeModel) -> usize {
    model.counts.positions.load(Ordering::SeqCst)
}

#[test]
fn a_long_sequence_needs_a_ring_of_blocks() {
    let prompt: Vec<u32> = (0..400).map(|position| position * 7 % 26).collect();
    let model = model(32, 40, 1, 20);
    // Five where one token is computed, and two for 28 tokens of a step with its draft.
    assert_eq!(model.window, Some((40, 7)));
    let output = run_one(&model, &prompt, few(100));
    assert_same(
        &[output],
        &[run_one(&FakeModel::new(32), &prompt, few(100))],
        "ring",
    );
}

#[test]
fn a_conversation_goes_on_where_the_window_still_shows_its_end() {
    let window = 40;
    let ask = |model: &FakeModel, others: usize| {
        let (sender, events) = async_channel::bounded(1000);
        let pool = start(model, &workers(1, 1, 100), sender).unwrap();
        let first: Vec<u32> = (0..150).map(|position| position * 5 % 26).collect();
        pool.submit(task(0, &first, few(40)));
        let answer = collect(&events, 1).remove(0);
        for other in 0..others as u32 {
            let prompt: Vec<u32> = (0..70)
                .map(|position| (position * 3 + other) % 26)
                .collect();
            pool.submit(task(0, &prompt, few(2)));
            collect(&events, 1);
        }
        let next: Vec<u32> = first.iter().copied().chain(answer.ids()).collect();
        let before = positions(model);
        pool.submit(task(0, &next, few(1)));
        let continued = collect(&events, 1).remove(0);
        let alone = run_one(&FakeModel::new(64), &next, few(1));
        assert_same(&[continued], &[alone], "continued");
        pool.stop();
        positions(model) - before
    };
    // Of 190 tokens, 189 were computed, which is 11 full blocks.
    let rest = 190 - 11 * KV_BLOCK_TOKENS;
    let plenty = FakeModel {
        window: Some((window, 64)),
        ..FakeModel::new(64)
    };
    assert_eq!(ask(&plenty, 0), rest);
    assert_eq!(ask(&plenty, 4), rest);
    // With one ring only, others take what the window showed, and all is computed again.
    let little = FakeModel {
        window: Some((window, 4 + 108_usize.div_ceil(KV_BLOCK_TOKENS))),
        ..FakeModel::new(64)
    };
    assert_eq!(ask(&little, 0), rest);
    assert_eq!(ask(&little, 4), 190);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// Prompts over a tiny alphabet, so that many begin alike, in pools that are too small to keep everything.
    #[test]
    fn windows_and_little_memory_change_no_output(
        prompts in prop::collection::vec((0u32..3, 1usize..150, 1u32..60, -1i32..2), 1..14),
        window in 1usize..90,
        slots in 1usize..6,
        prefill_chunk in 1usize..70,
        blocks in 14usize..50,
    ) {
        let model = model(blocks, window, slots, prefill_chunk);
        let prompt = |kind: u32, length: usize| -> Vec<u32> {
            (0..length as u32).map(|position| (position / 20 * kind + position % 4) % 26).collect()
        };
        let tasks: Vec<_> = prompts
            .iter()
            .enumerate()
            .map(|(job, &(kind, length, most, priority))| Task {
                priority,
                ..task(job as i64, &prompt(kind, length), few(most))
            })
            .collect();
        let expected: Vec<_> = prompts
            .iter()
            .map(|&(kind, length, most, _)| run_one(&FakeModel::new(64), &prompt(kind, length), few(most)))
            .collect();
        let outputs = run(&model, &workers(1, slots, prefill_chunk), tasks);
        assert_same(&outputs, &expected, "windows");
    }
}
