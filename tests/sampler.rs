//! Draws against a plain oracle: sort everything, in f64, and walk.

use proptest::prelude::*;
use woolly::engine::{Sampler, Scratch, Unusable, report};
use woolly::job::{SamplingParams, Shaping};

fn params(temperature: f32, top_k: u32, top_p: f32, seed: u64) -> SamplingParams {
    SamplingParams {
        max_tokens: 1,
        temperature,
        top_k,
        top_p,
        seed,
        stop: Vec::new(),
        ignore_eos: false,
        logprobs: None,
        shaping: woolly::job::Shaping::default(),
    }
}

fn draw(
    logits: &[f32],
    banned: &[u32],
    params: &SamplingParams,
    index: usize,
) -> Result<u32, Unusable> {
    Sampler::new(params, 0).draw(logits, banned, index, &mut Scratch::default())
}

/// Ids in candidate order with their probabilities after temperature, top-k and top-p.
fn distribution(logits: &[f32], banned: &[u32], params: &SamplingParams) -> Vec<(u32, f64)> {
    let mut all: Vec<(u32, f64)> = (0..)
        .zip(logits.iter().map(|&logit| f64::from(logit)))
        .collect();
    all.retain(|(id, _)| !banned.contains(id));
    all.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    if params.top_k > 0 {
        all.truncate(params.top_k as usize);
    }
    let max = all[0].1;
    for (_, value) in &mut all {
        *value = libm::exp((*value - max) / f64::from(params.temperature));
    }
    normalize(&mut all);
    let Shaping {
        min_p, typical_p, ..
    } = params.shaping;
    if typical_p < 1.0 {
        all = typical(all, f64::from(typical_p));
        normalize(&mut all);
    }
    let least = all[0].1 * f64::from(min_p);
    let mut sum = 0.0;
    let reached = all.iter().position(|(_, p)| {
        sum += p;
        sum >= f64::from(params.top_p)
    });
    if let (Some(end), true) = (reached, params.top_p < 1.0) {
        all.truncate(end + 1);
    }
    all.retain(|(_, p)| *p >= least);
    normalize(&mut all);
    all
}

/// The candidates of the nearest surprise, in their old order.
fn typical(all: Vec<(u32, f64)>, share: f64) -> Vec<(u32, f64)> {
    let surprise = |p: f64| -libm::log(p);
    let mean: f64 = all.iter().map(|(_, p)| p * surprise(*p)).sum();
    let mut order: Vec<usize> = (0..all.len()).collect();
    let distance = |index: usize| (surprise(all[index].1) - mean).abs();
    order.sort_by(|a, b| distance(*a).total_cmp(&distance(*b)));
    let mut sum = 0.0;
    let last = order.iter().position(|&index| {
        sum += all[index].1;
        sum >= share
    });
    order.truncate(last.map_or(order.len(), |last| last + 1));
    order.sort_unstable();
    order.into_iter().map(|index| all[index]).collect()
}

fn normalize(all: &mut [(u32, f64)]) {
    let total: f64 = all.iter().map(|(_, p)| p).sum();
    all.iter_mut().for_each(|(_, p)| *p /= total);
}

/// The random number of token `index`, read back from a draw over many equal logits.
fn uniform(params: &SamplingParams, index: usize) -> f64 {
    let flat = SamplingParams {
        temperature: 1.0,
        top_k: 0,
        top_p: 1.0,
        ..params.clone()
    };
    f64::from(draw(&vec![0.0; 1 << 16], &[], &flat, index).expect("finite logits"))
        / f64::from(1 << 16)
}

fn logits(length: impl Into<prop::collection::SizeRange>) -> impl Strategy<Value = Vec<f32>> {
    prop::collection::vec((-800i16..800).prop_map(|v| f32::from(v) / 64.0), length)
}

