//! Properties of all requests: nothing panics, what is written is read back, resolving is deterministic.

use proptest::prelude::*;
use serde_json::{Value, json};
use woolly::job::Endpoint;
use woolly::protocol::sampling::{Options, StreamOptions};
use woolly::protocol::shaping::ShapingOptions;
use woolly::protocol::{ChatRequest, CompletionRequest, Prompt};
use woolly::protocol::{Resolved, resolve, seed, validate, wants_stream};
use woolly::text::Message;

use crate::support::served_model::ServedModel;
use crate::support::vocabularies::{bytes, tiny};

/// JSON that often looks like a request.
fn arbitrary_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        (0..400i64).prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        prop::sample::select(vec!["user", "text", "auto", "<|im_end|>", ""]).prop_map(Value::from),
    ];
    let keys = prop_oneof![
        4 => prop::sample::select(vec![
            "prompt", "messages", "role", "content", "type", "text", "max_tokens", "temperature", "top_p",
            "top_k", "seed", "stop", "n", "stream", "stream_options", "include_usage", "echo", "logprobs",
            "top_logprobs", "ignore_eos", "return_token_ids", "model", "logit_bias", "best_of", "tools",
        ]).prop_map(str::to_owned),
        1 => any::<String>(),
    ];
    leaf.prop_recursive(4, 48, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec((keys.clone(), inner), 0..6)
                .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

fn options() -> impl Strategy<Value = Options> {
    (
        (
            prop::option::of("[a-z]{0,8}"),
            prop::option::of(0.0..=2.0f32),
            prop::option::of(0.0..=1.0f32),
        ),
        (
            prop::option::of(any::<u32>()),
            prop::option::of(any::<u64>()),
            prop::option::of(1..=40u32),
        ),
        (
            prop::collection::vec(".{1,8}", 0..=16),
            any::<bool>(),
            any::<bool>(),
            any::<bool>(),
        ),
        prop::option::of(any::<bool>()),
        shaping(),
        prop::option::of(any::<bool>()),
    )
        .prop_map(
            |(
                (model, temperature, top_p),
                (top_k, seed, n),
                (stop, stream, ignore_eos, ids),
                usage,
                shaping,
                reuse,
            )| {
                Options {
                    model,
                    temperature,
                    top_p,
                    top_k,
                    seed,
                    stop,
                    n,
                    stream,
                    ignore_eos,
                    stream_options: usage.map(|include_usage| StreamOptions { include_usage }),
                    return_token_ids: ids,
                    shaping,
                    reuse,
                }
            },
        )
}

fn shaping() -> impl Strategy<Value = ShapingOptions> {
    (
        prop::option::of(0.0f32..=1.0),
        prop::option::of(0.0f32..=1.0),
        prop::option::of(0.5f32..=10.0),
        prop::option::of(-2.0f32..=2.0),
        prop::option::of(-2.0f32..=2.0),
        prop::collection::btree_map(any::<u32>(), -100.0f32..=100.0, 0..4),
        prop::option::of(any::<u32>()),
        prop::collection::vec(any::<u32>(), 0..4),
    )
        .prop_map(
            |(min_p, typical_p, repeat, presence, frequency, logit_bias, min_tokens, stop)| {
                ShapingOptions {
                    min_p,
                    typical_p,
                    repeat_penalty: repeat,
                    presence_penalty: presence,
                    frequency_penalty: frequency,
                    logit_bias,
                    min_tokens,
                    stop_token_ids: stop,
                }
            },
        )
}

proptest! {
    #[test]
    fn random_json_never_panics(body in arbitrary_json(), base in any::<bool>()) {
        let model = ServedModel::new(bytes(300));
        for endpoint in Endpoint::ALL {
            let mut body = body.clone();
            // Half of the time a valid prompt, so that the other fields are reached.
            if base && let Value::Object(fields) = &mut body {
                fields.insert("prompt".to_owned(), json!("a"));
                fields.insert("messages".to_owned(), json!([{"role": "user", "content": "Hi"}]));
            }
            let text = body.to_string();
            let valid = validate(endpoint, text.as_bytes());
            let resolved = resolve(&model.context(), endpoint, text.as_bytes(), Resolved { seed: 1, max_tokens: None });
            // Whatever validate refuses, resolve refuses with the same sentence.
            if let Err(error) = valid {
                prop_assert_eq!(resolved, Err(error));
            }
            seed(endpoint, text.as_bytes());
            wants_stream(endpoint, text.as_bytes());
        }
    }

    #[test]
    fn random_bytes_never_panic(body in prop::collection::vec(any::<u8>(), 0..60)) {
        for endpoint in Endpoint::ALL {
            let _ = validate(endpoint, &body);
            seed(endpoint, &body);
            wants_stream(endpoint, &body);
        }
    }

    #[test]
    fn completion_requests_come_back_as_written(
        options in options(), prompt in prop_oneof![
            any::<String>().prop_map(Prompt::Text),
            prop::collection::vec(any::<String>(), 1..4).prop_map(Prompt::Texts),
            prop::collection::vec(any::<u32>(), 1..9).prop_map(Prompt::Tokens),
            prop::collection::vec(prop::collection::vec(any::<u32>(), 1..4), 1..4)
                .prop_map(Prompt::TokenLists),
        ],
        max_tokens in prop::option::of(any::<u32>()), logprobs in prop::option::of(0..=20u8),
        echo: bool,
    ) {
        let echo = echo && logprobs.is_none();
        let request = CompletionRequest { prompt, max_tokens, echo, logprobs, options };
        let text = serde_json::to_vec(&request).unwrap();
        prop_assert_eq!(CompletionRequest::parse(&text).unwrap(), (request, Vec::new()));
    }

    #[test]
    fn chat_requests_come_back_as_written(
        options in options(), contents in prop::collection::vec(any::<String>(), 1..4),
        max_tokens in prop::option::of(any::<u32>()), top in prop::option::of(0..=20u8),
    ) {
        let messages =
            contents.into_iter().map(|content| Message { role: "user".to_owned(), content }).collect();
        let request =
            ChatRequest { messages, max_tokens, logprobs: top.is_some(), top_logprobs: top, options };
        let text = serde_json::to_vec(&request).unwrap();
        prop_assert_eq!(ChatRequest::parse(&text).unwrap(), (request, Vec::new()));
    }

    #[test]
    fn resolving_is_deterministic(body in "[ -~]{1,40}", seed: u64) {
        let model = ServedModel::new(tiny("qwen2"));
        let body = json!({"prompt": body, "n": 2}).to_string();
        let resolved = Resolved { seed, max_tokens: None };
        let resolve = || resolve(&model.context(), Endpoint::Completions, body.as_bytes(), resolved);
        prop_assert_eq!(resolve().unwrap(), resolve().unwrap());
        prop_assert_eq!(resolve().unwrap().params.seed, seed);
    }
}
