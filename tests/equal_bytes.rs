//! Same job, same bytes: whatever else runs, on however many threads, with every instruction set.

use woolly::cache::MappedTensors;
use woolly::config::{Cache, IsaChoice, Model, ModelSource, Verify};
use woolly::job::{SamplingParams, Shaping, Token};
use woolly::model::LoadedModel;
use woolly::tensor::{Element, Elements};
use woolly::weights;

use crate::support::models::{
    every_tiny_model, fixture, small, smollm2, smollm2_narrow, tiny, tiny_narrow,
};
use crate::support::runs::{Output, Setup, greedy, run};

/// So many prompts of different lengths, half of them sampled. Many begin alike.
pub fn prompts(
    loaded: &LoadedModel,
    count: u64,
    max_tokens: u32,
) -> Vec<(Vec<u32>, SamplingParams)> {
    let subjects = [
        "The sea",
        "A small town in winter",
        "Numbers such as 3.14",
        "def f(x):",
    ];
    (0..count)
        .map(|i| {
            let text = subjects[i as usize % 4].repeat(1 + i as usize % 16 / 2);
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

/// Whether the long form was asked for: `tests/run.sh --long`.
fn long() -> bool {
    std::env::var_os("WOOLLY_LONG_TESTS").is_some()
}

/// The instruction sets that this machine has; portable is left to `also_portable`.
fn simd() -> Vec<IsaChoice> {
    let names: Vec<&str> = woolly::compute::Isa::all()
        .iter()
        .map(|isa| isa.name())
        .collect();
    [
        (IsaChoice::Avx2, "avx2"),
        (IsaChoice::Avx512, "avx512"),
        (IsaChoice::Neon, "neon"),
    ]
    .into_iter()
    .filter(|(_, name)| names.contains(name))
    .map(|(choice, _)| choice)
    .collect()
}

fn setups(isas: &[IsaChoice]) -> Vec<Setup> {
    let mut all = Vec::new();
    for &isa in isas {
        for threads in [1, 2] {
            for slots in [1, 16, 64] {
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

/// 200 prompts: with every instruction set, 1 to 64 sequences at once, by chunks of all sizes, with and without
/// speculation, and on two workers.
fn in_every_way(loaded: &LoadedModel) {
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
    assert_equal(loaded, &setups, &prompts(loaded, 200, 24));
}

#[test]
fn tiny_model_in_every_way() {
    in_every_way(tiny());
}

#[test]
fn tiny_model_in_every_way_in_bf16() {
    in_every_way(tiny_narrow());
}

#[test]
fn every_architecture_in_many_ways() {
    let mut isas = simd();
    isas.push(IsaChoice::Portable);
    let mut names = every_tiny_model();
    names.extend(["qwen2", "gemma3", "stablelm"].map(str::to_owned));
    for name in names {
        let loaded = small(&format!("{name}.gguf"));
        let mut setups = setups(&isas);
        setups.push(Setup {
            speculation: false,
            prefill_chunk: 7,
            ..Setup::default()
        });
        assert_equal(&loaded, &setups, &prompts(&loaded, 12, 10));
    }
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
    assert_equal(loaded, &setups, &prompts(loaded, 16, 100));
}

#[test]
fn sliding_windows_in_little_memory() {
    let loaded = small("gemma3.gguf");
    assert_eq!(loaded.model.hyper().window(), Some(32));
    let block = loaded.model.kv_block_bytes() as u64;
    let with = |slots, prefill_chunk, blocks| Setup {
        slots,
        prefill_chunk,
        kv_bytes: blocks * block,
        ..Setup::default()
    };
    // Memory for everything; rings for all slots; hardly enough for one.
    let setups = [
        Setup::default(),
        with(2, 128, 20),
        with(12, 7, 60),
        with(12, 64, 16),
    ];
    assert_equal(&loaded, &setups, &prompts(&loaded, 24, 100));
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

/// In the long form 200 prompts.
fn smollm2_in_many_ways(loaded: &LoadedModel) {
    let count = if long() { 200 } else { 16 };
    let mut setups = setups(&simd());
    if long() {
        for prefill_chunk in [1, 7] {
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
    } else {
        // More slots than prompts change nothing.
        setups.retain(|setup| setup.slots <= 16);
    }
    assert_equal(loaded, &setups, &prompts(loaded, count, 16));
}

#[test]
fn smollm2_with_every_simd_isa() {
    let Some(loaded) = smollm2() else { return };
    smollm2_in_many_ways(loaded);
}

#[test]
fn smollm2_with_every_simd_isa_in_bf16() {
    let Some(loaded) = smollm2_narrow() else {
        return;
    };
    smollm2_in_many_ways(loaded);
}

/// BF16 is a way of storing values: FP32 weights that were rounded before give the same bits.
#[test]
fn bf16_weights_are_the_rounded_ones() {
    let directory = tempfile::tempdir().unwrap();
    let source = ModelSource::Gguf(fixture("llama-gqa.gguf"));
    let cache = Cache {
        dir: directory.path().join("narrow"),
        max_bytes: None,
        verify: Verify::Full,
    };
    let opened = weights::open_cached(&source, Element::Bf16, &cache, &()).unwrap();
    let name = format!("{}.safetensors", opened.fingerprint);
    let tensors = MappedTensors::open(&cache.dir.join(name), None).unwrap();
    let rounded = directory.path().join("rounded.gguf");
    let mut file = std::fs::File::create(&rounded).unwrap();
    let form = weights::unpack::Form::Gguf(&opened.metadata);
    weights::unpack::unpack(&tensors, form, &mut file, &()).unwrap();
    let model = Model {
        name: None,
        source: ModelSource::Gguf(rounded),
        context_length: Some(2048),
        chat_template: None,
        max_tokens_completion: 16,
        max_tokens_chat: 1024,
    };
    let as_stored = |source: &Model, weights: Element| {
        let kv = Element::F32;
        woolly::model::load(source, Elements { weights, kv }, &cache, &()).unwrap()
    };
    let wide = as_stored(&model, Element::F32);
    let narrow = as_stored(&Model { source, ..model }, Element::Bf16);
    assert_ne!(wide.info.fingerprint, narrow.info.fingerprint);
    let outputs = |loaded: &LoadedModel| run(loaded, Setup::default(), &prompts(loaded, 16, 24));
    assert_eq!(outputs(&wide), outputs(&narrow));
    // Neither are they those of the file, nor is it the same to round keys and values.
    let others = [outputs(tiny()), outputs(tiny_narrow()), outputs(&wide)];
    assert!(others[0] != others[2] && others[1] != others[2] && others[0] != others[1]);
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

/// What was generated, given back as a prompt, is scored with the bits it was generated with: in chunks of any size,
/// behind prefixes that others have computed, by every instruction set, and through preemption.
#[test]
fn a_prompt_is_scored_as_it_was_generated() {
    for loaded in [tiny(), tiny_narrow()] {
        let prompts = prompts(loaded, 12, 40);
        let generated = run(loaded, Setup::default(), &prompts);
        let mut whole = Vec::new();
        for ((prompt, params), output) in prompts.iter().zip(&generated) {
            assert!(output.scored.is_empty());
            let tokens = [prompt.clone(), output.ids()].concat();
            let params = SamplingParams {
                max_tokens: u32::from(whole.len() % 2 == 0),
                ..params.clone()
            };
            whole.push((tokens, params));
        }
        let block = loaded.model.kv_block_bytes() as u64;
        let mut setups: Vec<Setup> = [1, 5, 128]
            .map(|prefill_chunk| Setup {
                prefill_chunk,
                ..Setup::default()
            })
            .to_vec();
        setups.extend(
            simd()
                .into_iter()
                .chain([IsaChoice::Portable])
                .map(|isa| Setup {
                    isa,
                    slots: 3,
                    ..Setup::default()
                }),
        );
        setups.push(Setup {
            kv_bytes: 12 * block,
            ..Setup::default()
        });
        for setup in setups {
            let setup = Setup {
                score_prompts: true,
                ..setup
            };
            let scored = run(loaded, setup, &whole);
            for (((prompt, _), (tokens, _)), (output, generated)) in prompts
                .iter()
                .zip(&whole)
                .zip(scored.iter().zip(&generated))
            {
                let ids: Vec<u32> = output.scored.iter().map(|token| token.id).collect();
                assert_eq!(ids, tokens[1..], "{setup:?}");
                let bits = |token: &Token| {
                    let top = token
                        .top
                        .iter()
                        .map(|(id, logprob)| (*id, logprob.to_bits()));
                    (
                        token.id,
                        token.logprob.unwrap().to_bits(),
                        top.collect::<Vec<_>>(),
                    )
                };
                let found = output.scored[prompt.len() - 1..].iter().map(bits);
                assert!(found.eq(generated.tokens.iter().map(bits)), "{setup:?}");
            }
        }
    }
}
