//! Request bodies: what is accepted, what is refused and under which name.

use serde_json::{Value, json};
use woolly::job::Endpoint;
use woolly::protocol::{ChatRequest, CompletionRequest, Prompt, RequestError, validate};
use woolly::protocol::{seed, wants_stream};
use woolly::text::Message;

fn check(endpoint: Endpoint, body: &Value) -> Result<(), RequestError> {
    validate(endpoint, body.to_string().as_bytes())
}

/// The named field when `body` is refused.
#[track_caller]
fn refused_field(endpoint: Endpoint, body: &Value) -> String {
    match check(endpoint, body) {
        Ok(()) => panic!("accepted: {body}"),
        Err(error) => {
            let param = error.param.unwrap_or_default();
            assert!(error.message.contains(&param), "{}", error.message);
            param
        }
    }
}

fn with(mut body: Value, field: &str, value: Value) -> Value {
    body[field] = value;
    body
}

fn completion() -> Value {
    json!({"prompt": "Hello"})
}

fn chat() -> Value {
    json!({"messages": [{"role": "user", "content": "Hi"}]})
}

#[test]
fn every_form_of_prompt_is_read() {
    let prompt = |prompt: Value| {
        CompletionRequest::parse(json!({"prompt": prompt}).to_string().as_bytes())
            .unwrap()
            .0
            .prompt
    };
    assert_eq!(prompt(json!("a")), Prompt::Text("a".to_owned()));
    assert_eq!(
        prompt(json!(["a", "b"])),
        Prompt::Texts(vec!["a".to_owned(), "b".to_owned()])
    );
    assert_eq!(prompt(json!([1, 2])), Prompt::Tokens(vec![1, 2]));
    assert_eq!(
        prompt(json!([[1], [2, 3]])),
        Prompt::TokenLists(vec![vec![1], vec![2, 3]])
    );
}

#[test]
fn bad_prompts_are_refused() {
    let bad = [
        json!([]),
        json!([[]]),
        json!([[1], []]),
        json!([1, "a"]),
        json!(["a", 1]),
        json!([[1], 2]),
        json!([-1]),
        json!([1.5]),
        json!([4_294_967_296_u64]),
        json!(1),
        json!({}),
        json!(true),
        json!(null),
        json!([null]),
    ];
    for prompt in bad {
        assert_eq!(
            refused_field(Endpoint::Completions, &json!({"prompt": prompt})),
            "prompt"
        );
    }
    assert_eq!(refused_field(Endpoint::Completions, &json!({})), "prompt");
}

#[test]
fn fields_out_of_range_or_of_another_type_are_named() {
    let cases = [
        (
            "max_tokens",
            vec![json!(-1), json!(1e10), json!("5"), json!(1.5), json!([])],
        ),
        (
            "temperature",
            vec![
                json!(-0.1),
                json!(2.1),
                json!(1e300),
                json!("1"),
                json!(true),
            ],
        ),
        ("top_p", vec![json!(-0.1), json!(1.1), json!("x")]),
        ("top_k", vec![json!(-1), json!(0.5), json!(1e12)]),
        ("seed", vec![json!(1.5), json!(1e30), json!("7")]),
        ("n", vec![json!(0), json!(129), json!(-1), json!("2")]),
        (
            "stop",
            vec![
                json!(1),
                json!([1]),
                json!(""),
                json!(["a", ""]),
                json!(vec!["x"; 17]),
                json!("x".repeat(1025)),
                json!({}),
            ],
        ),
        ("stream", vec![json!(1), json!("true")]),
        ("stream_options", vec![json!(1), json!([])]),
        ("stream_options.include_usage", vec![]),
        ("ignore_eos", vec![json!(1)]),
        ("return_token_ids", vec![json!("yes")]),
        ("model", vec![json!(1)]),
    ];
    for (field, values) in cases {
        for value in values {
            for (endpoint, body) in [
                (Endpoint::Completions, completion()),
                (Endpoint::ChatCompletions, chat()),
            ] {
                assert_eq!(
                    refused_field(endpoint, &with(body, field, value.clone())),
                    field
                );
            }
        }
    }
    let body = with(completion(), "stream_options", json!({"include_usage": 1}));
    assert_eq!(
        refused_field(Endpoint::Completions, &body),
        "stream_options.include_usage"
    );
    for value in [json!(21), json!(-1), json!(true)] {
        let body = with(completion(), "logprobs", value);
        assert_eq!(refused_field(Endpoint::Completions, &body), "logprobs");
    }
    let body = with(completion(), "echo", json!(1));
    assert_eq!(refused_field(Endpoint::Completions, &body), "echo");
}

