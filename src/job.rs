//! The words for work, spoken by `engine`, `queue`, `protocol`, `api` and `daemon`.
//!
//! A job is one accepted request. It has 1..m sequences (prompts times `n`), which run independently.
//!
//! Invariant: plain data only; no I/O, no threads, no knowledge of where a job is stored or run.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A job's number in the queue: monotonic, never reused. Printed as `job_<number>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct JobId(pub i64);

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "job_{}", self.0)
    }
}

impl FromStr for JobId {
    type Err = InvalidJobId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.strip_prefix("job_")
            .filter(|digits| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
            .and_then(|digits| digits.parse().ok())
            .map(JobId)
            .ok_or(InvalidJobId)
    }
}

/// The text is not of the form `job_<number>`.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("a job id has the form job_<number>")]
pub struct InvalidJobId;

/// The endpoint whose request body a job carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Endpoint {
    #[serde(rename = "/v1/completions")]
    Completions,
    #[serde(rename = "/v1/chat/completions")]
    ChatCompletions,
}

impl Endpoint {
    pub const ALL: [Endpoint; 2] = [Endpoint::Completions, Endpoint::ChatCompletions];

    /// The path, as in URLs, batch lines and the job store.
    pub fn path(self) -> &'static str {
        match self {
            Endpoint::Completions => "/v1/completions",
            Endpoint::ChatCompletions => "/v1/chat/completions",
        }
    }

    pub fn from_path(path: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|e| e.path() == path)
    }
}

/// Where a job stands. The last four are terminal and never change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    Queued,
    Running,
    Completed,
    Failed,
    Cancelled,
    Expired,
}

impl State {
    pub const ALL: [State; 6] = [
        State::Queued,
        State::Running,
        State::Completed,
        State::Failed,
        State::Cancelled,
        State::Expired,
    ];

    pub fn is_terminal(self) -> bool {
        !matches!(self, State::Queued | State::Running)
    }

    pub fn as_str(self) -> &'static str {
        match self {
            State::Queued => "queued",
            State::Running => "running",
            State::Completed => "completed",
            State::Failed => "failed",
            State::Cancelled => "cancelled",
            State::Expired => "expired",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.as_str() == text)
    }
}

/// How tokens are drawn and when a sequence ends. One set per job, all resolved: no field is optional
/// in meaning, so that the same stored parameters give the same bytes for ever.
#[derive(Debug, Clone, PartialEq)]
pub struct SamplingParams {
    /// Tokens to generate at most; 0 is allowed and only evaluates the prompt.
    pub max_tokens: u32,
    /// 0 means greedy: the highest logit, ties to the lowest id.
    pub temperature: f32,
    /// Keep the k best candidates; 0 keeps all.
    pub top_k: u32,
    /// Keep the smallest set of candidates whose probabilities reach this sum; 1 keeps all.
    pub top_p: f32,
    pub seed: u64,
    /// Text that ends a sequence; it is not part of the output.
    pub stop: Vec<String>,
    /// Bans every end-of-generation token.
    pub ignore_eos: bool,
    /// Report this many best candidates per token (0: only the chosen one); `None` reports nothing.
    pub logprobs: Option<u8>,
    pub shaping: Shaping,
}

/// What changes logits before a draw, or bounds what may be drawn. The default changes nothing.
#[derive(Debug, Clone, PartialEq)]
pub struct Shaping {
    /// Drop candidates less likely than this share of the likeliest; 0 drops none.
    pub min_p: f32,
    /// Keep the candidates whose surprise is nearest to the mean, up to this probability; 1 keeps all.
    pub typical_p: f32,
    /// Divides positive logits, and multiplies others, of tokens in prompt and output; 1 changes none.
    pub repeat_penalty: f32,
    /// Subtracted from logits of tokens in the output.
    pub presence_penalty: f32,
    /// The same once for each occurrence.
    pub frequency_penalty: f32,
    /// Added to logits: ids ascending.
    pub logit_bias: Vec<(u32, f32)>,
    /// No token ends the sequence before so many are generated.
    pub min_tokens: u32,
    /// End the sequence as end-of-generation tokens do; ascending.
    pub stop_tokens: Vec<u32>,
}

