//! `/v1/completions`: the request and the response bodies.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::job::{FinishReason, Usage};

use super::RequestError;
use super::fields::Fields;
use super::logprobs::LegacyLogprobs;
use super::sampling::{MAX_LOGPROBS, Options, take_max_tokens};

/// One or more prompts, as text or as token ids.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Prompt {
    Text(String),
    Texts(Vec<String>),
    Tokens(Vec<u32>),
    TokenLists(Vec<Vec<u32>>),
}

/// The request body.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CompletionRequest {
    pub prompt: Prompt,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u32>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub echo: bool,
    /// Best candidates to report per token; 0 reports the chosen one only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logprobs: Option<u8>,
    #[serde(flatten)]
    pub options: Options,
}

impl CompletionRequest {
    /// The request, and the names of unknown fields.
    pub fn parse(body: &[u8]) -> Result<(Self, Vec<String>), RequestError> {
        let mut fields = Fields::from_body(body)?;
        let prompt = fields.required("prompt")?;
        let request = CompletionRequest {
            prompt: Prompt::from_json(prompt)?,
            max_tokens: take_max_tokens(&mut fields, "max_tokens")?,
            echo: fields.flag("echo")?,
            logprobs: fields
                .integer("logprobs", 0..=i64::from(MAX_LOGPROBS))?
                .map(|k| k as u8),
            options: Options::take(&mut fields)?,
        };
        if request.echo && request.logprobs.is_some() && request.options.stream {
            return Err(RequestError::field(
                "stream",
                "cannot be combined with echo and logprobs: log-probabilities of a prompt come with the whole answer",
            ));
        }
        // The best of as many answers as are returned is all of them.
        let n = request.options.n() as i64;
        if fields
            .integer("best_of", 0..=i64::MAX)?
            .is_some_and(|best_of| best_of != n)
        {
            return Err(RequestError::field(
                "best_of",
                "is not supported unless it equals n",
            ));
        }
        Ok((request, fields.unknown()))
    }
}

impl Prompt {
    fn from_json(value: Value) -> Result<Self, RequestError> {
        let error = || {
            RequestError::field(
                "prompt",
                "must be a string, a list of strings, a list of token ids or a list of such lists; \
                 lists must not be empty",
            )
        };
        let items = match value {
            Value::String(text) => return Ok(Prompt::Text(text)),
            Value::Array(items) => items,
            _ => return Err(error()),
        };
        let prompt = match items.first() {
            Some(Value::String(_)) => Prompt::Texts(
                items
                    .into_iter()
                    .map(text)
                    .collect::<Option<_>>()
                    .ok_or_else(error)?,
            ),
            Some(Value::Number(_)) => Prompt::Tokens(token_ids(&items).ok_or_else(error)?),
            Some(Value::Array(_)) => {
                let lists = items.iter().map(|item| token_ids(item.as_array()?));
                Prompt::TokenLists(lists.collect::<Option<_>>().ok_or_else(error)?)
            }
            _ => return Err(error()),
        };
        Ok(prompt)
    }
}

fn text(value: Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text),
        _ => None,
    }
}

/// A list of at least one token id.
fn token_ids(items: &[Value]) -> Option<Vec<u32>> {
    let ids = items
        .iter()
        .map(|item| item.as_u64().and_then(|id| u32::try_from(id).ok()));
    ids.collect::<Option<Vec<u32>>>()
        .filter(|ids| !ids.is_empty())
}

/// The response body, and the shape of every chunk of its stream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Completion {
    pub id: String,
    /// `text_completion`.
    pub object: String,
    /// Unix seconds.
    pub created: i64,
    pub model: String,
    pub system_fingerprint: String,
    pub choices: Vec<CompletionChoice>,
    /// `Some(None)` is written as null: what chunks before the last have when usage was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Option<Usage>>,
    /// Request fields without effect.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// The text of one sequence, or a part of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CompletionChoice {
    pub text: String,
    pub index: usize,
    pub logprobs: Option<LegacyLogprobs>,
    pub finish_reason: Option<FinishReason>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_ids: Option<Vec<u32>>,
}
