//! The request fields that completions and chats share.
//!
//! Limits: temperature 0 to 2 and top_p 0 to 1 as OpenAI has them; top_k 0 (off) upwards; n at most
//! [`MAX_SEQUENCES`]; at most [`MAX_STOPS`] stop strings of 1 to [`MAX_STOP_BYTES`] bytes, because the
//! engine holds back that much text. A negative seed, which OpenAI allows, is taken as its bits.

use serde::Serialize;
use serde_json::Value;

use crate::job::SamplingParams;

use super::RequestError;
use super::fields::Fields;
use super::neutral;
use super::shaping::ShapingOptions;

/// Sequences of one job at most: prompts times `n`.
pub const MAX_SEQUENCES: usize = 128;
/// Stop strings of one request at most.
pub const MAX_STOPS: usize = 16;
/// Bytes of one stop string at most.
pub const MAX_STOP_BYTES: usize = 1024;
/// Candidates reported per token at most.
pub const MAX_LOGPROBS: u8 = 20;

/// What a stream is asked for besides its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct StreamOptions {
    pub include_usage: bool,
}

/// How tokens are drawn and answers are sent; `None` takes the default.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Options {
    /// Accepted whatever it is: one daemon serves one model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_k: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stop: Vec<String>,
    /// Answers per prompt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub n: Option<u32>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub stream: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream_options: Option<StreamOptions>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub ignore_eos: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub return_token_ids: bool,
    #[serde(flatten)]
    pub shaping: ShapingOptions,
    /// Whether the result of an equal request may be the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reuse: Option<bool>,
}

impl Options {
    /// Takes the shared fields, those without effect too.
    pub(super) fn take(fields: &mut Fields) -> Result<Self, RequestError> {
        let options = Options {
            model: fields.string("model")?,
            temperature: fields.number("temperature", 0.0..=2.0)?,
            top_p: fields.number("top_p", 0.0..=1.0)?,
            top_k: fields
                .integer("top_k", 0..=i64::from(u32::MAX))?
                .map(|k| k as u32),
            seed: take_seed(fields)?,
            stop: take_stop(fields)?,
            n: fields
                .integer("n", 1..=MAX_SEQUENCES as i64)?
                .map(|n| n as u32),
            stream: fields.flag("stream")?,
            stream_options: take_stream_options(fields)?,
            ignore_eos: fields.flag("ignore_eos")?,
            return_token_ids: fields.flag("return_token_ids")?,
            shaping: ShapingOptions::take(fields)?,
            reuse: fields.choice("reuse")?,
        };
        neutral::take_all(fields)?;
        Ok(options)
    }

    pub(super) fn n(&self) -> usize {
        self.n.map_or(1, |n| n as usize)
    }

    /// The resolved parameters, for a model with a vocabulary of `vocab`.
    pub(super) fn params(
        self,
        vocab: usize,
        max_tokens: u32,
        seed: u64,
        logprobs: Option<u8>,
    ) -> Result<SamplingParams, RequestError> {
        Ok(SamplingParams {
            max_tokens,
            temperature: self.temperature.unwrap_or(1.0),
            top_k: self.top_k.unwrap_or(0),
            top_p: self.top_p.unwrap_or(1.0),
            seed,
            stop: self.stop,
            ignore_eos: self.ignore_eos,
            logprobs,
            shaping: self.shaping.resolve(vocab)?,
        })
    }
}

/// Any integer of 64 bits, signed or not.
pub(super) fn take_seed(fields: &mut Fields) -> Result<Option<u64>, RequestError> {
    let Some(value) = fields.take("seed") else {
        return Ok(None);
    };
    let bits = value
        .as_u64()
        .or_else(|| value.as_i64().map(i64::cast_unsigned));
    bits.map(Some)
        .ok_or_else(|| fields.error("seed", "must be an integer of 64 bits"))
}

fn take_stop(fields: &mut Fields) -> Result<Vec<String>, RequestError> {
    let value = fields.take("stop");
    let error = || {
        let list = format!("a list of at most {MAX_STOPS}");
        let bytes = format!("1 to {MAX_STOP_BYTES} bytes");
        fields.error(
            "stop",
            format!("must be a string of {bytes} or {list} of them"),
        )
    };
    let strings = match value {
        None => Vec::new(),
        Some(Value::String(text)) => vec![text],
        Some(Value::Array(items)) if items.len() <= MAX_STOPS => items
            .into_iter()
            .map(|item| match item {
                Value::String(text) => Ok(text),
                _ => Err(error()),
            })
            .collect::<Result<_, _>>()?,
        Some(_) => return Err(error()),
    };
    if strings
        .iter()
        .any(|text| text.is_empty() || text.len() > MAX_STOP_BYTES)
    {
        return Err(error());
    }
    Ok(strings)
}

pub(super) fn take_stream_options(
    fields: &mut Fields,
) -> Result<Option<StreamOptions>, RequestError> {
    let Some(value) = fields.take("stream_options") else {
        return Ok(None);
    };
    let mut inner = Fields::from_value(value, "stream_options".to_owned())?;
    Ok(Some(StreamOptions {
        include_usage: inner.flag("include_usage")?,
    }))
}

/// `max_tokens` under either of its names.
pub(super) fn take_max_tokens(
    fields: &mut Fields,
    name: &str,
) -> Result<Option<u32>, RequestError> {
    Ok(fields
        .integer(name, 0..=i64::from(u32::MAX))?
        .map(|tokens| tokens as u32))
}
