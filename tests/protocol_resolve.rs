//! From a body to a spec: tokens, defaults, and what must fit.

use serde_json::{Value, json};
use woolly::job::{Endpoint, SamplingParams, Shaping, Spec};
use woolly::protocol::{RequestError, Resolved, resolve};
use woolly::text::Tokenizer;
use woolly::weights::Metadata;
use woolly::weights::gguf::Value as Gguf;

use crate::support::served_model::ServedModel;
use crate::support::vocabularies::{bytes, set, tiny, tiny_pairs};

fn error(model: &ServedModel, endpoint: Endpoint, body: &Value) -> RequestError {
    accepted_with(model, None, endpoint, body).unwrap_err()
}

/// What a body resolves to with the `max_tokens` that was stored for it.
fn accepted_with(
    model: &ServedModel,
    max_tokens: Option<u32>,
    endpoint: Endpoint,
    body: &Value,
) -> Result<Spec, RequestError> {
    let resolved = Resolved {
        seed: 1,
        max_tokens,
    };
    resolve(
        &model.context(),
        endpoint,
        body.to_string().as_bytes(),
        resolved,
    )
}

#[test]
fn defaults_are_openais_and_the_configurations() {
    let model = ServedModel::new(tiny("qwen2"));
    let params = SamplingParams {
        max_tokens: 16,
        temperature: 1.0,
        top_k: 0,
        top_p: 1.0,
        seed: 7,
        stop: Vec::new(),
        ignore_eos: false,
        logprobs: None,
        shaping: Shaping::default(),
    };
    let spec = model.spec(Endpoint::Completions, &json!({"prompt": "a"}));
    assert_eq!(spec.params, params);
    assert!(!spec.echo && !spec.return_token_ids && spec.warnings.is_empty());
    let messages = json!([{"role": "user", "content": "a"}]);
    let spec = model.spec(Endpoint::ChatCompletions, &json!({"messages": messages}));
    assert_eq!(
        spec.params,
        SamplingParams {
            max_tokens: 1024,
            ..params
        }
    );
}

#[test]
fn fields_reach_the_parameters() {
    let model = ServedModel::new(tiny("qwen2"));
    let body = json!({
        "prompt": "a", "max_tokens": 3, "temperature": 0, "top_k": 40, "top_p": 0.9, "seed": 99,
        "stop": "END", "ignore_eos": true, "logprobs": 4, "return_token_ids": true, "odd": 1,
    });
    let spec = model.spec(Endpoint::Completions, &body);
    let params = SamplingParams {
        max_tokens: 3,
        temperature: 0.0,
        top_k: 40,
        top_p: 0.9,
        // The stored seed counts: it is the request's own, put there at submit.
        seed: 7,
        stop: vec!["END".to_owned()],
        ignore_eos: true,
        logprobs: Some(4),
        shaping: Shaping::default(),
    };
    assert_eq!(spec.params, params);
    assert!(spec.return_token_ids);
    assert_eq!(spec.warnings, ["odd"]);
    let body = json!({"messages": [{"role": "user", "content": "a"}], "logprobs": true});
    assert_eq!(
        model.spec(Endpoint::ChatCompletions, &body).params.logprobs,
        Some(0)
    );
}

#[test]
fn prompts_are_tokenized_as_the_model_wants_them() {
    let model = ServedModel::new(tiny("llama-gqa"));
    let prompt = |prompt: Value| {
        let spec = model.spec(Endpoint::Completions, &json!({"prompt": prompt}));
        spec.sequences
            .into_iter()
            .map(|sequence| sequence.prompt)
            .collect::<Vec<_>>()
    };
    assert_eq!(prompt(json!("Hi<|eot_id|>")), [[364, 72, 105, 368]]);
    assert_eq!(prompt(json!([72, 105])), [[72, 105]]);
    assert_eq!(prompt(json!(["H", "i"])), [[364, 72], [364, 105]]);
    assert_eq!(prompt(json!([[5], [6]])), [[5], [6]]);
    assert_eq!(prompt(json!("")), [[364]]);
}

