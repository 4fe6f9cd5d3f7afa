//! Outcomes to response bodies.

use serde::Serialize;

use crate::job::{Endpoint, JobId, Outcome, SequenceOutcome, Spec, Token, Usage};
use crate::text::Message;

use super::Context;
use super::chat::{ChatChoice, ChatCompletion};
use super::completion::{Completion, CompletionChoice};
use super::logprobs::{self, Offset};

/// What a response says of itself.
#[derive(Debug, Clone, PartialEq)]
pub struct ResponseMeta {
    pub job: JobId,
    pub endpoint: Endpoint,
    /// Unix seconds.
    pub created: i64,
}

impl ResponseMeta {
    /// `cmpl-<job>` or `chatcmpl-<job>`.
    pub(super) fn id(&self) -> String {
        match self.endpoint {
            Endpoint::Completions => format!("cmpl-{}", self.job.0),
            Endpoint::ChatCompletions => format!("chatcmpl-{}", self.job.0),
        }
    }
}

/// Tokens read and written. Neighbouring sequences with the same prompt share it, so it counts once.
pub fn usage(spec: &Spec, outcome: &Outcome) -> Usage {
    let written: usize = outcome
        .sequences
        .iter()
        .map(|sequence| sequence.tokens.len())
        .sum();
    Usage::new(prompt_tokens(spec), written as u64)
}

pub(super) fn prompt_tokens(spec: &Spec) -> u64 {
    let distinct = spec.sequences.chunk_by(|a, b| a.prompt == b.prompt);
    distinct
        .filter_map(|same| same.first())
        .map(|sequence| sequence.prompt.len() as u64)
        .sum()
}

/// The response body of a finished job: JSON text.
pub fn render(
    context: &Context<'_>,
    meta: &ResponseMeta,
    spec: &Spec,
    outcome: &Outcome,
) -> Vec<u8> {
    match meta.endpoint {
        Endpoint::Completions => json(&completion(context, meta, spec, outcome)),
        Endpoint::ChatCompletions => json(&chat(context, meta, spec, outcome)),
    }
    .into_bytes()
}

fn completion(
    context: &Context<'_>,
    meta: &ResponseMeta,
    spec: &Spec,
    outcome: &Outcome,
) -> Completion {
    let choice = |(index, sequence): (usize, &SequenceOutcome)| {
        let prompt = spec.sequences.get(index).filter(|_| spec.echo);
        let prompt = prompt.map_or(&[][..], |sequence| own_tokens(context, &sequence.prompt));
        let lists = spec.params.logprobs.map(|_| {
            let tokens = [scored(prompt, &sequence.scored), sequence.tokens.clone()].concat();
            logprobs::legacy(context.tokenizer, &tokens, &mut Offset::default())
        });
        let prompt = context.tokenizer.decode(prompt, true);
        CompletionChoice {
            text: prompt + &sequence.text,
            index,
            logprobs: lists,
            finish_reason: Some(sequence.finish),
            token_ids: token_ids(spec, sequence),
        }
    };
    Completion {
        id: meta.id(),
        object: "text_completion".to_owned(),
        created: meta.created,
        model: context.info.name.clone(),
        system_fingerprint: context.info.fingerprint.clone(),
        choices: outcome.sequences.iter().enumerate().map(choice).collect(),
        usage: Some(Some(usage(spec, outcome))),
        warnings: spec.warnings.clone(),
    }
}

fn chat(
    context: &Context<'_>,
    meta: &ResponseMeta,
    spec: &Spec,
    outcome: &Outcome,
) -> ChatCompletion {
    let choice = |(index, sequence): (usize, &SequenceOutcome)| ChatChoice {
        index,
        message: Message {
            role: "assistant".to_owned(),
            content: sequence.text.clone(),
        },
        logprobs: spec
            .params
            .logprobs
            .map(|_| logprobs::chat(context.tokenizer, &sequence.tokens)),
        finish_reason: sequence.finish,
        token_ids: token_ids(spec, sequence),
    };
    ChatCompletion {
        id: meta.id(),
        object: "chat.completion".to_owned(),
        created: meta.created,
        model: context.info.name.clone(),
        system_fingerprint: context.info.fingerprint.clone(),
        choices: outcome.sequences.iter().enumerate().map(choice).collect(),
        usage: usage(spec, outcome),
        warnings: spec.warnings.clone(),
    }
}

fn token_ids(spec: &Spec, sequence: &SequenceOutcome) -> Option<Vec<u32>> {
    spec.return_token_ids
        .then(|| sequence.tokens.iter().map(|token| token.id).collect())
}

/// The text of a prompt as `echo` shows it: control tokens by name.
pub(super) fn prompt_text(context: &Context<'_>, prompt: &[u32]) -> String {
    context.tokenizer.decode(own_tokens(context, prompt), true)
}

/// The prompt with the log-probabilities of its last tokens; the first of all has none.
fn scored(prompt: &[u32], scored: &[Token]) -> Vec<Token> {
    let scored = &scored[scored.len().saturating_sub(prompt.len())..];
    let without = prompt.iter().take(prompt.len() - scored.len());
    let without = without.map(|&id| Token {
        id,
        ..Token::default()
    });
    without.chain(scored.iter().cloned()).collect()
}

/// The prompt without the BOS that the tokenizer put there itself.
fn own_tokens<'p>(context: &Context<'_>, prompt: &'p [u32]) -> &'p [u32] {
    let bos = context
        .tokenizer
        .bos()
        .filter(|_| context.tokenizer.adds_bos());
    match (prompt.split_first(), bos) {
        (Some((first, rest)), Some(bos)) if *first == bos => rest,
        _ => prompt,
    }
}

/// JSON text of a body of this module.
pub(super) fn json<T: Serialize>(body: &T) -> String {
    serde_json::to_string(body).expect("plain data with text as keys always serializes")
}
