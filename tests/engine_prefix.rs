//! Equal beginnings are computed once: by sequences that run at the same time, and by later ones. What comes out is
//! what each gives alone.

use std::sync::atomic::Ordering;

use woolly::model::KV_BLOCK_TOKENS;

use super::engine_fake::{
    FakeModel, Output, assert_same, collect, params, run, run_one, start, task, workers,
};

/// Tokens that continue in a way of their own, and never end a sequence.
fn prompt(common: usize, own: &[u32]) -> Vec<u32> {
    let common = (0..common as u32).map(|position| (position * 5 + 3) % 26);
    common.chain(own.iter().copied()).collect()
}

fn few(max_tokens: u32) -> woolly::job::SamplingParams {
    woolly::job::SamplingParams {
        max_tokens,
        ignore_eos: true,
        ..params()
    }
}

fn alone(prompts: &[Vec<u32>], max_tokens: u32) -> Vec<Output> {
    let one = |prompt: &Vec<u32>| run_one(&FakeModel::new(64), prompt, few(max_tokens));
    prompts.iter().map(one).collect()
}

fn positions(model: &FakeModel) -> usize {
    model.counts.positions.load(Ordering::SeqCst)
}

#[test]
fn sequences_that_run_together_compute_their_common_prefix_once() {
    // Three full blocks and a piece of the fourth are common.
    let common = 3 * KV_BLOCK_TOKENS + 5;
    let prompts: Vec<Vec<u32>> = (0..6)
        .map(|own| prompt(common, &[own, own + 1, 7]))
        .collect();
    for prefill_chunk in [4, 16, 100] {
        let (gate, gated) = async_channel::bounded(1);
        let model = FakeModel {
            gate: Some(gated),
            ..FakeModel::new(64)
        };
        let tasks = prompts.iter().enumerate();
        let tasks = tasks
            .map(|(job, prompt)| task(job as i64, prompt, few(4)))
            .collect();
        let outputs = run(&model, &workers(1, 6, prefill_chunk), tasks);
        drop(gate);
        assert_same(
            &outputs,
            &alone(&prompts, 4),
            &format!("chunk {prefill_chunk}"),
        );
        // The last of four tokens is not fed back.
        let (whole, shared) = (common + 3 + 3, 3 * KV_BLOCK_TOKENS);
        assert_eq!(
            positions(&model),
            whole + 5 * (whole - shared),
            "chunk {prefill_chunk}"
        );
    }
}

#[test]
fn a_later_sequence_finds_prompts_and_answers_of_earlier_ones() {
    let model = FakeModel::new(64);
    let (sender, events) = async_channel::bounded(100);
    let pool = start(&model, &workers(1, 1, 100), sender).unwrap();
    let first = prompt(KV_BLOCK_TOKENS, &[1]);
    pool.submit(task(0, &first, few(40)));
    let answer = collect(&events, 1).remove(0);
    assert_eq!(positions(&model), 17 + 39);

    // The conversation goes on: 56 of its positions were computed, which is three full blocks.
    let next: Vec<u32> = first
        .iter()
        .copied()
        .chain(answer.ids())
        .chain([2, 3])
        .collect();
    pool.submit(task(0, &next, few(5)));
    let continued = collect(&events, 1).remove(0);
    assert_eq!(positions(&model), 56 + (next.len() - 48) + 4);
    assert_same(&[continued], &alone(&[next], 5), "continued");

    // The same prompt again, two full blocks: the last one is computed again for its logits.
    let before = positions(&model);
    let again = first
        .iter()
        .copied()
        .chain(answer.ids())
        .take(32)
        .collect::<Vec<u32>>();
    pool.submit(task(0, &again, few(1)));
    let repeated = collect(&events, 1).remove(0);
    assert_eq!(positions(&model), before + KV_BLOCK_TOKENS);
    assert_same(&[repeated], &alone(&[again], 1), "again");
    pool.stop();
}

#[test]
fn a_pool_that_is_too_small_to_keep_everything_changes_nothing() {
    // Each needs 7 blocks in the end; 15 hold two of them, and little of what others left.
    let prompts: Vec<Vec<u32>> = (0..12)
        .map(|job: u32| prompt(16 + 8 * (job as usize % 4), &[job, job % 3, 9, job % 5]))
        .collect();
    let expected = alone(&prompts, 50);
    for (blocks, slots) in [(15, 12), (8, 3), (15, 1)] {
        let tasks = prompts.iter().enumerate();
        let tasks = tasks
            .map(|(job, prompt)| task(job as i64, prompt, few(50)))
            .collect();
        let outputs = run(&FakeModel::new(blocks), &workers(1, slots, 10), tasks);
        assert_same(
            &outputs,
            &expected,
            &format!("{blocks} blocks, {slots} slots"),
        );
    }
}
