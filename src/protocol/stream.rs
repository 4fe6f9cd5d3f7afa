//! Events to the chunks of a stream of server-sent events.
//!
//! The texts of all chunks of a sequence make up the text of the plain answer. A token whose text is
//! still held back gets a chunk only where log-probabilities or ids were asked for.

use crate::job::{Endpoint, Event, FinishReason, SequenceEvent, Spec, Token, Usage};

use super::chat::{ChatChunk, ChunkChoice, Delta};
use super::completion::{Completion, CompletionChoice};
use super::fields::Fields;
use super::logprobs::{self, Offset};
use super::render::{json, prompt_text, prompt_tokens};
use super::sampling::take_stream_options;
use super::{Context, ResponseMeta};

/// What a stream has to remember between events.
pub struct StreamState {
    sequences: Vec<SequenceState>,
    logprobs: bool,
    token_ids: bool,
    include_usage: bool,
    /// Put into the first chunk, then empty.
    warnings: Vec<String>,
    prompt_tokens: u64,
    completion_tokens: u64,
}

struct SequenceState {
    /// The prompt to show before the text, until it is shown.
    echo: Option<Vec<u32>>,
    begun: bool,
    ended: bool,
    offset: Offset,
}

/// What one chunk says of one sequence.
#[derive(Default)]
struct Part<'a> {
    role: bool,
    text: Option<String>,
    tokens: &'a [Token],
    finish: Option<FinishReason>,
}

impl StreamState {
    /// `body` is the request: it says whether usage is wanted in the last chunk.
    pub fn new(spec: &Spec, body: &[u8]) -> Self {
        let options = Fields::from_body(body)
            .and_then(|mut fields| take_stream_options(&mut fields))
            .unwrap_or(None);
        let sequence = |prompt: &Vec<u32>| SequenceState {
            echo: spec.echo.then(|| prompt.clone()),
            begun: false,
            ended: false,
            offset: Offset::default(),
        };
        StreamState {
            sequences: spec.sequences.iter().map(|s| sequence(&s.prompt)).collect(),
            logprobs: spec.params.logprobs.is_some(),
            token_ids: spec.return_token_ids,
            include_usage: options.is_some_and(|options| options.include_usage),
            warnings: spec.warnings.clone(),
            prompt_tokens: prompt_tokens(spec),
            completion_tokens: 0,
        }
    }
}

/// The `data:` payloads of one event of a stream, in order (without the final `[DONE]`). An event of a
/// sequence that does not exist or has ended gives none; nor does a failure or a stop, because how the job
/// ended is known from the store alone.
pub fn render_event(
    context: &Context<'_>,
    meta: &ResponseMeta,
    state: &mut StreamState,
    event: &SequenceEvent,
) -> Vec<String> {
    let index = event.sequence;
    let Some(sequence) = state
        .sequences
        .get_mut(index)
        .filter(|sequence| !sequence.ended)
    else {
        return Vec::new();
    };
    if matches!(
        event.event,
        Event::Scored(_) | Event::Failed { .. } | Event::Stopped
    ) {
        return Vec::new();
    }
    let begins = !std::mem::replace(&mut sequence.begun, true);
    let echo = sequence.echo.take();
    let mut parts = Vec::new();
    if begins && meta.endpoint == Endpoint::ChatCompletions {
        parts.push(Part {
            role: true,
            text: Some(String::new()),
            ..Part::default()
        });
    }
    if let Some(prompt) = echo {
        parts.push(Part {
            text: Some(prompt_text(context, &prompt)),
            ..Part::default()
        });
    }
    match &event.event {
        Event::Token(token) => {
            state.completion_tokens += 1;
            if !token.text.is_empty() || state.logprobs || state.token_ids {
                let tokens = std::slice::from_ref(token);
                parts.push(Part {
                    text: Some(token.text.clone()),
                    tokens,
                    ..Part::default()
                });
            }
        }
        Event::Finished { reason, text } => {
            sequence.ended = true;
            if !text.is_empty() {
                parts.push(Part {
                    text: Some(text.clone()),
                    ..Part::default()
                });
            }
            parts.push(Part {
                finish: Some(*reason),
                ..Part::default()
            });
        }
        Event::Scored(_) | Event::Failed { .. } | Event::Stopped => {}
    }
    let mut payloads: Vec<String> = parts
        .into_iter()
        .map(|part| chunk(context, meta, state, index, part))
        .collect();
    let finished = matches!(event.event, Event::Finished { .. });
    if finished && state.include_usage && state.sequences.iter().all(|sequence| sequence.ended) {
        payloads.push(usage_chunk(context, meta, state));
    }
    payloads
}

fn chunk(
    context: &Context<'_>,
    meta: &ResponseMeta,
    state: &mut StreamState,
    index: usize,
    part: Part<'_>,
) -> String {
    let usage = state.include_usage.then_some(None);
    let token_ids = (state.token_ids && !part.tokens.is_empty())
        .then(|| part.tokens.iter().map(|token| token.id).collect());
    let listed = state.logprobs && !part.tokens.is_empty();
    match meta.endpoint {
        Endpoint::Completions => {
            let offset = state.sequences.get_mut(index).filter(|_| listed);
            let choice = CompletionChoice {
                text: part.text.unwrap_or_default(),
                index,
                logprobs: offset.map(|sequence| {
                    logprobs::legacy(context.tokenizer, part.tokens, &mut sequence.offset)
                }),
                finish_reason: part.finish,
                token_ids,
            };
            completion_chunk(context, meta, state, vec![choice], usage)
        }
        Endpoint::ChatCompletions => {
            let choice = ChunkChoice {
                index,
                delta: Delta {
                    role: part.role.then(|| "assistant".to_owned()),
                    content: part.text,
                },
                logprobs: listed.then(|| logprobs::chat(context.tokenizer, part.tokens)),
                finish_reason: part.finish,
                token_ids,
            };
            chat_chunk(context, meta, state, vec![choice], usage)
        }
    }
}

/// The last chunk: no choices, the usage of the whole job.
fn usage_chunk(context: &Context<'_>, meta: &ResponseMeta, state: &mut StreamState) -> String {
    let usage = Some(Some(Usage::new(
        state.prompt_tokens,
        state.completion_tokens,
    )));
    match meta.endpoint {
        Endpoint::Completions => completion_chunk(context, meta, state, Vec::new(), usage),
        Endpoint::ChatCompletions => chat_chunk(context, meta, state, Vec::new(), usage),
    }
}

fn completion_chunk(
    context: &Context<'_>,
    meta: &ResponseMeta,
    state: &mut StreamState,
    choices: Vec<CompletionChoice>,
    usage: Option<Option<Usage>>,
) -> String {
    json(&Completion {
        id: meta.id(),
        object: "text_completion".to_owned(),
        created: meta.created,
        model: context.info.name.clone(),
        system_fingerprint: context.info.fingerprint.clone(),
        choices,
        usage,
        warnings: std::mem::take(&mut state.warnings),
    })
}

fn chat_chunk(
    context: &Context<'_>,
    meta: &ResponseMeta,
    state: &mut StreamState,
    choices: Vec<ChunkChoice>,
    usage: Option<Option<Usage>>,
) -> String {
    json(&ChatChunk {
        id: meta.id(),
        object: "chat.completion.chunk".to_owned(),
        created: meta.created,
        model: context.info.name.clone(),
        system_fingerprint: context.info.fingerprint.clone(),
        choices,
        usage,
        warnings: std::mem::take(&mut state.warnings),
    })
}
