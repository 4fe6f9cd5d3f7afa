//! The validated configuration: what each part is given.

use std::path::PathBuf;

/// Everything; one small struct per part.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    pub daemon: Daemon,
    /// `None` when the file has no `[model]`: enough for `woollyctl cache`.
    pub model: Option<Model>,
    pub cache: Cache,
    pub compute: Compute,
    pub workers: Workers,
    pub queue: Queue,
    pub api: Api,
    pub log: Log,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Daemon {
    pub socket: PathBuf,
    /// Mode of the socket file, e.g. 0o660.
    pub socket_mode: u32,
    pub state_dir: PathBuf,
    pub drain_timeout_s: u64,
    pub admin_uids: Vec<u32>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    /// The name clients see; default: the file's `general.name` or its stem.
    pub name: Option<String>,
    pub source: ModelSource,
    /// Upper bound on positions; `None` takes the model's own.
    pub context_length: Option<usize>,
    /// Overrides the template of the file.
    pub chat_template: Option<String>,
    /// Tokens generated when a request does not say: completions.
    pub max_tokens_completion: u32,
    /// Tokens generated when a request does not say: chat.
    pub max_tokens_chat: u32,
}

#[derive(Debug, Clone, PartialEq)]
pub enum ModelSource {
    Gguf(PathBuf),
    Synthetic(Synthetic),
}

/// Sizes of a synthetic model, preset already expanded and overridden key by key.
#[derive(Debug, Clone, PartialEq)]
pub struct Synthetic {
    pub vocab_size: usize,
    pub hidden_size: usize,
    pub num_layers: usize,
    pub num_heads: usize,
    pub num_kv_heads: usize,
    pub context_length: usize,
    pub intermediate_size: usize,
    pub tied: bool,
    pub norm: SyntheticNorm,
    pub seed: u64,
    pub persist: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyntheticNorm {
    Rms,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Cache {
    pub dir: PathBuf,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Compute {
    pub isa: IsaChoice,
}

/// `auto` takes the best the machine has; the others are refused where the machine lacks them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IsaChoice {
    Auto,
    Portable,
    Avx2,
    Avx512,
    Neon,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Workers {
    pub count: usize,
    pub threads_per_worker: usize,
    /// Sequences that one worker runs at once.
    pub slots: usize,
    /// Prompt tokens computed in one step at most.
    pub prefill_chunk: usize,
    /// Total over all workers.
    pub kv_bytes: u64,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Queue {
    /// Waiting and running jobs at most; more are answered 429.
    pub max_jobs: u64,
    /// Seconds a finished job is kept.
    pub retention_s: u64,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Api {
    pub max_body_bytes: usize,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Log {
    /// A `tracing` filter: `info`, `woolly=debug`, ...
    pub level: String,
    pub format: LogFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}
