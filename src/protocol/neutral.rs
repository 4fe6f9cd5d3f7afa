//! Fields that OpenAI or other servers know and woolly does not act on yet.
//!
//! A value that changes nothing is accepted silently. Any other value would give another answer than
//! the client expects, so it is refused. Fields outside this table are unknown and only warned of.

use serde_json::Value;

use super::RequestError;
use super::fields::Fields;

/// The values that change nothing.
#[derive(Debug, Clone, Copy)]
enum Neutral {
    /// Every value: the field is about bookkeeping, not about the answer.
    Any,
    Number(f64),
    /// `""`, `[]`, `{}` or false.
    Empty,
    Words(&'static [&'static str]),
    /// `{"type": "text"}`.
    TextFormat,
    /// `["text"]`.
    TextModality,
}

const TABLE: &[(&str, Neutral)] = &[
    ("user", Neutral::Any),
    ("metadata", Neutral::Any),
    ("store", Neutral::Any),
    ("service_tier", Neutral::Any),
    ("safety_identifier", Neutral::Any),
    ("prompt_cache_key", Neutral::Any),
    ("parallel_tool_calls", Neutral::Any),
    ("mirostat", Neutral::Number(0.0)),
    ("suffix", Neutral::Empty),
    ("grammar", Neutral::Empty),
    ("json_schema", Neutral::Empty),
    ("tools", Neutral::Empty),
    ("functions", Neutral::Empty),
    ("audio", Neutral::Empty),
    ("prediction", Neutral::Empty),
    ("web_search_options", Neutral::Empty),
    ("tool_choice", Neutral::Words(&["none", "auto"])),
    ("function_call", Neutral::Words(&["none", "auto"])),
    ("response_format", Neutral::TextFormat),
    ("modalities", Neutral::TextModality),
];

impl Neutral {
    fn holds(self, value: &Value) -> bool {
        match self {
            Neutral::Any => true,
            Neutral::Number(neutral) => value.as_f64() == Some(neutral),
            Neutral::Empty => match value {
                Value::Bool(flag) => !flag,
                Value::String(text) => text.is_empty(),
                Value::Array(items) => items.is_empty(),
                Value::Object(fields) => fields.is_empty(),
                _ => false,
            },
            Neutral::Words(words) => value.as_str().is_some_and(|word| words.contains(&word)),
            Neutral::TextFormat => {
                value.as_object().is_some_and(|o| o.len() == 1)
                    && value.get("type").and_then(Value::as_str) == Some("text")
            }
            Neutral::TextModality => {
                value.as_array().is_some_and(|o| o.len() == 1)
                    && value.get(0).and_then(Value::as_str) == Some("text")
            }
        }
    }
}

/// Takes every field of the table; one with an effect is an error.
pub(super) fn take_all(fields: &mut Fields) -> Result<(), RequestError> {
    for (name, neutral) in TABLE {
        if let Some(value) = fields.take(name)
            && !neutral.holds(&value)
        {
            return Err(fields.error(name, "has a value that is not supported; leave it out"));
        }
    }
    Ok(())
}