#[test]
fn n_repeats_each_prompt_in_place() {
    let model = ServedModel::new(bytes(300));
    let spec = model.spec(
        Endpoint::Completions,
        &json!({"prompt": ["a", "b"], "n": 2}),
    );
    let prompts: Vec<_> = spec
        .sequences
        .iter()
        .map(|sequence| sequence.prompt[0])
        .collect();
    assert_eq!(prompts, [97, 97, 98, 98]);
}

#[test]
fn developer_messages_are_system_messages() {
    let model = ServedModel::new(tiny("qwen2"));
    let prompt = |role: &str| {
        let body = json!({"messages": [{"role": role, "content": "x"}]});
        model
            .spec(Endpoint::ChatCompletions, &body)
            .sequences
            .remove(0)
            .prompt
    };
    assert_eq!(prompt("developer"), prompt("system"));
    assert_ne!(prompt("developer"), prompt("user"));
}

#[test]
fn max_tokens_is_clamped_to_what_fits() {
    let mut model = ServedModel::new(bytes(300));
    model.max_positions = 10;
    let max_tokens = |prompt: Value| {
        let body = json!({"prompt": prompt, "max_tokens": 100});
        model.spec(Endpoint::Completions, &body).params.max_tokens
    };
    assert_eq!(max_tokens(json!("abc")), 7);
    assert_eq!(max_tokens(json!("123456789")), 1);
    // One set of parameters for all: the longest prompt decides.
    assert_eq!(max_tokens(json!(["abc", "12345678"])), 2);
}

#[test]
fn a_stored_length_is_kept_or_refused_and_never_changed() {
    let mut model = ServedModel::new(bytes(300));
    let body = json!({"prompt": "abc"});
    let asking = json!({"prompt": "abc", "max_tokens": 100});
    let stored = |model: &ServedModel, max_tokens, body: &Value| {
        accepted_with(model, Some(max_tokens), Endpoint::Completions, body)
            .map(|spec| spec.params.max_tokens)
            .map_err(|refusal| refusal.to_string())
    };
    // Neither the default, 16, nor more room than there was changes it.
    assert_eq!(stored(&model, 7, &body), Ok(7));
    assert_eq!(stored(&model, 7, &asking), Ok(7));
    assert_eq!(stored(&model, 0, &body), Ok(0));
    model.max_positions = 10;
    assert_eq!(stored(&model, 7, &body), Ok(7));
    assert_eq!(
        stored(&model, 8, &body),
        Err(
            "prompt has 3 tokens, and the job was accepted with max_tokens 8; together they no longer \
             fit: a sequence now has 10 positions"
                .to_owned()
        )
    );
}

#[test]
fn a_prompt_that_does_not_fit_is_refused_with_the_numbers() {
    let mut model = ServedModel::new(bytes(300));
    model.max_positions = 10;
    let refusal = error(
        &model,
        Endpoint::Completions,
        &json!({"prompt": "0123456789"}),
    );
    assert_eq!(refusal.param.as_deref(), Some("prompt"));
    assert!(refusal.message.contains("10 tokens"), "{refusal}");
    // Evaluating the prompt alone needs no further position.
    model.spec(
        Endpoint::Completions,
        &json!({"prompt": "0123456789", "max_tokens": 0}),
    );
    let body = json!({"messages": [{"role": "user", "content": "a"}]});
    let refusal = error(&model, Endpoint::ChatCompletions, &body);
    assert_eq!(refusal.param.as_deref(), Some("messages"));
    assert!(refusal.message.contains("10 positions"), "{refusal}");
}

#[test]
fn a_huge_prompt_is_refused_before_it_is_tokenized() {
    let model = ServedModel::new(bytes(300));
    let refusal = error(
        &model,
        Endpoint::Completions,
        &json!({"prompt": "a".repeat(8 << 20)}),
    );
    assert!(
        refusal.message.contains("at least 8388608 tokens"),
        "{refusal}"
    );
}

