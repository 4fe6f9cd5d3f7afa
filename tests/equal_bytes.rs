//! Same job, same bytes: whatever else runs, on however many threads, with every instruction set.

use woolly::config::IsaChoice;
use woolly::job::{SamplingParams, Shaping};
use woolly::model::LoadedModel;

use crate::support::models::{smollm2, tiny};
use crate::support::runs::{Output, Setup, greedy, run};

/// Sixteen prompts of different lengths, half of them sampled.
pub fn prompts(loaded: &LoadedModel, max_tokens: u32) -> Vec<(Vec<u32>, SamplingParams)> {
    let subjects = [
        "The sea",
        "A small town in winter",
        "Numbers such as 3.14",
        "def f(x):",
    ];
    (0..16u64)
        .map(|i| {
            let text = subjects[i as usize % 4].repeat(1 + i as usize / 2);
            let params = SamplingParams {
                temperature: if i % 2 == 0 { 0.0 } else { 0.9 },
                top_p: 0.95,
                seed: i,
                logprobs: Some(3),
                ignore_eos: true,
                shaping: Shaping {
                    repeat_penalty: if i % 4 == 2 { 1.2 } else { 1.0 },
                    frequency_penalty: if i % 4 == 3 { 0.5 } else { 0.0 },
                    ..Shaping::default()
                },
                ..greedy(max_tokens)
            };
            (loaded.tokenizer.encode(&text, true, true).unwrap(), params)
        })
        .collect()
}

/// The instruction sets that this machine has; portable is left to `also_portable`.
fn simd() -> Vec<IsaChoice> {
    let names: Vec<&str> = woolly::compute::Isa::all()
        .iter()
        .map(|isa| isa.name())
        .collect();
    [(IsaChoice::Avx2, "avx2"), (IsaChoice::Avx512, "avx512")]
        .into_iter()
        .filter(|(_, name)| names.contains(name))
        .map(|(choice, _)| choice)
        .collect()
}

fn setups(isas: &[IsaChoice]) -> Vec<Setup> {
    let mut all = Vec::new();
    for &isa in isas {
        for threads in [1, 2] {
            for slots in [1, 16] {
                all.push(Setup {
                    isa,
                    threads,
                    slots,
                    ..Setup::default()
                });
            }
        }
    }
    all
}

/// Tokens, text and log-probabilities, compared bit for bit.
fn assert_equal(loaded: &LoadedModel, setups: &[Setup], prompts: &[(Vec<u32>, SamplingParams)]) {
    let mut first: Option<Vec<Output>> = None;
    for setup in setups {
        let outputs = run(loaded, *setup, prompts);
        match &first {
            None => first = Some(outputs),
            Some(first) => {
                for (i, (a, b)) in first.iter().zip(&outputs).enumerate() {
                    assert_eq!(a, b, "prompt {i} differs with {setup:?}");
                }
            }
        }
    }
}

#[test]
fn tiny_model_in_every_way() {
    let loaded = tiny();
    let mut isas = simd();
    isas.push(IsaChoice::Portable);
    let mut setups = setups(&isas);
    for prefill_chunk in [1, 5, 7] {
        setups.push(Setup {
            speculation: false,
            prefill_chunk,
            ..Setup::default()
        });
    }
    setups.push(Setup {
        workers: 2,
        threads: 1,
        slots: 3,
        ..Setup::default()
    });
    assert_equal(loaded, &setups, &prompts(loaded, 24));
}

#[test]
fn tiny_model_with_a_kv_pool_that_forces_preemption() {
    let loaded = tiny();
    let block = loaded.model.kv_block_bytes() as u64;
    let setups = [
        Setup::default(),
        Setup {
            kv_bytes: 24 * block,
            ..Setup::default()
        },
    ];
    assert_equal(loaded, &setups, &prompts(loaded, 100));
}

#[test]
fn tiny_model_over_several_attention_spans() {
    let loaded = tiny();
    let text = "one two three four five ".repeat(60);
    let tokens = loaded.tokenizer.encode(&text, true, true).unwrap();
    assert!(tokens.len() > 600, "{}", tokens.len());
    let prompts = vec![
        (
            tokens[..600].to_vec(),
            SamplingParams {
                logprobs: Some(3),
                ..greedy(8)
            }
        );
        3
    ];
    let mut all = setups(&simd());
    all.push(Setup {
        isa: IsaChoice::Portable,
        ..Setup::default()
    });
    all.push(Setup {
        prefill_chunk: 17,
        ..Setup::default()
    });
    assert_equal(loaded, &all, &prompts);
}

#[test]
fn smollm2_with_every_simd_isa() {
    let Some(loaded) = smollm2() else { return };
    assert_equal(loaded, &setups(&simd()), &prompts(loaded, 16));
}

#[test]
fn smollm2_portable_on_two_short_prompts() {
    let Some(loaded) = smollm2() else { return };
    let prompts: Vec<_> = ["Hello", "The sun"]
        .iter()
        .map(|text| {
            (
                loaded.tokenizer.encode(text, true, true).unwrap(),
                greedy(3),
            )
        })
        .collect();
    let setups = [
        Setup::default(),
        Setup {
            isa: IsaChoice::Portable,
            ..Setup::default()
        },
    ];
    assert_equal(loaded, &setups, &prompts);
}
