//! `/tokenize` and `/detokenize`. Both field names in use are taken: llama.cpp's `content` and
//! `add_special`, vLLM's `prompt` and `add_special_tokens`; the defaults are llama.cpp's.

use serde::{Deserialize, Serialize};

use super::fields::Fields;
use super::{Context, RequestError};

/// The body of `POST /tokenize`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TokenizeRequest {
    pub content: String,
    /// Adds BOS and EOS as the model does to a prompt.
    pub add_special: bool,
    /// Control tokens in the text become their ids; true when left out.
    pub parse_special: bool,
}

/// The answer of `/tokenize`, and the body of `POST /detokenize`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tokens {
    pub tokens: Vec<u32>,
}

/// The answer of `/detokenize`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Detokenized {
    pub content: String,
}

impl TokenizeRequest {
    pub fn parse(body: &[u8]) -> Result<Self, RequestError> {
        let mut fields = Fields::from_body(body)?;
        let (content, prompt) = (fields.string("content")?, fields.string("prompt")?);
        let content = content
            .or(prompt)
            .ok_or_else(|| fields.error("content", "is required"))?;
        Ok(TokenizeRequest {
            content,
            add_special: fields.flag("add_special")? || fields.flag("add_special_tokens")?,
            parse_special: fields.flag_or("parse_special", true)?,
        })
    }
}

impl Tokens {
    pub fn parse(body: &[u8]) -> Result<Self, RequestError> {
        let mut fields = Fields::from_body(body)?;
        let ids = fields.required("tokens")?;
        let ids = ids.as_array().and_then(|items| {
            let ids = items
                .iter()
                .map(|item| item.as_u64().and_then(|id| u32::try_from(id).ok()));
            ids.collect::<Option<Vec<u32>>>()
        });
        let tokens = ids.ok_or_else(|| fields.error("tokens", "must be a list of token ids"))?;
        Ok(Tokens { tokens })
    }
}

/// Answers `POST /tokenize`.
pub fn tokenize(context: &Context<'_>, body: &[u8]) -> Result<Tokens, RequestError> {
    let request = TokenizeRequest::parse(body)?;
    context
        .tokenizer
        .encode(&request.content, request.add_special, request.parse_special)
        .map(|tokens| Tokens { tokens })
        .map_err(|error| RequestError::field("content", format!("cannot be used: {error}")))
}

/// Answers `POST /detokenize`; control tokens are shown by name.
pub fn detokenize(context: &Context<'_>, body: &[u8]) -> Result<Detokenized, RequestError> {
    let request = Tokens::parse(body)?;
    if let Some(id) = request
        .tokens
        .iter()
        .find(|id| **id as usize >= context.info.vocab)
    {
        return Err(RequestError::field(
            "tokens",
            format!(
                "has token {id}; this model has tokens below {}",
                context.info.vocab
            ),
        ));
    }
    Ok(Detokenized {
        content: context.tokenizer.decode(&request.tokens, true),
    })
}
