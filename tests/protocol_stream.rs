//! Streams: OpenAI's chunks, and together exactly the plain answer.

use proptest::prelude::*;
use serde_json::{Value, json};
use woolly::job::{Endpoint, Event, FinishReason, JobId, Outcome, SequenceEvent, Token};
use woolly::protocol::{StreamState, render, render_event};

use crate::support::served_model::{ServedModel, meta};
use crate::support::vocabularies::bytes;

fn event(sequence: usize, event: Event) -> SequenceEvent {
    SequenceEvent {
        job: JobId(12),
        sequence,
        event,
    }
}

fn token(id: u32, text: &str) -> Event {
    Event::Token(Token {
        id,
        text: text.to_owned(),
        ..Token::default()
    })
}

fn finished(text: &str) -> Event {
    Event::Finished {
        reason: FinishReason::Stop,
        text: text.to_owned(),
    }
}

fn stream(
    model: &ServedModel,
    endpoint: Endpoint,
    body: &Value,
    events: impl IntoIterator<Item = SequenceEvent>,
) -> Vec<Value> {
    let spec = model.spec(endpoint, body);
    let mut state = StreamState::new(&spec, body.to_string().as_bytes());
    let payloads = events
        .into_iter()
        .flat_map(|event| render_event(&model.context(), &meta(endpoint), &mut state, &event));
    payloads
        .map(|payload| serde_json::from_str(&payload).unwrap())
        .collect()
}

#[test]
fn a_completion_stream_in_full() {
    let model = ServedModel::new(bytes(300));
    let body = json!({"prompt": "abc", "stream": true, "odd": 1});
    let events = [
        token(72, "H"),
        token(0xC3, ""),
        token(0xA9, "é"),
        finished("!"),
    ];
    let chunks = stream(
        &model,
        Endpoint::Completions,
        &body,
        events.map(|e| event(0, e)),
    );
    let chunk = |text: &str, finish: Value| {
        json!({
            "id": "cmpl-12", "object": "text_completion", "created": 1_700_000_000, "model": "tiny",
            "system_fingerprint": "fp-1",
            "choices": [{"text": text, "index": 0, "logprobs": null, "finish_reason": finish}],
        })
    };
    let mut first = chunk("H", Value::Null);
    first["warnings"] = json!(["odd"]);
    let rest = [
        chunk("é", Value::Null),
        chunk("!", Value::Null),
        chunk("", json!("stop")),
    ];
    assert_eq!(chunks, [&[first][..], &rest].concat());
}