#[test]
fn an_empty_prompt_needs_a_token_to_start_from() {
    let model = ServedModel::new(bytes(300));
    for prompt in [json!(""), json!(["a", ""])] {
        let refusal = error(&model, Endpoint::Completions, &json!({"prompt": prompt}));
        assert_eq!(refusal.param.as_deref(), Some("prompt"));
        assert!(refusal.message.contains("empty"), "{refusal}");
    }
}

#[test]
fn token_ids_outside_the_vocabulary_are_refused() {
    let model = ServedModel::new(bytes(300));
    model.spec(Endpoint::Completions, &json!({"prompt": [299]}));
    for prompt in [json!([300]), json!([[1], [4_294_967_295_u32]])] {
        let refusal = error(&model, Endpoint::Completions, &json!({"prompt": prompt}));
        assert_eq!(refusal.param.as_deref(), Some("prompt"));
        assert!(refusal.message.contains("0 to 299"), "{refusal}");
    }
}

#[test]
fn a_template_that_refuses_a_conversation_is_a_bad_request() {
    let mut pairs = tiny_pairs("qwen2");
    let source = "{{ raise_exception('no users here') }}".to_owned();
    set(&mut pairs, "tokenizer.chat_template", Gguf::String(source));
    let metadata = Metadata::from_pairs(pairs);
    let tokenizer = Tokenizer::from_metadata(&metadata).unwrap();
    let model = ServedModel::with_template(tokenizer, &metadata);
    let body = json!({"messages": [{"role": "user", "content": "a"}]});
    let refusal = error(&model, Endpoint::ChatCompletions, &body);
    assert_eq!(refusal.param.as_deref(), Some("messages"));
    assert!(refusal.message.contains("no users here"), "{refusal}");
}

#[test]
fn what_shapes_logits_reaches_the_parameters() {
    let model = ServedModel::new(tiny("qwen2"));
    let body = json!({
        "prompt": "a", "min_p": 0.25, "typical_p": 0.5, "repetition_penalty": 1.5, "presence_penalty": -2,
        "frequency_penalty": 0.5, "logit_bias": {"7": -100, "3": 2.5}, "min_tokens": 4,
        "stop_token_ids": [9, 2, 9],
    });
    let spec = model.spec(Endpoint::Completions, &body);
    assert!(spec.warnings.is_empty());
    let expected = Shaping {
        min_p: 0.25,
        typical_p: 0.5,
        repeat_penalty: 1.5,
        presence_penalty: -2.0,
        frequency_penalty: 0.5,
        logit_bias: vec![(3, 2.5), (7, -100.0)],
        min_tokens: 4,
        stop_tokens: vec![2, 9],
    };
    assert_eq!(spec.params.shaping, expected);
}

#[test]
fn shaping_out_of_range_is_refused_by_its_field() {
    let model = ServedModel::new(tiny("qwen2"));
    let vocab = model.context().info.vocab;
    let bad = [
        ("min_p", json!(1.1)),
        ("typical_p", json!(-0.1)),
        ("repeat_penalty", json!(0)),
        ("repetition_penalty", json!(11)),
        ("presence_penalty", json!(2.5)),
        ("frequency_penalty", json!("much")),
        ("logit_bias", json!({"x": 1})),
        ("logit_bias", json!({"1": 101})),
        ("logit_bias", json!([[1, 2]])),
        ("logit_bias", json!({vocab.to_string(): 1})),
        ("min_tokens", json!(-1)),
        ("stop_token_ids", json!([1.5])),
        ("stop_token_ids", json!([vocab])),
        ("stop_token_ids", json!(vec![1; 1025])),
    ];
    for (field, value) in bad {
        let mut body = json!({"prompt": "a"});
        body[field] = value;
        let error = error(&model, Endpoint::Completions, &body);
        assert_eq!(error.param.as_deref(), Some(field), "{}", error.message);
    }
}