#[test]
fn combinations_that_cannot_be_are_named() {
    let body = json!({"prompt": "a", "echo": true, "logprobs": 0, "stream": true});
    assert_eq!(refused_field(Endpoint::Completions, &body), "stream");
    let body = json!({"prompt": ["a", "b"], "n": 65});
    assert_eq!(refused_field(Endpoint::Completions, &body), "n");
    let body = json!({"prompt": vec!["a"; 129]});
    assert_eq!(refused_field(Endpoint::Completions, &body), "prompt");
    let body = with(chat(), "top_logprobs", json!(3));
    assert_eq!(
        refused_field(Endpoint::ChatCompletions, &body),
        "top_logprobs"
    );
    let body = with(chat(), "top_logprobs", json!(0));
    assert!(check(Endpoint::ChatCompletions, &body).is_ok());
    assert!(
        check(
            Endpoint::Completions,
            &json!({"prompt": ["a", "b"], "n": 64})
        )
        .is_ok()
    );
}

#[test]
fn known_fields_without_effect_are_silent_only_while_neutral() {
    let cases = [
        (
            "response_format",
            json!({"type": "text"}),
            json!({"type": "json_object"}),
        ),
        ("mirostat", json!(0), json!(2)),
        ("tools", json!([]), json!([{"type": "function"}])),
        ("tool_choice", json!("auto"), json!("required")),
        ("suffix", json!(""), json!("end")),
        ("grammar", json!(""), json!("root ::= x")),
        ("modalities", json!(["text"]), json!(["audio"])),
    ];
    for (field, neutral, other) in cases {
        for (endpoint, body) in [
            (Endpoint::Completions, completion()),
            (Endpoint::ChatCompletions, chat()),
        ] {
            let silent = with(
                with(body.clone(), field, neutral.clone()),
                "user",
                json!("me"),
            );
            let silent = with(silent, "metadata", json!({"a": "b"})).to_string();
            let warnings = match endpoint {
                Endpoint::Completions => CompletionRequest::parse(silent.as_bytes()).unwrap().1,
                Endpoint::ChatCompletions => ChatRequest::parse(silent.as_bytes()).unwrap().1,
            };
            assert!(warnings.is_empty(), "{field}: {warnings:?}");
            assert_eq!(
                refused_field(endpoint, &with(body, field, other.clone())),
                field
            );
        }
    }
    for (n, best_of, fine) in [(1, 1, true), (2, 2, true), (1, 2, false)] {
        let body = json!({"prompt": "a", "n": n, "best_of": best_of});
        assert_eq!(check(Endpoint::Completions, &body).is_ok(), fine);
    }
}

#[test]
fn unknown_fields_are_listed_in_order_and_bounded() {
    let body = json!({"zeta": 1, "prompt": "a", "alpha": null, "beta": {"x": []}});
    let (_, warnings) = CompletionRequest::parse(body.to_string().as_bytes()).unwrap();
    assert_eq!(warnings, ["zeta", "alpha", "beta"]);
    let mut body = completion();
    for i in 0..40 {
        body[format!("{}{i}", "x".repeat(100))] = json!(i);
    }
    let (_, warnings) = CompletionRequest::parse(body.to_string().as_bytes()).unwrap();
    assert_eq!((warnings.len(), warnings[0].len()), (17, 64));
    assert_eq!(warnings[16], "and 24 more");
    let body = json!({"messages": [{"role": "user", "content": "a", "name": "x"}], "odd": 1});
    let (_, warnings) = ChatRequest::parse(body.to_string().as_bytes()).unwrap();
    assert_eq!(warnings, ["messages[0].name", "odd"]);
}

