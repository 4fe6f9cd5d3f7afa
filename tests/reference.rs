//! Tokens and log-probabilities against what llama.cpp computed from the same weights as F32.

use woolly::job::SamplingParams;
use woolly::model::LoadedModel;

use crate::support::models::{every_tiny_model, published, reference, small, smollm2, tiny};
use crate::support::published::{GEMMA, QWEN};
use crate::support::runs::{Setup, greedy, run};

/// Greedy tokens equal, listed log-probabilities within `tolerance`.
pub(crate) fn check_completions(
    loaded: &LoadedModel,
    reference: &serde_json::Value,
    tolerance: f64,
) {
    let items = reference["completion"].as_array().unwrap();
    let mut worst: f64 = 0.0;
    let mut compared = 0;
    for item in items {
        let prompt = item["prompt"].as_str().unwrap();
        let tokens = loaded.tokenizer.encode(prompt, true, true).unwrap();
        if let Some(expected) = item.get("prompt_tokens") {
            assert_eq!(serde_json::json!(tokens), *expected, "{prompt}");
        }
        let expected: Vec<u32> = serde_json::from_value(item["tokens"].clone()).unwrap();
        let params = SamplingParams {
            ignore_eos: true,
            logprobs: Some(20),
            ..greedy(expected.len() as u32)
        };
        let output = run(loaded, Setup::default(), &[(tokens, params)]).remove(0);
        assert_eq!(output.ids(), expected, "{prompt}");
        assert_eq!(output.text, item["text"].as_str().unwrap(), "{prompt}");
        for (step, (token, top)) in output
            .tokens
            .iter()
            .zip(item["top"].as_array().unwrap())
            .enumerate()
        {
            for (id, logprob) in serde_json::from_value::<Vec<(u32, f64)>>(top.clone()).unwrap() {
                let found = token.top.iter().find(|candidate| candidate.0 == id);
                let (_, ours) = found.unwrap_or_else(|| panic!("{prompt}, step {step}: no {id}"));
                let difference = (f64::from(*ours) - logprob).abs();
                assert!(
                    difference < tolerance,
                    "{prompt}, step {step}, token {id}: {difference}"
                );
                worst = worst.max(difference);
                compared += 1;
            }
        }
    }
    println!("{compared} log-probabilities, worst difference {worst:.6}");
}

#[test]
fn tiny_llama_gives_the_reference_tokens_and_logprobs() {
    check_completions(tiny(), &reference("llama-gqa.reference.json"), 1e-4);
}

#[test]
fn tiny_models_of_every_family_give_the_reference_tokens_and_logprobs() {
    // llama.cpp evaluates GELU, which gemma3 uses, through a table of half-precision values.
    for (name, tolerance) in [("qwen2", 1e-4), ("stablelm", 1e-4), ("gemma3", 2e-2)] {
        let loaded = small(&format!("{name}.gguf"));
        check_completions(
            &loaded,
            &reference(&format!("{name}.reference.json")),
            tolerance,
        );
    }
}