proptest! {
    #[test]
    fn sampler_draws_where_the_sorted_oracle_does(
        logits in logits(1..1500),
        temperature in 0.05f32..8.0,
        top_k in prop_oneof![Just(0u32), 1u32..100, 100u32..2000],
        top_p in prop_oneof![Just(1.0f32), 0.0f32..1.0],
        banned in prop::collection::btree_set(0u32..1500, 0..3),
        seed: u64,
        index in 0usize..5000,
    ) {
        let banned: Vec<u32> = banned.into_iter().collect();
        prop_assume!((0..logits.len() as u32).any(|id| !banned.contains(&id)));
        let params = params(temperature, top_k, top_p, seed);
        let drawn = draw(&logits, &banned, &params, index).unwrap();
        let expected = distribution(&logits, &banned, &params);
        // Known to 16 bits; and the oracle's own sums may differ from f32 exponentials by 1e-6.
        let point = uniform(&params, index);
        let before: f64 = expected.iter().take_while(|(id, _)| *id != drawn).map(|(_, p)| p).sum();
        let own = expected.iter().find(|(id, _)| *id == drawn);
        // The end of the nucleus may move by one candidate within that error.
        prop_assert!(own.is_some() || before > 1.0 - 1e-5, "{drawn} is no candidate");
        let after = before + own.map_or(1e-5, |(_, p)| *p);
        prop_assert!(before - 1e-5 <= point + 2e-5 && point <= after + 1e-5, "{before} {point} {after}");
    }

    #[test]
    fn sampler_reports_raw_log_probabilities(logits in logits(1..800), top in 0usize..21, seed: u64) {
        let chosen = (seed % logits.len() as u64) as u32;
        let (own, best) = report(&logits, chosen, top, &mut Scratch::default());
        let oracle = distribution(&logits, &[], &params(1.0, 0, 1.0, 0));
        let expected = oracle.iter().find(|(id, _)| *id == chosen).map(|(_, p)| libm::log(*p));
        prop_assert!((f64::from(own) - expected.unwrap()).abs() < 2e-6 * (1.0 + expected.unwrap().abs()));
        let ids = |list: &[(u32, f64)]| list.iter().map(|(id, _)| *id).take(top).collect::<Vec<_>>();
        prop_assert_eq!(best.iter().map(|(id, _)| *id).collect::<Vec<_>>(), ids(&oracle));
        for ((_, got), (_, p)) in best.iter().zip(&oracle) {
            prop_assert!((f64::from(*got) - libm::log(*p)).abs() < 2e-6 * (1.0 + libm::log(*p).abs()));
        }
    }
}

/// Expected values from an independent ChaCha8 (key = seed, stream = sequence, block = token): the
/// first 53 bits of its block times 1000. A change here breaks every stored job.
const GOLDEN: [(u64, usize, [u32; 6]); 4] = [
    (0, 0, [836, 319, 617, 655, 357, 924]),
    (42, 0, [348, 466, 404, 106, 263, 526]),
    (42, 1, [776, 159, 999, 736, 171, 590]),
    (u64::MAX, 7, [889, 453, 35, 240, 826, 767]),
];

#[test]
fn sampler_golden_uniform_draws() {
    let flat = [0.25f32; 1000];
    for (seed, sequence, expected) in GOLDEN {
        let sampler = Sampler::new(&params(1.0, 0, 1.0, seed), sequence);
        let drawn = [0, 1, 2, 3, 100, 65536].map(|index| {
            sampler
                .draw(&flat, &[], index, &mut Scratch::default())
                .unwrap()
        });
        assert_eq!(drawn, expected, "seed {seed}, sequence {sequence}");
    }
}

