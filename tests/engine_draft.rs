//! Speculation: fewer steps where text repeats itself, and the same output.

use std::sync::atomic::Ordering;

use woolly::config::Workers;
use woolly::job::{SamplingParams, Shaping};

use super::engine_fake::{END, FakeModel, Output, assert_same, params, run, task, workers};
use super::engine_pool::tasks;

/// A model on which five tokens are as cheap as one.
fn cheap(model: FakeModel) -> FakeModel {
    FakeModel {
        cheap_tokens: 5,
        ..model
    }
}

fn with(speculation: bool, slots: usize) -> Workers {
    Workers {
        speculation,
        ..workers(1, slots, 8)
    }
}

fn scripted(ids: &[u32], speculation: bool, params: SamplingParams) -> (Output, usize) {
    let model = cheap(FakeModel::scripted(ids));
    let output = run(&model, &with(speculation, 1), vec![task(0, &[0], params)]).remove(0);
    (output, model.counts.steps.load(Ordering::SeqCst))
}

#[test]
fn repeated_text_takes_fewer_steps() {
    // Four tokens over and over: after the first six, drafts of four are right.
    let script: Vec<u32> = [1, 2, 3, 4].repeat(10);
    let many = SamplingParams {
        max_tokens: 40,
        ..params()
    };
    let (plain, steps) = scripted(&script, false, many.clone());
    assert_eq!((plain.ids(), steps), (script.clone(), 40));
    let (drafted, steps) = scripted(&script, true, many.clone());
    assert_same(&[drafted], &[plain], "drafted");
    // Six alone, then five at a time, and the last four.
    assert_eq!(steps, 6 + 6 + 1);

    // The end comes in the middle of a draft that was right so far.
    let mut ends = script[..17].to_vec();
    ends.push(END);
    let (plain, _) = scripted(&ends, false, many.clone());
    let (drafted, steps) = scripted(&ends, true, many.clone());
    assert_eq!(plain.ids(), ends);
    assert_same(&[drafted], &[plain], "ended");
    assert!(steps < 12, "{steps}");

    // What penalties see is what was generated, also inside a draft.
    let penalized = SamplingParams {
        shaping: Shaping {
            frequency_penalty: 0.3,
            ..Shaping::default()
        },
        ..many
    };
    let (plain, _) = scripted(&script, false, penalized.clone());
    let (drafted, _) = scripted(&script, true, penalized);
    assert_same(&[drafted], &[plain], "penalized");
}

#[test]
fn drafts_change_no_byte_of_any_task() {
    let expected = run(&FakeModel::new(200), &with(false, 1), tasks());
    for (blocks, slots) in [(200, 1), (200, 2), (200, 16), (20, 4)] {
        let model = cheap(FakeModel::new(blocks));
        let outputs = run(&model, &with(true, slots), tasks());
        assert_same(
            &outputs,
            &expected,
            &format!("{blocks} blocks, {slots} slots"),
        );
    }
}