impl Default for Shaping {
    fn default() -> Self {
        Shaping {
            min_p: 0.0,
            typical_p: 1.0,
            repeat_penalty: 1.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            logit_bias: Vec::new(),
            min_tokens: 0,
            stop_tokens: Vec::new(),
        }
    }
}

/// One prompt of a job, tokenized.
#[derive(Debug, Clone, PartialEq)]
pub struct Sequence {
    pub prompt: Vec<u32>,
}

/// A validated, tokenized job: what the engine needs to run it.
#[derive(Debug, Clone, PartialEq)]
pub struct Spec {
    /// In output order; the index is the sequence's number and its random stream.
    pub sequences: Vec<Sequence>,
    pub params: SamplingParams,
    /// Completions only: the prompt's text is put before the generated text.
    pub echo: bool,
    /// The answer lists the generated token ids.
    pub return_token_ids: bool,
    /// Whether the result of an equal job may be the answer; `None` leaves it to the configuration.
    pub reuse: Option<bool>,
    /// Names of request fields that were accepted but have no effect.
    pub warnings: Vec<String>,
}

impl Spec {
    /// Whether the log-probabilities of the prompt are wanted too: those of all the text that is returned.
    pub fn scores_prompts(&self) -> bool {
        self.echo && self.params.logprobs.is_some()
    }
}

/// Why a sequence ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FinishReason {
    /// An end-of-generation token or a stop string.
    Stop,
    /// `max_tokens` or the context length was reached.
    Length,
}

/// One generated token. `text` is what became printable with it: never half a UTF-8 character, and
/// held back while it could be the beginning of a stop string.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Token {
    pub id: u32,
    pub text: String,
    /// Log-probability of `id` from the raw logits; `None` unless the job asked for it.
    pub logprob: Option<f32>,
    /// The best candidates, `(id, log-probability)`, ordered by (logit descending, id ascending).
    pub top: Vec<(u32, f32)>,
}

/// What happened to one sequence of a running job.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A token of the prompt with its log-probability, where the job asks for those; its text is empty. Each comes
    /// once, in order, before the first generated token; the first token of a prompt has none.
    Scored(Token),
    Token(Token),
    /// The sequence ended; `text` is what was still held back.
    Finished {
        reason: FinishReason,
        text: String,
    },
    /// The sequence cannot go on; the job fails with this sentence.
    Failed {
        message: String,
        /// Ours, not the job's: another run may succeed.
        fault: bool,
    },
    /// The sequence stopped because its job was cancelled or the engine is stopping.
    Stopped,
}

/// An [`Event`] with the sequence it belongs to.
#[derive(Debug, Clone, PartialEq)]
pub struct SequenceEvent {
    pub job: JobId,
    /// Index into [`Spec::sequences`].
    pub sequence: usize,
    pub event: Event,
}

/// The finished text of one sequence.
#[derive(Debug, Clone, PartialEq)]
pub struct SequenceOutcome {
    /// The prompt with log-probabilities, where the job asked for them: all but its first token.
    pub scored: Vec<Token>,
    pub tokens: Vec<Token>,
    /// All text of the sequence, stop string excluded.
    pub text: String,
    pub finish: FinishReason,
}

/// The result of a job, in the order of [`Spec::sequences`].
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    pub sequences: Vec<SequenceOutcome>,
}

/// Tokens read and written by one job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Usage {
    pub prompt_tokens: u64,
    pub completion_tokens: u64,
    pub total_tokens: u64,
}

impl Usage {
    /// Every prompt is counted once, also when `n` sequences share it (`distinct_prompts` gives the sum).
    pub fn new(prompt_tokens: u64, completion_tokens: u64) -> Self {
        Usage {
            prompt_tokens,
            completion_tokens,
            total_tokens: prompt_tokens + completion_tokens,
        }
    }
}

/// What the API and the queue must know of the model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelInfo {
    pub name: String,
    /// Positions that prompt and output share.
    pub context: usize,
    pub vocab: usize,
    /// Every end-of-generation token.
    pub end_tokens: Vec<u32>,
    /// Weights, tokenizer, format and numeric revision in one word: equal fingerprints, equal bytes.
    pub fingerprint: String,
}