#[test]
fn messages_are_read_in_both_forms() {
    let body = json!({"messages": [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
    ], "max_tokens": 5, "max_completion_tokens": 6, "logprobs": true, "top_logprobs": 2});
    let (request, warnings) = ChatRequest::parse(body.to_string().as_bytes()).unwrap();
    let message = |role: &str, content: &str| Message {
        role: role.into(),
        content: content.into(),
    };
    assert_eq!(
        request.messages,
        [message("developer", "Be brief."), message("user", "a\nb")]
    );
    assert_eq!(
        (request.max_tokens, request.logprobs, request.top_logprobs),
        (Some(6), true, Some(2))
    );
    assert!(warnings.is_empty());
}

#[test]
fn bad_messages_are_named_by_index() {
    let cases = [
        (json!([]), "messages"),
        (json!("hi"), "messages"),
        (json!(null), "messages"),
        (json!([1]), "messages[0]"),
        (json!([{"content": "a"}]), "messages[0].role"),
        (
            json!([{"role": "user", "content": "a"}, {"role": "<|im_end|>", "content": "a"}]),
            "messages[1].role",
        ),
        (json!([{"role": 1, "content": "a"}]), "messages[0].role"),
        (json!([{"role": "user"}]), "messages[0].content"),
        (
            json!([{"role": "user", "content": 5}]),
            "messages[0].content",
        ),
        (
            json!([{"role": "user", "content": [{"type": "image_url"}]}]),
            "messages[0].content[0].type",
        ),
        (
            json!([{"role": "user", "content": [{"type": "text"}]}]),
            "messages[0].content[0].text",
        ),
        (
            json!([{"role": "user", "content": ["a"]}]),
            "messages[0].content[0]",
        ),
        (
            json!([{"role": "assistant", "content": "", "tool_calls": [{}]}]),
            "messages[0].tool_calls",
        ),
    ];
    for (messages, field) in cases {
        assert_eq!(
            refused_field(Endpoint::ChatCompletions, &json!({"messages": messages})),
            field
        );
    }
}

#[test]
fn bodies_that_are_no_json_objects_are_refused() {
    let deep = "[".repeat(100_000);
    for body in [
        "",
        "[]",
        "1",
        "nonsense",
        "{\"prompt\": \"\\ud800\"}",
        "{\"a\": 1e999}",
        &deep,
    ] {
        for endpoint in Endpoint::ALL {
            assert!(validate(endpoint, body.as_bytes()).is_err(), "{body:.20}");
        }
    }
    assert!(validate(Endpoint::Completions, b"{\"prompt\": \"\xFF\"}").is_err());
}

#[test]
fn seeds_and_streams_are_seen_before_resolving() {
    let seed_of = |text: &str| seed(Endpoint::Completions, text.as_bytes());
    assert_eq!(seed_of(r#"{"seed": 5}"#), Some(5));
    assert_eq!(seed_of(r#"{"seed": -1}"#), Some(u64::MAX));
    assert_eq!(seed_of(r#"{"seed": 18446744073709551615}"#), Some(u64::MAX));
    assert_eq!(seed_of(r#"{"seed": 1, "seed": 2}"#), Some(2));
    for none in [r#"{"seed": null}"#, r#"{"seed": "5"}"#, "{}", "nonsense"] {
        assert_eq!(seed_of(none), None);
    }
    assert!(wants_stream(
        Endpoint::ChatCompletions,
        br#"{"stream": true}"#
    ));
    assert!(!wants_stream(
        Endpoint::ChatCompletions,
        br#"{"stream": false}"#
    ));
    assert!(!wants_stream(Endpoint::ChatCompletions, b"{}"));
}
