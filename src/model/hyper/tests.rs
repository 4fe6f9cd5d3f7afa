//! Keys of several architectures, and what becomes of them.

use super::*;
use crate::weights::gguf::Value;

/// The sizes that every file has, and some more keys of the architecture.
fn metadata(architecture: &str, keys: &[(&str, Value)]) -> Metadata {
    let sizes = [
        ("block_count", Value::U32(8)),
        ("context_length", Value::U32(4096)),
        ("embedding_length", Value::U32(64)),
        ("feed_forward_length", Value::U32(96)),
        ("attention.head_count", Value::U32(4)),
        ("attention.layer_norm_rms_epsilon", Value::F32(1e-6)),
        ("attention.layer_norm_epsilon", Value::F32(1e-5)),
    ];
    let all = sizes.iter().chain(keys);
    let mut pairs: Vec<(String, Value)> = all
        .map(|(key, value)| (format!("{architecture}.{key}"), value.clone()))
        .collect();
    let name = Value::String(architecture.to_owned());
    pairs.push(("general.architecture".to_owned(), name));
    Metadata::from_pairs(pairs)
}

fn read(architecture: &str, keys: &[(&str, Value)]) -> Hyper {
    Hyper::read(&metadata(architecture, keys)).unwrap().0
}

/// The key that is refused, without the architecture, and why.
fn refusal(architecture: &str, keys: &[(&str, Value)]) -> (String, HyperProblem) {
    match Hyper::read(&metadata(architecture, keys)) {
        Err(Error::Hyper { key, problem }) => {
            let name = key.strip_prefix(architecture).unwrap();
            (name[1..].to_owned(), problem)
        }
        other => panic!("{other:?}"),
    }
}

fn text(value: &str) -> Value {
    Value::String(value.to_owned())
}

fn windows(hyper: &Hyper) -> Vec<Option<usize>> {
    hyper.sights.iter().map(|sight| sight.window).collect()
}

#[test]
fn every_sixth_layer_of_gemma3_sees_everything_with_a_rotation_of_its_own() {
    let hyper = read(
        "gemma3",
        &[
            ("attention.sliding_window", Value::U32(32)),
            ("rope.freq_base", Value::F32(1e6)),
            ("rope.scaling.type", text("linear")),
            ("rope.scaling.factor", Value::F32(8.0)),
        ],
    );
    let w = Some(32);
    assert_eq!(windows(&hyper), [w, w, w, w, w, None, w, w]);
    let global = Rotation {
        base: 1e6,
        scaling: Scaling::Linear { factor: 8.0 },
    };
    let local = Rotation {
        base: 10_000.0,
        scaling: Scaling::None,
    };
    assert_eq!(hyper.rotations, [global, local]);
    let rotations: Vec<_> = hyper.sights.iter().map(|sight| sight.rotation).collect();
    assert_eq!(rotations[4..7], [Some(1), Some(0), Some(1)]);
    assert_eq!(hyper.factors.embedding, Some(8.0));

    let hyper = read(
        "gemma3",
        &[
            ("attention.sliding_window", Value::U32(32)),
            ("rope.freq_base_swa", Value::F32(500.0)),
        ],
    );
    assert_eq!(
        (hyper.rotations[1].base, hyper.rotations[0].base),
        (500.0, 10_000.0)
    );
}

#[test]
fn a_file_may_say_which_layers_have_a_window() {
    let flags = [true, true, false, true, false, true, true, false];
    let hyper = read(
        "gemma2",
        &[(
            "attention.sliding_window_pattern",
            Value::Bools(flags.to_vec()),
        )],
    );
    // Gemma 2 has a window of 4096 where the file does not say.
    let expected = flags.map(|local| local.then_some(4096));
    assert_eq!(windows(&hyper), expected);
    let plain = windows(&read("gemma2", &[]));
    assert_eq!(plain[..4], [Some(4096), None, Some(4096), None]);
    let never = read("gemma2", &[("attention.sliding_window", Value::U32(0))]);
    assert_eq!(windows(&never), [None; 8]);
    let short = Value::Bools(vec![true; 7]);
    assert_eq!(
        refusal("gemma2", &[("attention.sliding_window_pattern", short)]),
        (
            "attention.sliding_window_pattern".to_owned(),
            HyperProblem::Pattern {
                found: 7,
                layers: 8
            }
        )
    );
    assert_eq!(
        refusal("qwen3", &[("attention.sliding_window", Value::U32(64))]).1,
        HyperProblem::SlidingWindow { found: 64 }
    );
}

#[test]
fn every_fourth_layer_of_smollm3_knows_no_positions() {
    let hyper = read("smollm3", &[]);
    let rotated: Vec<bool> = hyper
        .sights
        .iter()
        .map(|sight| sight.rotation.is_some())
        .collect();
    assert_eq!(rotated, [true, true, true, false, true, true, true, false]);
}

