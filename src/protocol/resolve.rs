//! Requests to job specs: tokenize, check against the model, settle every default.
//!
//! Invariant: the same body and [`Resolved`] give the same spec for ever, with the same model; the
//! configuration has a say only in what was not settled before.

use crate::job::{Endpoint, SamplingParams, Sequence, Spec};
use crate::text::Message;

use super::chat::ChatRequest;
use super::completion::{CompletionRequest, Prompt};
use super::sampling::{MAX_SEQUENCES, Options};
use super::{Context, RequestError};

/// What was settled when a job was accepted, and is stored with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resolved {
    pub seed: u64,
    /// `None` at submit, and for a job that was accepted without a model: then the request, the
    /// configuration's default and the room behind the prompt decide.
    pub max_tokens: Option<u32>,
}

/// Validates and tokenizes a request body. A sequence that cannot fit the context is an error.
pub fn resolve(
    context: &Context<'_>,
    endpoint: Endpoint,
    body: &[u8],
    resolved: Resolved,
) -> Result<Spec, RequestError> {
    match endpoint {
        Endpoint::Completions => completion(context, body, resolved),
        Endpoint::ChatCompletions => chat(context, body, resolved),
    }
}

/// Checks what can be checked without a model: JSON, types, ranges. For jobs that are accepted while
/// the model is still warming.
pub fn validate(endpoint: Endpoint, body: &[u8]) -> Result<(), RequestError> {
    match endpoint {
        Endpoint::Completions => {
            let (request, _) = CompletionRequest::parse(body)?;
            check_count(&request)
        }
        Endpoint::ChatCompletions => ChatRequest::parse(body).map(drop),
    }
}

fn completion(
    context: &Context<'_>,
    body: &[u8],
    resolved: Resolved,
) -> Result<Spec, RequestError> {
    let (request, warnings) = CompletionRequest::parse(body)?;
    check_count(&request)?;
    let prompts = match request.prompt {
        Prompt::Text(text) => vec![encode(context, &text)?],
        Prompt::Texts(texts) => texts
            .iter()
            .map(|text| encode(context, text))
            .collect::<Result<_, _>>()?,
        Prompt::Tokens(ids) => vec![known(context, ids)?],
        Prompt::TokenLists(lists) => lists
            .into_iter()
            .map(|ids| known(context, ids))
            .collect::<Result<_, _>>()?,
    };
    let max_tokens = request.max_tokens.unwrap_or(context.max_tokens_completion);
    let max_tokens = length(context, "prompt", &prompts, max_tokens, resolved)?;
    let options = Written::of(&request.options);
    let params = request.options.params(
        context.info.vocab,
        max_tokens,
        resolved.seed,
        request.logprobs,
    )?;
    Ok(Spec {
        echo: request.echo,
        ..spec(prompts, options, params, warnings)
    })
}

fn chat(context: &Context<'_>, body: &[u8], resolved: Resolved) -> Result<Spec, RequestError> {
    let (request, warnings) = ChatRequest::parse(body)?;
    let text = request
        .messages
        .iter()
        .map(|message| message.content.len())
        .sum();
    let candidates = request.candidates();
    check_length(context, "messages", context.tokenizer.fewest_tokens(text))?;
    // `developer` is OpenAI's newer word for `system`; templates know only the older one.
    let rename = |message: Message| match message.role.as_str() {
        "developer" => Message {
            role: "system".to_owned(),
            ..message
        },
        _ => message,
    };
    let messages: Vec<Message> = request.messages.into_iter().map(rename).collect();
    let prompt = context
        .template
        .encode(context.tokenizer, &messages)
        .map_err(|error| RequestError::field("messages", format!("cannot be used: {error}")))?;
    if prompt.is_empty() {
        return Err(RequestError::field(
            "messages",
            "give an empty prompt with this template",
        ));
    }
    let prompts = vec![prompt];
    let max_tokens = request.max_tokens.unwrap_or(context.max_tokens_chat);
    let max_tokens = length(context, "messages", &prompts, max_tokens, resolved)?;
    let options = Written::of(&request.options);
    let params =
        request
            .options
            .params(context.info.vocab, max_tokens, resolved.seed, candidates)?;
    Ok(spec(prompts, options, params, warnings))
}

/// Options that are no parameters of sampling.
struct Written {
    n: usize,
    return_token_ids: bool,
    reuse: Option<bool>,
}

