//! From drawn tokens to streamed text and the reason of the end, with scripted draws.

use std::sync::atomic::Ordering;

use woolly::job::{FinishReason, SamplingParams, Shaping};

use crate::engine_fake::*;

const A: u32 = 0;
const B: u32 = 1;
const HELLO: u32 = 27;
const STOP: u32 = 28;

/// The script gives the output: prompts have one token, and each draw is the best of its row.
fn scripted(ids: &[u32], params: SamplingParams) -> Output {
    run_one(&FakeModel::scripted(ids), &[A], params)
}

fn with_stop(stops: &[&str]) -> SamplingParams {
    SamplingParams {
        stop: stops.iter().map(|s| s.to_string()).collect(),
        ..params()
    }
}

#[test]
fn engine_text_the_end_token_is_counted_and_prints_nothing() {
    let output = scripted(&[A, B, END], params());
    assert_eq!(output.ids(), [A, B, END]);
    assert_eq!(output.texts(), ["a", "b", ""]);
    assert_eq!(output.finish(), (FinishReason::Stop, ""));
    assert_eq!(scripted(&[OTHER_END], params()).ids(), [OTHER_END]);
}

#[test]
fn engine_text_the_length_is_max_tokens() {
    let output = scripted(
        &[A, B, A, B],
        SamplingParams {
            max_tokens: 3,
            ..params()
        },
    );
    assert_eq!(output.ids(), [A, B, A]);
    assert_eq!(output.finish(), (FinishReason::Length, ""));
    // An end token in the last place is still the reason.
    let output = scripted(
        &[A, B, END],
        SamplingParams {
            max_tokens: 3,
            ..params()
        },
    );
    assert_eq!(output.finish(), (FinishReason::Stop, ""));
}

#[test]
fn engine_text_zero_tokens_only_evaluate_the_prompt() {
    let model = FakeModel::new(64);
    let output = run_one(
        &model,
        &[1; 20],
        SamplingParams {
            max_tokens: 0,
            ..params()
        },
    );
    assert_eq!(output.ids(), Vec::<u32>::new());
    assert_eq!(output.finish(), (FinishReason::Length, ""));
    assert_eq!(model.counts.positions.load(Ordering::SeqCst), 20);
    assert_eq!(
        model.counts.rows.load(Ordering::SeqCst),
        0,
        "no logits for nothing"
    );
}

#[test]
fn engine_text_the_context_ends_a_sequence() {
    let endless = SamplingParams {
        max_tokens: u32::MAX,
        ignore_eos: true,
        ..params()
    };
    let output = run_one(&FakeModel::new(64), &[1; CONTEXT - 10], endless.clone());
    assert_eq!(output.tokens.len(), 10);
    assert_eq!(output.finish(), (FinishReason::Length, ""));
    let output = run_one(&FakeModel::new(64), &[1; CONTEXT], endless);
    assert_eq!(output.tokens.len(), 0);
    assert_eq!(output.finish(), (FinishReason::Length, ""));
}

#[test]
fn engine_text_ignore_eos_bans_every_end_token() {
    // Scripted rows have 1 for one token and 0 for all others: without it, id 0 is the best.
    let ignoring = SamplingParams {
        ignore_eos: true,
        max_tokens: 3,
        ..params()
    };
    let output = scripted(&[B, END, OTHER_END], ignoring.clone());
    assert_eq!(output.ids(), [B, A, A]);
    assert_eq!(output.finish(), (FinishReason::Length, ""));
    // What is reported is the row before the ban.
    let output = scripted(
        &[END, B, B],
        SamplingParams {
            logprobs: Some(1),
            ..ignoring
        },
    );
    assert_eq!(output.tokens[0].id, A);
    assert_eq!(output.tokens[0].top[0].0, END);
}

#[test]
fn engine_text_half_characters_wait_for_their_other_half() {
    let output = scripted(
        &[A, E_ACUTE[0], E_ACUTE[1], GRIN[0], GRIN[1], END],
        params(),
    );
    assert_eq!(output.texts(), ["a", "", "é", "", "😀", ""]);
    assert_eq!(output.finish(), (FinishReason::Stop, ""));
}

#[test]
fn engine_text_an_unfinished_character_is_replaced_at_the_end() {
    let output = scripted(
        &[A, GRIN[0]],
        SamplingParams {
            max_tokens: 2,
            ..params()
        },
    );
    assert_eq!(output.texts(), ["a", ""]);
    assert_eq!(output.finish(), (FinishReason::Length, "\u{fffd}"));
    let output = scripted(&[E_ACUTE[0], END], params());
    assert_eq!(output.finish(), (FinishReason::Stop, "\u{fffd}"));
    let output = scripted(&[E_ACUTE[0], A, END], params());
    assert_eq!(output.texts(), ["", "\u{fffd}a", ""]);
}

#[test]
fn engine_text_a_stop_string_in_one_token() {
    let output = scripted(&[A, STOP, B], with_stop(&["STOP"]));
    assert_eq!(output.ids(), [A, STOP]);
    assert_eq!(output.texts(), ["a", ""]);
    assert_eq!(output.finish(), (FinishReason::Stop, ""));
    // The rest of the token is dropped with it.
    let output = scripted(&[A, HELLO, B], with_stop(&["ll"]));
    assert_eq!(output.texts(), ["a", "he"]);
}

#[test]
fn engine_text_a_stop_string_over_several_tokens() {
    let output = scripted(&[B, A, HELLO, SPACE, B, A], with_stop(&["ahello b"]));
    assert_eq!(output.ids(), [B, A, HELLO, SPACE, B]);
    assert_eq!(output.texts(), ["b", "", "", "", ""]);
    assert_eq!(output.finish(), (FinishReason::Stop, ""));
}

