//! `POST /detokenize`: `{"tokens": [..]}` -> `{"content": ".."}`, control tokens as their names.

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
    let tokens = tokens(&body.object()?, served.info.vocab)?;
    let content = served.tokenizer.decode(&tokens, true);
    Ok(json_response(StatusCode::OK, &json!({"content": content})))
}

fn tokens(request: &Map<String, Value>, vocab: usize) -> Result<Vec<u32>, Refusal> {
    let refusal = || {
        Refusal::bad_field(
            "tokens",
            format!("tokens must be a list of token ids below {vocab}"),
        )
    };
    let Some(Value::Array(tokens)) = request.get("tokens") else {
        return Err(refusal());
    };
    let id = |token: &Value| {
        let id = token.as_u64().filter(|&id| id < vocab as u64);
        id.and_then(|id| u32::try_from(id).ok()).ok_or_else(refusal)
    };
    tokens.iter().map(id).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_ids_of_the_vocabulary() {
        let read = |value: Value| tokens(value.as_object().unwrap(), 320);
        assert_eq!(read(json!({"tokens": [0, 319]})).unwrap(), [0, 319]);
        assert!(read(json!({"tokens": []})).unwrap().is_empty());
        for wrong in [
            json!({}),
            json!({"tokens": "1"}),
            json!({"tokens": [320]}),
            json!({"tokens": [-1]}),
        ] {
            assert_eq!(read(wrong).unwrap_err().body()["error"]["param"], "tokens");
        }
    }
}