impl Written {
    fn of(options: &Options) -> Self {
        Written {
            n: options.n(),
            return_token_ids: options.return_token_ids,
            reuse: options.reuse,
        }
    }
}

/// `n` sequences of each prompt, next to each other.
fn spec(
    prompts: Vec<Vec<u32>>,
    options: Written,
    params: SamplingParams,
    warnings: Vec<String>,
) -> Spec {
    let copies = |prompt: Vec<u32>| std::iter::repeat_n(Sequence { prompt }, options.n);
    let sequences = prompts.into_iter().flat_map(copies).collect();
    Spec {
        sequences,
        params,
        echo: false,
        return_token_ids: options.return_token_ids,
        reuse: options.reuse,
        warnings,
    }
}

fn check_count(request: &CompletionRequest) -> Result<(), RequestError> {
    let n = request.options.n();
    let prompts = match &request.prompt {
        Prompt::Text(_) | Prompt::Tokens(_) => 1,
        Prompt::Texts(texts) => texts.len(),
        Prompt::TokenLists(lists) => lists.len(),
    };
    if prompts > MAX_SEQUENCES {
        return Err(RequestError::field(
            "prompt",
            format!("has {prompts} prompts; at most {MAX_SEQUENCES} are allowed"),
        ));
    }
    if prompts * n > MAX_SEQUENCES {
        return Err(RequestError::field(
            "n",
            format!(
                "is {n} for {prompts} prompts; prompts times n must be at most {MAX_SEQUENCES}"
            ),
        ));
    }
    Ok(())
}

/// Control tokens in a completion's prompt are parsed, as llama.cpp does: the prompt is the client's own.
fn encode(context: &Context<'_>, text: &str) -> Result<Vec<u32>, RequestError> {
    check_length(
        context,
        "prompt",
        context.tokenizer.fewest_tokens(text.len()),
    )?;
    let ids = context
        .tokenizer
        .encode(text, true, true)
        .map_err(|error| RequestError::field("prompt", format!("cannot be used: {error}")))?;
    if ids.is_empty() {
        return Err(RequestError::field(
            "prompt",
            "is empty, and this model adds no token to start from",
        ));
    }
    Ok(ids)
}

fn known(context: &Context<'_>, ids: Vec<u32>) -> Result<Vec<u32>, RequestError> {
    match ids.iter().find(|id| **id as usize >= context.info.vocab) {
        None => Ok(ids),
        Some(id) => Err(RequestError::field(
            "prompt",
            format!(
                "has token {id}; this model has tokens 0 to {}",
                context.info.vocab - 1
            ),
        )),
    }
}

/// Refuses a text that cannot fit before it is tokenized.
fn check_length(
    context: &Context<'_>,
    field: &str,
    fewest_tokens: usize,
) -> Result<(), RequestError> {
    if fewest_tokens > context.max_positions {
        let count = format!("at least {fewest_tokens}");
        return Err(too_long(context, field, &count));
    }
    Ok(())
}

/// The `max_tokens` of a job, whose prompts must leave room for an answer. What was settled before is
/// taken as it is, or does not fit any more. Otherwise `wanted` is clamped to what fits behind the longest
/// prompt: the sequences of a job share one set of parameters.
fn length(
    context: &Context<'_>,
    field: &str,
    prompts: &[Vec<u32>],
    wanted: u32,
    resolved: Resolved,
) -> Result<u32, RequestError> {
    let longest = prompts.iter().map(Vec::len).max().unwrap_or(0);
    let wanted = resolved.max_tokens.unwrap_or(wanted);
    let room = context.max_positions.checked_sub(longest);
    let fitting = room
        .map(|room| u32::try_from(room).map_or(wanted, |room| wanted.min(room)))
        .filter(|fitting| *fitting > 0 || wanted == 0)
        .ok_or_else(|| too_long(context, field, &longest.to_string()))?;
    if resolved.max_tokens.is_some() && fitting < wanted {
        let positions = context.max_positions;
        return Err(RequestError::field(
            field,
            format!(
                "has {longest} tokens, and the job was accepted with max_tokens {wanted}; together they \
                 no longer fit: a sequence now has {positions} positions"
            ),
        ));
    }
    Ok(fitting)
}

fn too_long(context: &Context<'_>, field: &str, count: &str) -> RequestError {
    let positions = context.max_positions;
    RequestError::field(
        field,
        format!(
            "has {count} tokens; with at least one generated token it must fit {positions} positions"
        ),
    )
}