#[test]
fn engine_text_a_stop_string_over_half_characters() {
    let output = scripted(
        &[A, E_ACUTE[0], E_ACUTE[1], GRIN[0], GRIN[1], A],
        with_stop(&["é😀"]),
    );
    assert_eq!(output.texts(), ["a", "", "", "", ""]);
    assert_eq!(output.finish(), (FinishReason::Stop, ""));
}

#[test]
fn engine_text_what_was_held_comes_out_when_it_was_no_stop_string() {
    let output = scripted(
        &[A, HELLO, B, B],
        SamplingParams {
            max_tokens: 4,
            ..with_stop(&["ahello?", "bbb"])
        },
    );
    assert_eq!(output.texts(), ["", "", "ahello", ""]);
    assert_eq!(output.finish(), (FinishReason::Length, "bb"));
    let output = scripted(&[A, B, END], with_stop(&["bc"]));
    assert_eq!(output.texts(), ["a", "", ""]);
    assert_eq!(output.finish(), (FinishReason::Stop, "b"));
}

#[test]
fn engine_text_the_replacement_at_the_end_may_complete_a_stop_string() {
    let params = SamplingParams {
        max_tokens: 2,
        ..with_stop(&["a\u{fffd}"])
    };
    let output = scripted(&[A, GRIN[0]], params);
    assert_eq!(output.texts(), ["", ""]);
    assert_eq!(output.finish(), (FinishReason::Stop, ""));
}

#[test]
fn engine_text_log_probabilities_are_reported_when_asked() {
    let output = scripted(&[B, END], params());
    assert!(
        output
            .tokens
            .iter()
            .all(|token| token.logprob.is_none() && token.top.is_empty())
    );
    let output = scripted(
        &[B, END],
        SamplingParams {
            logprobs: Some(0),
            ..params()
        },
    );
    // One logit is 1, the other 47 are 0.
    let expected = 1.0 - libm::log(std::f64::consts::E + 47.0);
    let logprob = output.tokens[0].logprob.unwrap();
    assert!(
        (f64::from(logprob) - expected).abs() < 1e-6,
        "{logprob} {expected}"
    );
    assert!(output.tokens[0].top.is_empty());
    let output = scripted(
        &[B, END],
        SamplingParams {
            logprobs: Some(3),
            temperature: 0.0,
            ..params()
        },
    );
    let ids: Vec<u32> = output.tokens[0].top.iter().map(|top| top.0).collect();
    assert_eq!(ids, [B, A, 2]);
    assert_eq!(output.tokens[0].top[0].1, logprob);
    assert!((logprob - output.tokens[0].top[1].1 - 1.0).abs() < 1e-6);
}

/// Greedy, on a script whose tokens have the logit 1 and all others 0.
fn shaped(ids: &[u32], shaping: woolly::job::Shaping) -> Output {
    scripted(
        ids,
        SamplingParams {
            shaping,
            ..params()
        },
    )
}

#[test]
fn engine_text_stop_tokens_end_a_sequence_and_print_nothing() {
    let output = shaped(
        &[1, 2, 3],
        Shaping {
            stop_tokens: vec![2],
            ..Shaping::default()
        },
    );
    assert_eq!((output.ids(), output.texts()), (vec![1, 2], vec!["b", ""]));
    assert_eq!(output.finish(), (FinishReason::Stop, ""));
}

#[test]
fn engine_text_nothing_ends_a_sequence_before_min_tokens() {
    let shaping = |min_tokens| Shaping {
        min_tokens,
        stop_tokens: vec![5],
        ..Shaping::default()
    };
    // Banned tokens leave the lowest id to a row that is flat otherwise.
    assert_eq!(shaped(&[END, 5, 1, 5, 9], shaping(3)).ids(), [0, 0, 1, 5]);
    assert_eq!(shaped(&[END, 5, 1, 5, 9], shaping(1)).ids(), [0, 5]);
    assert_eq!(shaped(&[END, 5, 1, 5, 9], shaping(0)).ids(), [END]);
}

#[test]
fn engine_text_biases_and_penalties_change_what_is_drawn() {
    let bias = Shaping {
        logit_bias: vec![(7, -1.5), (8, 0.5)],
        ..Shaping::default()
    };
    // 7 is out of the way, and 8 is ahead of the flat rest but behind the script.
    assert_eq!(shaped(&[7, 3, 7, END], bias).ids(), [8, 3, 8, END]);
    let presence = Shaping {
        presence_penalty: 1.5,
        ..Shaping::default()
    };
    assert_eq!(shaped(&[3, 3, 3, END], presence).ids(), [3, 0, 1, END]);
    // Half of 1 is still more than 0; the third time it is not.
    let frequency = Shaping {
        frequency_penalty: 0.5,
        ..Shaping::default()
    };
    assert_eq!(shaped(&[3, 3, 3, END], frequency).ids(), [3, 3, 0, END]);
}

#[test]
fn engine_text_log_probabilities_are_those_of_the_raw_logits() {
    let plain = SamplingParams {
        logprobs: Some(2),
        ..params()
    };
    let biased = SamplingParams {
        shaping: Shaping {
            logit_bias: vec![(4, 90.0)],
            ..Shaping::default()
        },
        ..plain.clone()
    };
    let (plain, biased) = (scripted(&[3], plain), scripted(&[3], biased));
    assert_eq!(biased.ids()[0], 4);
    assert_eq!(plain.tokens[0].top, biased.tokens[0].top);
    assert!(biased.tokens[0].logprob < plain.tokens[0].logprob);
}