#[test]
fn a_chat_stream_in_full() {
    let model = ServedModel::new(bytes(300));
    let messages = json!([{"role": "user", "content": "a"}]);
    let body =
        json!({"messages": messages, "stream": true, "stream_options": {"include_usage": true}});
    let events = [token(72, "H"), token(257, ""), finished("")];
    let chunks = stream(
        &model,
        Endpoint::ChatCompletions,
        &body,
        events.map(|e| event(0, e)),
    );
    let chunk = |delta: Value, finish: Value| {
        json!({
            "id": "chatcmpl-12", "object": "chat.completion.chunk", "created": 1_700_000_000,
            "model": "tiny", "system_fingerprint": "fp-1",
            "choices": [{"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish}],
            "usage": null,
        })
    };
    let mut last = chunk(Value::Null, Value::Null);
    last["choices"] = json!([]);
    let prompt = model.spec(Endpoint::ChatCompletions, &body).sequences[0]
        .prompt
        .len();
    last["usage"] =
        json!({"prompt_tokens": prompt, "completion_tokens": 2, "total_tokens": prompt + 2});
    let expected = [
        chunk(json!({"role": "assistant", "content": ""}), Value::Null),
        chunk(json!({"content": "H"}), Value::Null),
        chunk(json!({}), json!("stop")),
        last,
    ];
    assert_eq!(chunks, expected);
}

#[test]
fn usage_comes_once_after_the_last_sequence() {
    let model = ServedModel::new(bytes(300));
    let body = json!({"prompt": "a", "n": 2, "stream_options": {"include_usage": true}});
    let events = [
        event(1, token(72, "H")),
        event(1, finished("")),
        event(0, finished("")),
    ];
    let chunks = stream(&model, Endpoint::Completions, &body, events);
    assert_eq!(chunks.len(), 4);
    assert!(chunks[..3].iter().all(|chunk| chunk["usage"].is_null()));
    assert_eq!(chunks[3]["choices"], json!([]));
    assert_eq!(chunks[3]["usage"]["completion_tokens"], 1);
}

#[test]
fn held_back_tokens_show_when_ids_are_wanted() {
    let model = ServedModel::new(bytes(300));
    let body = json!({"prompt": "a", "return_token_ids": true});
    let events = [
        event(0, token(0xC3, "")),
        event(0, token(0xA9, "é")),
        event(0, finished("")),
    ];
    let chunks = stream(&model, Endpoint::Completions, &body, events);
    let ids: Vec<_> = chunks
        .iter()
        .map(|chunk| chunk["choices"][0]["token_ids"].clone())
        .collect();
    assert_eq!(ids, [json!([0xC3]), json!([0xA9]), Value::Null]);
}

#[test]
fn what_the_store_decides_says_nothing() {
    let model = ServedModel::new(bytes(300));
    let failed = Event::Failed {
        message: "out of memory".to_owned(),
        fault: false,
    };
    let events = [
        event(0, failed),
        event(0, Event::Stopped),
        event(9, token(72, "H")),
    ];
    assert!(
        stream(
            &model,
            Endpoint::Completions,
            &json!({"prompt": "a"}),
            events
        )
        .is_empty()
    );
}

#[test]
fn nothing_follows_the_end_of_a_sequence() {
    let model = ServedModel::new(bytes(300));
    let events = [
        event(0, finished("a")),
        event(0, token(72, "H")),
        event(0, finished("b")),
    ];
    let chunks = stream(
        &model,
        Endpoint::Completions,
        &json!({"prompt": "a"}),
        events,
    );
    assert_eq!(chunks.len(), 2);
}

/// The events of an outcome: what the engine tells while it makes it.
fn events(outcome: &Outcome) -> Vec<SequenceEvent> {
    let mut events = Vec::new();
    for (index, sequence) in outcome.sequences.iter().enumerate() {
        let told: usize = sequence.tokens.iter().map(|token| token.text.len()).sum();
        events.extend(
            sequence
                .tokens
                .iter()
                .map(|t| event(index, Event::Token(t.clone()))),
        );
        let rest = sequence.text[told..].to_owned();
        events.push(event(
            index,
            Event::Finished {
                reason: sequence.finish,
                text: rest,
            },
        ));
    }
    events
}

fn lists(choice: &Value, name: &str) -> Vec<Value> {
    choice["logprobs"][name]
        .as_array()
        .cloned()
        .unwrap_or_default()
}

proptest! {
    #[test]
    fn the_chunks_together_are_the_plain_answer(
        ids in prop::collection::vec(prop_oneof![0..300u32, prop::sample::select(vec![0xC3u32, 0xA9])], 0..30),
        chat: bool, echo: bool, logprobs: bool, n in 1..3usize,
    ) {
        let model = ServedModel::new(bytes(300));
        let (endpoint, body) = match (chat, logprobs) {
            (true, _) => (Endpoint::ChatCompletions, json!({
                "messages": [{"role": "user", "content": "a"}], "n": n, "return_token_ids": true,
                "logprobs": logprobs, "stream_options": {"include_usage": true},
            })),
            (false, true) => (Endpoint::Completions, json!({
                "prompt": "ab", "n": n, "return_token_ids": true, "logprobs": 1,
                "stream_options": {"include_usage": true},
            })),
            (false, false) => (Endpoint::Completions, json!({
                "prompt": "ab", "n": n, "return_token_ids": true, "echo": echo,
                "stream_options": {"include_usage": true},
            })),
        };
        let spec = model.spec(endpoint, &body);
        let outcome = model.outcome(&spec, &ids);
        let plain = render(&model.context(), &meta(endpoint), &spec, &outcome);
        let plain: Value = serde_json::from_slice(&plain).unwrap();
        let chunks = stream(&model, endpoint, &body, events(&outcome));
        prop_assert_eq!(&chunks.last().unwrap()["usage"], &plain["usage"]);
        for index in 0..n {
            let choice = &plain["choices"][index];
            let parts: Vec<&Value> = chunks.iter()
                .filter_map(|chunk| chunk["choices"].get(0))
                .filter(|part| part["index"] == index)
                .collect();
            let text: String = parts.iter()
                .filter_map(|part| if chat { part["delta"]["content"].as_str() } else { part["text"].as_str() })
                .collect();
            let whole = if chat { &choice["message"]["content"] } else { &choice["text"] };
            prop_assert_eq!(whole, &text);
            let told: Vec<Value> =
                parts.iter().filter_map(|part| part["token_ids"].as_array()).flatten().cloned().collect();
            prop_assert_eq!(&Value::from(told), &choice["token_ids"]);
            for name in ["content", "tokens", "token_logprobs", "top_logprobs", "text_offset"] {
                let told: Vec<Value> = parts.iter().flat_map(|part| lists(part, name)).collect();
                prop_assert_eq!(told, lists(choice, name));
            }
            prop_assert_eq!(&parts.last().unwrap()["finish_reason"], &choice["finish_reason"]);
        }
    }
}
