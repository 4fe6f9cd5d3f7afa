//! The request fields that change logits before a draw, or bound what may be drawn.
//!
//! Names and meanings are those of OpenAI (presence_penalty, frequency_penalty, logit_bias), vLLM
//! (repetition_penalty, min_tokens, stop_token_ids) and llama.cpp (repeat_penalty, min_p, typical_p).

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use crate::job::Shaping;

use super::RequestError;
use super::fields::Fields;

/// Entries of one `logit_bias`, and ids of one `stop_token_ids`, at most.
pub const MAX_TOKENS_LISTED: usize = 1024;
/// Largest bias of a logit, either way.
const MAX_BIAS: f64 = 100.0;

/// `None` and empty change nothing.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct ShapingOptions {
    /// Least probability, as a share of that of the likeliest token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_p: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub typical_p: Option<f32>,
    /// `repetition_penalty` is another name for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repeat_penalty: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub presence_penalty: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frequency_penalty: Option<f32>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub logit_bias: BTreeMap<u32, f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stop_token_ids: Vec<u32>,
}

impl ShapingOptions {
    pub(super) fn take(fields: &mut Fields) -> Result<Self, RequestError> {
        let repeat_penalty = fields.number("repeat_penalty", 0.01..=10.0)?;
        let repetition_penalty = fields.number("repetition_penalty", 0.01..=10.0)?;
        Ok(ShapingOptions {
            min_p: fields.number("min_p", 0.0..=1.0)?,
            typical_p: fields.number("typical_p", 0.0..=1.0)?,
            repeat_penalty: repeat_penalty.or(repetition_penalty),
            presence_penalty: fields.number("presence_penalty", -2.0..=2.0)?,
            frequency_penalty: fields.number("frequency_penalty", -2.0..=2.0)?,
            logit_bias: take_bias(fields)?,
            min_tokens: fields
                .integer("min_tokens", 0..=i64::from(u32::MAX))?
                .map(|tokens| tokens as u32),
            stop_token_ids: take_stop_tokens(fields)?,
        })
    }

    /// The resolved parameters. Fails on tokens that a model with a vocabulary of `vocab` does not have.
    pub(super) fn resolve(self, vocab: usize) -> Result<Shaping, RequestError> {
        let check = |field: &str, id: Option<&u32>| match id {
            Some(id) if *id as usize >= vocab => Err(RequestError::field(
                field,
                format!("has token {id}; this model has tokens 0 to {}", vocab - 1),
            )),
            _ => Ok(()),
        };
        check("logit_bias", self.logit_bias.keys().next_back())?;
        check("stop_token_ids", self.stop_token_ids.iter().max())?;
        let neutral = Shaping::default();
        let mut stop_tokens = self.stop_token_ids;
        stop_tokens.sort_unstable();
        stop_tokens.dedup();
        Ok(Shaping {
            min_p: self.min_p.unwrap_or(neutral.min_p),
            typical_p: self.typical_p.unwrap_or(neutral.typical_p),
            repeat_penalty: self.repeat_penalty.unwrap_or(neutral.repeat_penalty),
            presence_penalty: self.presence_penalty.unwrap_or(neutral.presence_penalty),
            frequency_penalty: self.frequency_penalty.unwrap_or(neutral.frequency_penalty),
            logit_bias: self.logit_bias.into_iter().collect(),
            min_tokens: self.min_tokens.unwrap_or(neutral.min_tokens),
            stop_tokens,
        })
    }
}

fn take_bias(fields: &mut Fields) -> Result<BTreeMap<u32, f32>, RequestError> {
    let value = fields.take("logit_bias");
    let error = || {
        fields.error(
            "logit_bias",
            format!(
                "must be an object of at most {MAX_TOKENS_LISTED} token ids, each with a number from -{MAX_BIAS} to {MAX_BIAS}"
            ),
        )
    };
    let entry = |(id, bias): (String, Value)| -> Option<(u32, f32)> {
        let bias = bias.as_f64().filter(|bias| bias.abs() <= MAX_BIAS)?;
        Some((id.parse().ok()?, bias as f32))
    };
    match value {
        None => Ok(BTreeMap::new()),
        Some(Value::Object(entries)) if entries.len() <= MAX_TOKENS_LISTED => entries
            .into_iter()
            .map(entry)
            .collect::<Option<_>>()
            .ok_or_else(error),
        Some(_) => Err(error()),
    }
}

fn take_stop_tokens(fields: &mut Fields) -> Result<Vec<u32>, RequestError> {
    let value = fields.take("stop_token_ids");
    let error = || {
        fields.error(
            "stop_token_ids",
            format!("must be a list of at most {MAX_TOKENS_LISTED} token ids"),
        )
    };
    let id = |value: Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
    match value {
        None => Ok(Vec::new()),
        Some(Value::Array(ids)) if ids.len() <= MAX_TOKENS_LISTED => ids
            .into_iter()
            .map(id)
            .collect::<Option<_>>()
            .ok_or_else(error),
        Some(_) => Err(error()),
    }
}
