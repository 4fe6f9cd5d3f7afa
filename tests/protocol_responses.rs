//! Response bodies have OpenAI's shapes.

use serde_json::{Value, json};
use woolly::job::{Endpoint, Outcome, Spec, Token};
use woolly::protocol::{
    ChatCompletion, Completion, ErrorBody, ErrorKind, RequestError, render, usage,
};

use crate::support::served_model::{ServedModel, meta};
use crate::support::vocabularies::{bytes, tiny};

fn rendered(model: &ServedModel, endpoint: Endpoint, body: &Value, ids: &[u32]) -> Value {
    let spec = model.spec(endpoint, body);
    body_of(model, endpoint, &spec, &model.outcome(&spec, ids))
}

fn body_of(model: &ServedModel, endpoint: Endpoint, spec: &Spec, outcome: &Outcome) -> Value {
    let text = render(&model.context(), &meta(endpoint), spec, outcome);
    serde_json::from_slice(&text).unwrap()
}

#[test]
fn a_completion_in_full() {
    let model = ServedModel::new(bytes(300));
    let body = rendered(
        &model,
        Endpoint::Completions,
        &json!({"prompt": "abc"}),
        &[72, 105],
    );
    let expected = json!({
        "id": "cmpl-12",
        "object": "text_completion",
        "created": 1_700_000_000,
        "model": "tiny",
        "system_fingerprint": "fp-1",
        "choices": [{"text": "Hi", "index": 0, "logprobs": null, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
    });
    assert_eq!(body, expected);
}

#[test]
fn a_chat_completion_in_full() {
    let model = ServedModel::new(tiny("qwen2"));
    let request =
        json!({"messages": [{"role": "user", "content": "a"}], "odd": 1, "return_token_ids": true});
    let body = rendered(&model, Endpoint::ChatCompletions, &request, &[72, 105, 366]);
    let prompt = model.spec(Endpoint::ChatCompletions, &request).sequences[0]
        .prompt
        .len();
    let expected = json!({
        "id": "chatcmpl-12",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "tiny",
        "system_fingerprint": "fp-1",
        "choices": [{
            "index": 0,
            "message": {"role": "assistant", "content": "Hi"},
            "logprobs": null,
            "finish_reason": "stop",
            "token_ids": [72, 105, 366],
        }],
        "usage": {"prompt_tokens": prompt, "completion_tokens": 3, "total_tokens": prompt + 3},
        "warnings": ["odd"],
    });
    assert_eq!(body, expected);
}

#[test]
fn choices_are_numbered_and_usage_counts_a_shared_prompt_once() {
    let model = ServedModel::new(bytes(300));
    let request = json!({"prompt": ["abc", "de"], "n": 2});
    let body = rendered(&model, Endpoint::Completions, &request, &[72]);
    let indices: Vec<_> = body["choices"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| &c["index"])
        .collect();
    assert_eq!(indices, [0, 1, 2, 3]);
    assert_eq!(
        body["usage"],
        json!({"prompt_tokens": 5, "completion_tokens": 4, "total_tokens": 9})
    );
    let spec = model.spec(Endpoint::Completions, &request);
    assert_eq!(usage(&spec, &model.outcome(&spec, &[72])).total_tokens, 9);
}

#[test]
fn echo_shows_the_prompt_without_the_added_bos() {
    let model = ServedModel::new(tiny("llama-gqa"));
    let text = |prompt: Value| {
        let request = json!({"prompt": prompt, "echo": true});
        rendered(&model, Endpoint::Completions, &request, &[72])["choices"][0]["text"].clone()
    };
    assert_eq!(text(json!("a é<|eot_id|>")), "a é<|eot_id|>H");
    assert_eq!(text(json!([364, 97])), "aH");
}

#[test]
fn legacy_logprobs_list_tokens_and_offsets() {
    let model = ServedModel::new(bytes(300));
    let request = json!({"prompt": "abc", "logprobs": 2});
    // "é" in two tokens, then EOS.
    let body = rendered(
        &model,
        Endpoint::Completions,
        &request,
        &[104, 0xC3, 0xA9, 257],
    );
    let expected = json!({
        "tokens": ["h", "bytes:\\xc3", "bytes:\\xa9", "<eos>"],
        "token_logprobs": [-0.5, -0.5, -0.5, -0.5],
        "top_logprobs": [
            {"h": -0.5, "\0": -1.5},
            {"bytes:\\xc3": -0.5, "\0": -1.5},
            {"bytes:\\xa9": -0.5, "\0": -1.5},
            {"<eos>": -0.5, "\0": -1.5},
        ],
        "text_offset": [0, 1, 1, 2],
    });
    assert_eq!(body["choices"][0]["logprobs"], expected);
    let request = json!({"prompt": "abc", "logprobs": 0});
    let body = rendered(&model, Endpoint::Completions, &request, &[104]);
    assert_eq!(
        body["choices"][0]["logprobs"]["top_logprobs"],
        json!([{"h": -0.5}])
    );
}

#[test]
fn legacy_logprobs_of_an_echoed_prompt_stand_before_those_of_the_answer() {
    // Of the first vocabulary a prompt begins with its own first token, of the second with a BOS that is not shown.
    for (vocabulary, begins) in [(bytes(300), 0), (tiny("llama-gqa"), 1)] {
        let model = ServedModel::new(vocabulary);
        let request = json!({"prompt": "ab", "logprobs": 1, "echo": true});
        let spec = model.spec(Endpoint::Completions, &request);
        assert!(spec.scores_prompts());
        let prompt = &spec.sequences[0].prompt;
        let shown = prompt.len() - begins;
        let mut outcome = model.outcome(&spec, &[104]);
        outcome.sequences[0].scored = prompt[1..]
            .iter()
            .map(|&id| Token {
                id,
                logprob: Some(-2.5),
                top: vec![(0, -0.25)],
                ..Token::default()
            })
            .collect();
        let body = body_of(&model, Endpoint::Completions, &spec, &outcome);
        let choice = &body["choices"][0];
        assert!(
            choice["text"].as_str().unwrap().starts_with("ab"),
            "{choice}"
        );
        let lists = &choice["logprobs"];
        let scores = lists["token_logprobs"].as_array().unwrap();
        let mut expected = vec![json!(-2.5); shown];
        if begins == 0 {
            expected[0] = json!(null);
            assert_eq!(lists["top_logprobs"][0], json!(null));
            assert_eq!(lists["tokens"], json!(["a", "b", "h"]));
            assert_eq!(lists["text_offset"], json!([0, 1, 2]));
            assert_eq!(lists["top_logprobs"][1], json!({"b": -2.5, "\0": -0.25}));
        }
        expected.push(json!(-0.5));
        assert_eq!(*scores, expected);
    }
    // Without echo the prompt is none of the answer's business.
    let model = ServedModel::new(bytes(300));
    let request = json!({"prompt": "ab", "logprobs": 1});
    assert!(!model.spec(Endpoint::Completions, &request).scores_prompts());
}

#[test]
fn chat_logprobs_list_bytes_and_candidates() {
    let model = ServedModel::new(bytes(300));
    let messages = json!([{"role": "user", "content": "a"}]);
    let request = json!({"messages": messages, "logprobs": true, "top_logprobs": 1});
    let body = rendered(&model, Endpoint::ChatCompletions, &request, &[0xC3]);
    let entry = |logprob: f64, bytes: Value, token: &str| json!({"token": token, "logprob": logprob, "bytes": bytes});
    let mut expected = entry(-0.5, json!([0xC3]), "\u{FFFD}");
    expected["top_logprobs"] = json!([
        entry(-0.5, json!([0xC3]), "\u{FFFD}"),
        entry(-1.5, json!([0]), "\0")
    ]);
    assert_eq!(
        body["choices"][0]["logprobs"],
        json!({"content": [expected]})
    );
    let request = json!({"messages": messages, "logprobs": true});
    let body = rendered(&model, Endpoint::ChatCompletions, &request, &[104]);
    assert_eq!(
        body["choices"][0]["logprobs"]["content"][0]["top_logprobs"],
        json!([])
    );
}

#[test]
fn log_probabilities_that_are_not_finite_stay_numbers() {
    let model = ServedModel::new(bytes(300));
    let spec = model.spec(
        Endpoint::Completions,
        &json!({"prompt": "a", "logprobs": 1}),
    );
    let mut outcome = model.outcome(&spec, &[104]);
    outcome.sequences[0].tokens[0].logprob = Some(f32::NEG_INFINITY);
    outcome.sequences[0].tokens[0].top = vec![(5, f32::NAN)];
    let text = render(
        &model.context(),
        &meta(Endpoint::Completions),
        &spec,
        &outcome,
    );
    let body: Completion = serde_json::from_slice(&text).unwrap();
    let logprobs = body.choices[0].logprobs.clone().unwrap();
    assert_eq!(logprobs.token_logprobs, [Some(-9999.0)]);
    assert!(
        logprobs.top_logprobs[0]
            .as_ref()
            .unwrap()
            .values()
            .all(|value| *value == -9999.0)
    );
}

/// The client reads with the types that the daemon writes.
#[test]
fn bodies_are_read_back_as_written() {
    let model = ServedModel::new(bytes(300));
    let request = json!({"prompt": "abc", "logprobs": 2, "return_token_ids": true, "odd": 1});
    let body = rendered(&model, Endpoint::Completions, &request, &[104, 105]);
    let read: Completion = serde_json::from_value(body.clone()).unwrap();
    assert_eq!(serde_json::to_value(&read).unwrap(), body);
    let messages = json!([{"role": "user", "content": "a"}]);
    let request = json!({"messages": messages, "logprobs": true, "top_logprobs": 1});
    let body = rendered(&model, Endpoint::ChatCompletions, &request, &[104]);
    let read: ChatCompletion = serde_json::from_value(body.clone()).unwrap();
    assert_eq!(serde_json::to_value(&read).unwrap(), body);
}

#[test]
fn error_bodies_name_type_and_field() {
    let error = RequestError {
        message: "n must be ...".to_owned(),
        param: Some("n".to_owned()),
    };
    let expected = json!({"error": {
        "message": "n must be ...", "type": "invalid_request_error", "code": null, "param": "n",
    }});
    assert_eq!(
        serde_json::to_value(ErrorBody::from(error)).unwrap(),
        expected
    );
    let full = ErrorBody::new(ErrorKind::QueueFull, "full").with_code("queue_full");
    assert_eq!(full.error.code.as_deref(), Some("queue_full"));
    assert_eq!(
        (full.error.kind.as_str(), ErrorKind::QueueFull.status()),
        ("rate_limit_error", 429)
    );
}