/// Expected values from the same generator and a walk in f64.
#[test]
fn sampler_golden_draws_of_a_shaped_row() {
    let logits: Vec<f32> = (0..500u32)
        .map(|id| ((id * 7919) % 1009) as f32 / 100.0)
        .collect();
    let drawn = |params: SamplingParams| {
        let sampler = Sampler::new(&params, 0);
        let mut scratch = Scratch::default();
        (0..6)
            .map(|index| sampler.draw(&logits, &[], index, &mut scratch).unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(drawn(params(1.0, 0, 1.0, 42)), [119, 284, 185, 99, 310, 14]);
    assert_eq!(
        drawn(params(0.7, 40, 0.95, 42)),
        [409, 475, 442, 310, 33, 119]
    );
    assert_eq!(drawn(params(1.5, 0, 0.9, 7)), [443, 225, 119, 1, 20, 310]);
}

#[test]
fn sampler_draws_do_not_depend_on_earlier_draws() {
    let logits: Vec<f32> = (0..100u32).map(|id| (id % 10) as f32).collect();
    let params = params(2.0, 0, 1.0, 5);
    let sampler = Sampler::new(&params, 0);
    let mut scratch = Scratch::default();
    let forward: Vec<u32> = (0..50)
        .map(|index| sampler.draw(&logits, &[], index, &mut scratch).unwrap())
        .collect();
    let backward: Vec<u32> = (0..50)
        .rev()
        .map(|index| sampler.draw(&logits, &[], index, &mut scratch).unwrap())
        .collect();
    assert!(forward.iter().eq(backward.iter().rev()));
}

#[test]
fn sampler_frequencies_follow_the_probabilities() {
    // Probabilities 1/2, 1/4, 1/8, 1/8 by temperature 1 over logarithms of 4, 2, 1, 1.
    let logits = [0.0, libm::logf(4.0), 0.0, libm::logf(2.0)];
    let sampler = Sampler::new(&params(1.0, 0, 1.0, 1), 0);
    let mut counts = [0; 4];
    for index in 0..8000 {
        counts[sampler
            .draw(&logits, &[], index, &mut Scratch::default())
            .unwrap() as usize] += 1;
    }
    for (count, expected) in counts.into_iter().zip([1000i32, 4000, 1000, 2000]) {
        // Five standard deviations of the largest.
        assert!((count - expected).abs() < 225, "{counts:?}");
    }
}

#[test]
fn sampler_greedy_takes_the_lowest_id_of_a_tie() {
    let greedy = params(0.0, 0, 1.0, 9);
    assert_eq!(draw(&[1.0, 3.0, 3.0, 2.0], &[], &greedy, 0), Ok(1));
    assert_eq!(draw(&[1.0, 3.0, 3.0, 2.0], &[1], &greedy, 0), Ok(2));
    assert_eq!(draw(&[1.0, 3.0, 3.0, 2.0], &[1, 2], &greedy, 0), Ok(3));
    assert_eq!(draw(&[f32::NEG_INFINITY, -1e30], &[], &greedy, 0), Ok(1));
}

#[test]
fn sampler_narrow_settings_are_greedy() {
    let logits = [1.0, 3.0, 3.0, 2.0];
    for index in 0..100 {
        assert_eq!(
            draw(&logits, &[], &params(1.0, 1, 1.0, 9), index),
            Ok(1),
            "top_k 1"
        );
        assert_eq!(
            draw(&logits, &[], &params(1.0, 0, 0.0, 9), index),
            Ok(1),
            "top_p 0"
        );
        assert_ne!(
            draw(&logits, &[], &params(1e-30, 0, 1.0, 9), index),
            Ok(3),
            "hardly any heat"
        );
        let ties = draw(&logits, &[], &params(1.0, 2, 1.0, 9), index).unwrap();
        assert!(ties == 1 || ties == 2, "top_k 2 keeps two");
    }
}

#[test]
fn sampler_applies_temperature_before_top_p() {
    // Probabilities 0.64, 0.23, 0.09, 0.03 at temperature 1; nearly even at temperature 100.
    let logits = [3.0, 2.0, 1.0, 0.0];
    let seen_of = |logits: &[f32], params: &SamplingParams| {
        let mut seen: Vec<u32> = (0..300)
            .map(|index| draw(logits, &[], params, index).unwrap())
            .collect();
        seen.sort_unstable();
        seen.dedup();
        seen
    };
    let seen = |params: &SamplingParams| seen_of(&logits, params);
    assert_eq!(seen(&params(1.0, 0, 0.6, 3)), [0]);
    assert_eq!(seen(&params(1.0, 0, 0.7, 3)), [0, 1]);
    assert_eq!(seen(&params(100.0, 0, 0.6, 3)), [0, 1, 2]);
    // Half of four equal ones is two of them, not three.
    assert_eq!(seen_of(&[1.0; 4], &params(1.0, 0, 0.5, 3)), [0, 1]);
    // Top-p is a share of what top-k left: of 0.73 and 0.27, the first alone has 0.7.
    assert_eq!(seen(&params(1.0, 2, 0.7, 3)), [0]);
}

#[test]
fn sampler_ends_with_the_last_candidate_that_has_weight() {
    // Impossible tokens (minus infinity, or an exponential that underflows) are never drawn.
    let mut logits = vec![f32::NEG_INFINITY; 300];
    logits[200] = 0.0;
    logits[100] = -1000.0;
    for index in 0..1000 {
        assert_eq!(draw(&logits, &[], &params(1.0, 0, 1.0, 4), index), Ok(200));
        assert_eq!(
            draw(&logits, &[], &params(1.0, 5, 0.999_999, 4), index),
            Ok(200)
        );
    }
}

#[test]
fn sampler_refuses_rows_it_cannot_use() {
    for temperature in [0.0, 1.0] {
        let params = params(temperature, 0, 1.0, 4);
        let nan = draw(&[0.0, f32::NAN, 1.0], &[], &params, 0).unwrap_err();
        assert!(matches!(nan, Unusable::NotFinite { id: 1, value } if value.is_nan()));
        assert_eq!(
            draw(&[0.0, 1.0, f32::INFINITY], &[], &params, 0),
            Err(Unusable::NotFinite {
                id: 2,
                value: f32::INFINITY
            })
        );
        // Also where the token is banned: the row as a whole cannot be trusted.
        assert!(draw(&[0.0, f32::NAN], &[1], &params, 0).is_err());
        assert_eq!(
            draw(&[f32::NEG_INFINITY; 3], &[], &params, 0),
            Err(Unusable::NothingLeft)
        );
        assert_eq!(
            draw(&[1.0, 2.0], &[0, 1], &params, 0),
            Err(Unusable::NothingLeft)
        );
    }
}

#[test]
fn min_p_and_typical_p_bound_what_is_drawn() {
    let logits = [5.0, 4.5, 1.0, 3.0, 4.0, -2.0, 4.0, 0.5];
    let mut sets = vec![];
    for (min_p, typical_p, top_k, top_p) in [
        (0.0, 1.0, 0, 1.0),
        (0.3, 1.0, 0, 1.0),
        (0.3, 1.0, 3, 1.0),
        (0.1, 1.0, 0, 0.6),
        (1.0, 1.0, 0, 1.0),
        (0.0, 0.5, 0, 1.0),
        (0.0, 0.2, 0, 1.0),
        (0.0, 0.9, 4, 0.8),
        (0.7, 0.9, 0, 1.0),
    ] {
        let params = SamplingParams {
            shaping: Shaping {
                min_p,
                typical_p,
                ..Shaping::default()
            },
            ..params(1.0, top_k, top_p, 11)
        };
        let expected = distribution(&logits, &[], &params);
        let mut counts = [0u32; 8];
        for index in 0..4000 {
            counts[draw(&logits, &[], &params, index).unwrap() as usize] += 1;
        }
        let mut set = vec![];
        for (id, count) in (0..).zip(counts) {
            let share = expected
                .iter()
                .find(|(own, _)| *own == id)
                .map_or(0.0, |(_, p)| *p);
            let drawn = f64::from(count) / 4000.0;
            // Four standard deviations at most, and none where there is no probability.
            let allowed = 4.0 * (share * (1.0 - share) / 4000.0).sqrt();
            assert!(
                (drawn - share).abs() <= allowed,
                "{params:?}: {id} {drawn} {share}"
            );
            if count > 0 {
                set.push(id);
            }
        }
        sets.push(set);
    }
    // By hand: shares of the best are 1, 0.61, 0.37, 0.37, 0.14 for ids 0, 1, 4, 6, 3.
    assert_eq!(sets[1], [0, 1, 4, 6]);
    assert_eq!(sets[2], [0, 1, 4]);
    assert_eq!(sets[4], [0]);
    assert!(
        !sets[6].contains(&0),
        "the likeliest is not the most typical: {sets:?}"
    );
}
