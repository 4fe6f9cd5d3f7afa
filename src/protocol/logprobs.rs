//! Log-probabilities in the two shapes of OpenAI's API.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::job::Token;
use crate::text::{StreamDecoder, Tokenizer};

/// What JSON gets for a log-probability that is not finite; OpenAI's value for "very unlikely".
const LOWEST: f32 = -9999.0;

/// The shape of `/v1/completions`: four lists of one entry per token.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct LegacyLogprobs {
    pub tokens: Vec<String>,
    /// `None` for the first token of a text, before which there is nothing.
    pub token_logprobs: Vec<Option<f32>>,
    /// The best candidates and the chosen token, by text.
    pub top_logprobs: Vec<Option<BTreeMap<String, f32>>>,
    /// Characters of the sequence's text that are complete before the token.
    pub text_offset: Vec<usize>,
}

/// The shape of `/v1/chat/completions`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ChatLogprobs {
    pub content: Vec<TokenLogprob>,
}

/// One token of a chat's answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TokenLogprob {
    pub token: String,
    pub logprob: f32,
    pub bytes: Vec<u8>,
    pub top_logprobs: Vec<Candidate>,
}

/// One of the best candidates.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    pub token: String,
    pub logprob: f32,
    pub bytes: Vec<u8>,
}

/// How far the text of a sequence is, counted in characters.
#[derive(Debug, Default)]
pub(super) struct Offset {
    decoder: StreamDecoder,
    characters: usize,
}

/// Lists `tokens`, which follow on those that moved `offset`.
pub(super) fn legacy(
    tokenizer: &Tokenizer,
    tokens: &[Token],
    offset: &mut Offset,
) -> LegacyLogprobs {
    let mut lists = LegacyLogprobs::default();
    for token in tokens {
        lists.tokens.push(legacy_text(tokenizer, token.id));
        lists.token_logprobs.push(token.logprob.map(finite));
        lists.top_logprobs.push(token.logprob.map(|logprob| {
            let candidates = token.top.iter().copied().chain([(token.id, logprob)]);
            candidates
                .map(|(id, logprob)| (legacy_text(tokenizer, id), finite(logprob)))
                .collect()
        }));
        lists.text_offset.push(offset.characters);
        offset.characters += offset
            .decoder
            .push(tokenizer.bytes(token.id))
            .chars()
            .count();
    }
    lists
}

pub(super) fn chat(tokenizer: &Tokenizer, tokens: &[Token]) -> ChatLogprobs {
    let entry = |token: &Token| TokenLogprob {
        token: text(tokenizer, token.id),
        logprob: finite(token.logprob.unwrap_or(LOWEST)),
        bytes: bytes(tokenizer, token.id).to_vec(),
        top_logprobs: token
            .top
            .iter()
            .map(|top| candidate(tokenizer, *top))
            .collect(),
    };
    ChatLogprobs {
        content: tokens.iter().map(entry).collect(),
    }
}

fn candidate(tokenizer: &Tokenizer, (id, logprob): (u32, f32)) -> Candidate {
    Candidate {
        token: text(tokenizer, id),
        logprob: finite(logprob),
        bytes: bytes(tokenizer, id).to_vec(),
    }
}

/// The bytes of a token; of a control token those of its name.
fn bytes(tokenizer: &Tokenizer, id: u32) -> &[u8] {
    if tokenizer.is_control(id) {
        tokenizer.name(id).as_bytes()
    } else {
        tokenizer.bytes(id)
    }
}

fn text(tokenizer: &Tokenizer, id: u32) -> String {
    String::from_utf8_lossy(bytes(tokenizer, id)).into_owned()
}

/// As [`text`], but a token that is not UTF-8 by itself is written as `bytes:\xe6\x97`, because the
/// texts are keys here and must differ.
fn legacy_text(tokenizer: &Tokenizer, id: u32) -> String {
    match std::str::from_utf8(bytes(tokenizer, id)) {
        Ok(text) => text.to_owned(),
        Err(_) => {
            let escapes = bytes(tokenizer, id)
                .iter()
                .map(|byte| format!("\\x{byte:02x}"));
            format!("bytes:{}", escapes.collect::<String>())
        }
    }
}

fn finite(logprob: f32) -> f32 {
    if logprob.is_finite() { logprob } else { LOWEST }
}