#[test]
fn scalings_are_read_by_name_and_unknown_ones_refused() {
    let scaling = |keys: &[(&str, Value)]| read("llama", keys).rotations[0].scaling;
    assert_eq!(scaling(&[]), Scaling::None);
    let factor = ("rope.scaling.factor", Value::F32(4.0));
    let linear = Scaling::Linear { factor: 4.0 };
    assert_eq!(scaling(std::slice::from_ref(&factor)), linear);
    assert_eq!(scaling(&[("rope.scale_linear", Value::F32(4.0))]), linear);
    assert_eq!(
        scaling(&[("rope.scaling.type", text("none")), factor.clone()]),
        Scaling::None
    );
    let yarn = scaling(&[
        ("rope.scaling.type", text("yarn")),
        factor.clone(),
        ("rope.scaling.original_context_length", Value::U32(1024)),
        ("rope.scaling.yarn_beta_fast", Value::F32(16.0)),
    ]);
    assert_eq!(
        yarn,
        Scaling::Yarn(Yarn {
            factor: 4.0,
            original: 1024,
            extrapolation: 1.0,
            attention: 1.0,
            beta_fast: 16.0,
            beta_slow: 1.0,
        })
    );
    let long = scaling(&[
        ("rope.scaling.type", text("longrope")),
        ("rope.scaling.attn_factor", Value::F32(1.25)),
    ]);
    assert_eq!(
        long,
        Scaling::Long {
            attention: 1.25,
            original: 4096
        }
    );
    let found = "su".to_owned();
    assert_eq!(
        refusal("llama", &[("rope.scaling.type", text("su"))]),
        (
            "rope.scaling.type".to_owned(),
            HyperProblem::Scaling { found }
        )
    );
    let negative = Value::F32(-1.0);
    assert_eq!(
        refusal("llama", &[("rope.scaling.factor", negative)]).1,
        HyperProblem::NotPositive { found: -1.0 }
    );
    assert_eq!(
        refusal("gpt2", &[factor]).1,
        HyperProblem::NotFollowed { found: 4.0 }
    );
}

#[test]
fn a_factor_counts_where_the_architecture_has_it_and_is_refused_elsewhere() {
    let keys = [
        ("attention.scale", Value::F32(0.5)),
        ("embedding_scale", Value::F32(12.0)),
        ("residual_scale", Value::F32(0.25)),
        ("logit_scale", Value::F32(8.0)),
    ];
    let factors = read("granite", &keys).factors;
    assert_eq!(
        (
            factors.scores,
            factors.embedding,
            factors.residual,
            factors.logits
        ),
        (0.5, Some(12.0), Some(0.25), Some(0.125))
    );
    assert_eq!(read("command-r", &keys[3..]).factors.logits, Some(8.0));
    for (key, value) in &keys[1..] {
        let (name, problem) = refusal("llama", &[(key, value.clone())]);
        assert_eq!(name, *key);
        assert!(
            matches!(problem, HyperProblem::NotFollowed { .. }),
            "{problem}"
        );
        // What changes nothing may stand anywhere.
        read("llama", &[(key, Value::F32(1.0))]);
        read("llama", &[(key, Value::F32(0.0))]);
    }
    let bent = read("gemma2", &[("attn_logit_softcapping", Value::F32(20.0))]).factors;
    assert_eq!((bent.score_cap, bent.logit_cap), (Some(20.0), Some(30.0)));
    assert_eq!(
        refusal("llama", &[("attention.max_alibi_bias", Value::F32(8.0))]).1,
        HyperProblem::NotFollowed { found: 8.0 }
    );
    assert_eq!(
        refusal("llama", &[("attention.causal", Value::Bool(false))]).1,
        HyperProblem::NotCausal
    );
}

#[test]
fn mixtures_are_read_where_there_may_be_some() {
    let keys = |count, used| {
        [
            ("expert_count", Value::U32(count)),
            ("expert_used_count", Value::U32(used)),
            ("expert_feed_forward_length", Value::U32(32)),
        ]
    };
    let experts = read("qwen3moe", &keys(8, 2)).experts.unwrap();
    assert_eq!(
        (experts.count, experts.used, experts.feed_forward),
        (8, 2, 32)
    );
    // Mixtral's experts are as wide as a feed-forward part.
    let experts = read("llama", &keys(8, 2)[..2]).experts.unwrap();
    assert_eq!(experts.feed_forward, 96);
    assert_eq!(read("llama", &[]).experts, None);
    assert_eq!(
        refusal("llama", &keys(2, 3)).1,
        HyperProblem::ExpertsUsed { used: 3, count: 2 }
    );
    assert_eq!(
        refusal("qwen2", &keys(8, 2)).1,
        HyperProblem::Experts { found: 8 }
    );
}
