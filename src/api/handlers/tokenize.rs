//! `POST /tokenize`: text to token ids.
//!
//! `{"content" (or "prompt"), "add_special": false, "parse_special": true}` -> `{"tokens": [..]}`;
//! the defaults are those of llama.cpp's server.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Map, Value, json};

use crate::api::body::{RequestBody, json_response};
use crate::api::refusal::Refusal;
use crate::api::server::Shared;

pub(in crate::api) async fn handle(
    State(shared): State<Shared>,
    body: RequestBody,
) -> Result<Response, Refusal> {
    let served = shared.served()?;
    let request = body.object()?;
    let text = text(&request)?;
    let add_special = flag(&request, "add_special", false)?;
    let parse_special = flag(&request, "parse_special", true)?;
    let encoding = tokio::task::spawn_blocking(move || {
        served.tokenizer.encode(&text, add_special, parse_special)
    });
    match encoding.await {
        Ok(Ok(tokens)) => Ok(json_response(StatusCode::OK, &json!({"tokens": tokens}))),
        Ok(Err(error)) => Err(Refusal::bad_field("content", error.to_string())),
        Err(_panicked) => Err(Refusal::failed("the text could not be tokenized")),
    }
}

fn text(request: &Map<String, Value>) -> Result<String, Refusal> {
    let name = if request.contains_key("content") {
        "content"
    } else {
        "prompt"
    };
    match request.get(name) {
        Some(Value::String(text)) => Ok(text.clone()),
        Some(_) => Err(Refusal::bad_field(name, format!("{name} must be a text"))),
        None => Err(Refusal::bad_field(
            "content",
            "content is missing; it must be a text",
        )),
    }
}

fn flag(request: &Map<String, Value>, name: &str, default: bool) -> Result<bool, Refusal> {
    match request.get(name) {
        None | Some(Value::Null) => Ok(default),
        Some(Value::Bool(flag)) => Ok(*flag),
        Some(_) => Err(Refusal::bad_field(
            name,
            format!("{name} must be true or false"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn the_text_is_in_content_or_prompt() {
        assert_eq!(
            text(&object(json!({"content": "a", "prompt": "b"}))).unwrap(),
            "a"
        );
        assert_eq!(text(&object(json!({"prompt": "b"}))).unwrap(), "b");
        let refusal = text(&object(json!({"prompt": 3}))).unwrap_err();
        assert_eq!(refusal.body()["error"]["param"], "prompt");
        assert!(text(&object(json!({}))).is_err());
    }

    #[test]
    fn flags_are_booleans() {
        let request = object(json!({"a": true, "b": null, "c": 1}));
        assert!(flag(&request, "a", false).unwrap());
        assert!(flag(&request, "b", true).unwrap());
        assert!(!flag(&request, "missing", false).unwrap());
        assert_eq!(
            flag(&request, "c", false).unwrap_err().body()["error"]["param"],
            "c"
        );
    }
}