/// Every model that `tests/python/tiny_models.py` writes.
#[test]
fn tiny_models_of_every_architecture_agree_with_llama_cpp() {
    let mut wrong = vec![];
    for name in every_tiny_model() {
        let loaded = small(&format!("{name}.gguf"));
        // GELU goes through a table of half-precision values there.
        let gelu = ["gemma", "gpt", "phi2", "starcoder"];
        let tolerance = match gelu.iter().any(|family| name.contains(family)) {
            true => 2e-2,
            false => 1e-4,
        };
        let mut worst: f64 = 0.0;
        let found = reference(&format!("{name}.json"));
        for item in found["completion"].as_array().unwrap() {
            // Under the recorded tokens, because near ties may fall either way.
            let ids =
                |key: &str| -> Vec<u32> { serde_json::from_value(item[key].clone()).unwrap() };
            let (prompt, tokens) = (ids("prompt_tokens"), ids("tokens"));
            for (step, top) in item["top"].as_array().unwrap().iter().enumerate() {
                let params = SamplingParams {
                    ignore_eos: true,
                    logprobs: Some(20),
                    ..greedy(1)
                };
                let context = [&prompt[..], &tokens[..step]].concat();
                let output = run(&loaded, Setup::default(), &[(context, params)]).remove(0);
                for (id, logprob) in serde_json::from_value::<Vec<(u32, f64)>>(top.clone()).unwrap()
                {
                    let ours = output.tokens[0].top.iter().find(|found| found.0 == id);
                    let ours = ours.map_or(f64::NEG_INFINITY, |found| f64::from(found.1));
                    worst = worst.max((ours - logprob).abs());
                }
            }
        }
        println!("{name}: worst difference {worst:.6}");
        if worst.is_nan() || worst >= tolerance {
            wrong.push((name, worst));
        }
    }
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn smollm2_gives_the_reference_tokens_and_logprobs() {
    let Some(loaded) = smollm2() else { return };
    check_completions(loaded, &reference("smollm2.reference.json"), 2e-3);
}

/// Gemma goes through llama.cpp's table of GELU values. Both have near ties, so what follows is computed under the
/// recorded tokens.
#[test]
fn gemma_and_qwen_give_the_reference_logprobs() {
    for (model, name, tolerance) in [(GEMMA, "gemma3-270m", 2e-2), (QWEN, "qwen2.5-coder", 5e-3)] {
        let Some(loaded) = published(model) else {
            continue;
        };
        let reference = reference(&format!("{name}.reference.json"));
        check_scores(&loaded, &reference, tolerance);
        check_chats(&loaded, &reference);
    }
}

/// The listed log-probabilities of each recorded token, scored as a prompt.
fn check_scores(loaded: &LoadedModel, reference: &serde_json::Value, tolerance: f64) {
    let mut worst: f64 = 0.0;
    for item in reference["completion"].as_array().unwrap() {
        let prompt = item["prompt"].as_str().unwrap();
        let prompt = loaded.tokenizer.encode(prompt, true, true).unwrap();
        let tokens: Vec<u32> = serde_json::from_value(item["tokens"].clone()).unwrap();
        let params = SamplingParams {
            logprobs: Some(20),
            ..greedy(0)
        };
        let setup = Setup {
            score_prompts: true,
            ..Setup::default()
        };
        let whole = [&prompt[..], &tokens].concat();
        let output = run(loaded, setup, &[(whole, params)]).remove(0);
        let scored = &output.scored[prompt.len() - 1..];
        assert_eq!(scored.len(), tokens.len());
        for ((step, token), top) in scored
            .iter()
            .enumerate()
            .zip(item["top"].as_array().unwrap())
        {
            let top: Vec<(u32, f64)> = serde_json::from_value(top.clone()).unwrap();
            for (id, logprob) in top {
                let ours = token.top.iter().find(|found| found.0 == id);
                let (_, ours) = ours.unwrap_or_else(|| panic!("step {step}: no {id}"));
                let difference = (f64::from(*ours) - logprob).abs();
                assert!(
                    difference < tolerance,
                    "step {step}, token {id}: {difference}"
                );
                worst = worst.max(difference);
            }
        }
    }
    println!("worst difference {worst:.6}");
}

#[test]
fn smollm2_answers_the_reference_chat() {
    let Some(loaded) = smollm2() else { return };
    check_chats(loaded, &reference("smollm2.reference.json"));
}

fn check_chats(loaded: &LoadedModel, reference: &serde_json::Value) {
    for chat in reference["chat"].as_array().unwrap() {
        let messages: Vec<woolly::text::Message> =
            serde_json::from_value(chat["messages"].clone()).unwrap();
        let tokens = loaded
            .template
            .encode(&loaded.tokenizer, &messages)
            .unwrap();
        assert_eq!(
            tokens.len() as u64,
            chat["usage"]["prompt_tokens"].as_u64().unwrap()
        );
        let output = run(loaded, Setup::default(), &[(tokens, greedy(32))]).remove(0);
        assert_eq!(output.text, chat["text"].as_str().unwrap());
        assert_eq!(serde_json::to_value(output.finish).unwrap(), chat["finish"]);
    }
}
