//! `/v1/chat/completions`: the request and the response bodies.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::job::{FinishReason, Usage};
use crate::text::Message;

use super::RequestError;
use super::fields::Fields;
use super::logprobs::ChatLogprobs;
use super::sampling::{MAX_LOGPROBS, Options, take_max_tokens};

/// The roles a message may have. No others, because templates build control tokens around a role.
pub const ROLES: [&str; 6] = [
    "system",
    "developer",
    "user",
    "assistant",
    "tool",
    "function",
];

/// The request body.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ChatRequest {
    pub messages: Vec<Message>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u32>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub logprobs: bool,
    /// Best candidates to report per token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_logprobs: Option<u8>,
    #[serde(flatten)]
    pub options: Options,
}

impl ChatRequest {
    /// The request, and the names of unknown fields.
    pub fn parse(body: &[u8]) -> Result<(Self, Vec<String>), RequestError> {
        let mut fields = Fields::from_body(body)?;
        let mut warnings = Vec::new();
        let messages = take_messages(&mut fields, &mut warnings)?;
        let older = take_max_tokens(&mut fields, "max_tokens")?;
        let newer = take_max_tokens(&mut fields, "max_completion_tokens")?;
        let request = ChatRequest {
            messages,
            max_tokens: newer.or(older),
            logprobs: fields.flag("logprobs")?,
            top_logprobs: fields
                .integer("top_logprobs", 0..=i64::from(MAX_LOGPROBS))?
                .map(|k| k as u8),
            options: Options::take(&mut fields)?,
        };
        if request.top_logprobs.is_some_and(|k| k > 0) && !request.logprobs {
            return Err(RequestError::field(
                "top_logprobs",
                "needs logprobs to be true",
            ));
        }
        warnings.extend(fields.unknown());
        Ok((request, warnings))
    }

    /// What the sampler reports: nothing, or this many candidates.
    pub(super) fn candidates(&self) -> Option<u8> {
        self.logprobs.then(|| self.top_logprobs.unwrap_or(0))
    }
}

fn take_messages(
    fields: &mut Fields,
    warnings: &mut Vec<String>,
) -> Result<Vec<Message>, RequestError> {
    let items = match fields.required("messages")? {
        Value::Array(items) if !items.is_empty() => items,
        _ => return Err(fields.error("messages", "must be a list of at least one message")),
    };
    let mut messages = Vec::with_capacity(items.len());
    for (index, item) in items.into_iter().enumerate() {
        let mut inner = Fields::from_value(item, format!("messages[{index}]"))?;
        let role = inner
            .string("role")?
            .filter(|role| ROLES.contains(&role.as_str()));
        let Some(role) = role else {
            return Err(inner.error("role", format!("must be one of {}", ROLES.join(", "))));
        };
        let content = take_content(&mut inner)?;
        for name in ["tool_calls", "function_call"] {
            let calls = inner.take(name);
            if calls.is_some_and(|calls| calls.as_array().is_none_or(|list| !list.is_empty())) {
                return Err(inner.error(name, "is not supported; leave it out"));
            }
        }
        // One list of a few names, not one per message.
        if warnings.len() < 16 {
            warnings.extend(inner.unknown());
        }
        messages.push(Message { role, content });
    }
    Ok(messages)
}

/// A string, or a list of text parts, which are joined by line breaks as llama.cpp joins them.
fn take_content(message: &mut Fields) -> Result<String, RequestError> {
    match message.required("content")? {
        Value::String(text) => Ok(text),
        Value::Array(parts) => {
            let mut texts = Vec::with_capacity(parts.len());
            for (index, part) in parts.into_iter().enumerate() {
                let path = message.name(&format!("content[{index}]"));
                let mut part = Fields::from_value(part, path)?;
                if part.string("type")?.as_deref() != Some("text") {
                    return Err(part.error("type", "must be \"text\""));
                }
                match part.required("text")? {
                    Value::String(text) => texts.push(text),
                    _ => return Err(part.error("text", "must be a string")),
                }
            }
            Ok(texts.join("\n"))
        }
        _ => Err(message.error("content", "must be a string or a list of text parts")),
    }
}

/// The response body.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChatCompletion {
    pub id: String,
    /// `chat.completion`.
    pub object: String,
    /// Unix seconds.
    pub created: i64,
    pub model: String,
    pub system_fingerprint: String,
    pub choices: Vec<ChatChoice>,
    pub usage: Usage,
    /// Request fields without effect.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// The answer of one sequence.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChatChoice {
    pub index: usize,
    pub message: Message,
    pub logprobs: Option<ChatLogprobs>,
    pub finish_reason: FinishReason,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_ids: Option<Vec<u32>>,
}

/// One chunk of a stream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChatChunk {
    pub id: String,
    /// `chat.completion.chunk`.
    pub object: String,
    /// Unix seconds.
    pub created: i64,
    pub model: String,
    pub system_fingerprint: String,
    pub choices: Vec<ChunkChoice>,
    /// `Some(None)` is written as null: what chunks before the last have when usage was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Option<Usage>>,
    /// Request fields without effect; in the first chunk.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// What one sequence gained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChunkChoice {
    pub index: usize,
    pub delta: Delta,
    pub logprobs: Option<ChatLogprobs>,
    pub finish_reason: Option<FinishReason>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_ids: Option<Vec<u32>>,
}

/// New text, or at the beginning the role.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Delta {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
}
