//! The validated configuration: what each part is given.

use std::path::{Path, PathBuf};

use crate::tensor::Elements;

use super::synthetic::Preset;

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
    pub spool: Spool,
    pub api: Api,
    pub log: Log,
}

/// The process: where it listens, where it keeps state, who may do everything, how it ends.
#[derive(Debug, Clone, PartialEq)]
pub struct Daemon {
    /// Absolute when it came from a file.
    pub socket: PathBuf,
    /// Mode of the socket file, e.g. 0o660.
    pub socket_mode: u32,
    /// Holds the job store; one daemon at a time.
    pub state_dir: PathBuf,
    /// Seconds that running jobs get to finish after the first signal to stop.
    pub drain_timeout_s: u64,
    /// May see and cancel every job, besides root and the daemon's own user.
    pub admin_uids: Vec<u32>,
}

/// The model that is served.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    /// The name clients see; default: that of the file or folder, for synthetic weights one made of their size.
    pub name: Option<String>,
    pub source: ModelSource,
    /// Upper bound on positions; `None` takes the model's own.
    pub context_length: Option<usize>,
    /// Overrides the template of the file: a Jinja text, or the name of a built-in one.
    pub chat_template: Option<String>,
    /// Tokens generated when a request does not say: completions.
    pub max_tokens_completion: u32,
    /// Tokens generated when a request does not say: chat.
    pub max_tokens_chat: u32,
}

/// Where weights come from.
#[derive(Debug, Clone, PartialEq)]
pub enum ModelSource {
    /// A GGUF file or the first part of a split one, dequantized once into the cache.
    Gguf(PathBuf),
    /// A folder with config.json, tokenizer.json and safetensors files, converted once into the cache.
    Safetensors(PathBuf),
    /// Random weights made at start.
    Synthetic(Synthetic),
}

impl ModelSource {
    /// What `path` names: a folder is one of safetensors, everything else should be a GGUF file.
    pub fn at(path: PathBuf) -> Self {
        if path.is_dir() {
            ModelSource::Safetensors(path)
        } else {
            ModelSource::Gguf(path)
        }
    }

    /// The file or folder; `None` for synthetic weights.
    pub fn path(&self) -> Option<&Path> {
        match self {
            ModelSource::Gguf(path) | ModelSource::Safetensors(path) => Some(path),
            ModelSource::Synthetic(_) => None,
        }
    }
}

/// Sizes of a synthetic model, preset already expanded and overridden key by key.
#[derive(Debug, Clone, PartialEq)]
pub struct Synthetic {
    /// What the sizes below began as; decides what has no key of its own.
    pub preset: Preset,
    /// At least 258: 256 bytes, begin and end of text.
    pub vocab_size: usize,
    /// A multiple of twice `num_heads`.
    pub hidden_size: usize,
    pub num_layers: usize,
    pub num_heads: usize,
    /// Divides `num_heads`.
    pub num_kv_heads: usize,
    pub context_length: usize,
    pub intermediate_size: usize,
    /// The output matrix is the embedding.
    pub tied: bool,
    pub norm: SyntheticNorm,
    pub seed: u64,
    /// Kept in a cache file instead of memory.
    pub persist: bool,
}

/// The normalization of a synthetic model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyntheticNorm {
    /// Root mean square, with a weight.
    Rms,
    /// Mean and variance, with a weight and a bias.
    Layer,
}

impl SyntheticNorm {
    /// The norm that is written like this.
    pub(super) fn by_name(name: &str) -> Option<Self> {
        [SyntheticNorm::Rms, SyntheticNorm::Layer]
            .into_iter()
            .find(|norm| norm.name() == name)
    }

    /// As written in the file.
    pub fn name(self) -> &'static str {
        match self {
            SyntheticNorm::Rms => "rms",
            SyntheticNorm::Layer => "layer",
        }
    }
}

/// The FP32 cache files.
#[derive(Debug, Clone, PartialEq)]
pub struct Cache {
    pub dir: PathBuf,
    /// The files together; the least recently used go first. `None`: no limit.
    pub max_bytes: Option<u64>,
    pub verify: Verify,
}

/// When the values of a mapped cache file are compared with their checksums. Its header always is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verify {
    /// Beside the first jobs; until it is done nothing computed leaves the process.
    Background,
    /// Before any job.
    Full,
    /// Not at all.
    Header,
}

impl Verify {
    const ALL: [Verify; 3] = [Verify::Background, Verify::Full, Verify::Header];

    /// The mode that is written like this.
    pub(super) fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|verify| verify.name() == name)
    }

    /// As written in the file.
    pub fn name(self) -> &'static str {
        match self {
            Verify::Background => "background",
            Verify::Full => "full",
            Verify::Header => "header",
        }
    }
}

/// How numbers are stored and computed.
#[derive(Debug, Clone, PartialEq)]
pub struct Compute {
    /// Number types of weights, and of keys and values; they change results.
    pub elements: Elements,
    /// Changes no result.
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

impl IsaChoice {
    const ALL: [IsaChoice; 5] = [
        IsaChoice::Auto,
        IsaChoice::Portable,
        IsaChoice::Avx2,
        IsaChoice::Avx512,
        IsaChoice::Neon,
    ];

    /// The choice that is written like this.
    pub(super) fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|isa| isa.name() == name)
    }

    /// As written in the file.
    pub fn name(self) -> &'static str {
        match self {
            IsaChoice::Auto => "auto",
            IsaChoice::Portable => "portable",
            IsaChoice::Avx2 => "avx2",
            IsaChoice::Avx512 => "avx512",
            IsaChoice::Neon => "neon",
        }
    }
}

/// The decode workers; `count * threads_per_worker` is at most the CPUs the process may use.
#[derive(Debug, Clone, PartialEq)]
pub struct Workers {
    pub count: usize,
    pub threads_per_worker: usize,
    /// Sequences that one worker runs at once.
    pub slots: usize,
    /// Prompt tokens computed in one step at most.
    pub prefill_chunk: usize,
    /// Whether tokens that may follow are computed ahead where that costs little; results are the same.
    pub speculation: bool,
    /// Memory for keys and values, total over all workers.
    pub kv_bytes: u64,
}

/// How much work is accepted and how long it is kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Queue {
    /// Waiting and running jobs, and open batches, at most; more are answered 429.
    pub max_jobs: u64,
    /// The same for each user.
    pub max_jobs_per_user: Option<u64>,
    /// Bytes of their requests, and of all files.
    pub max_bytes: Option<u64>,
    /// The same for each user.
    pub max_bytes_per_user: Option<u64>,
    /// Seconds a finished job is kept.
    pub retention_s: u64,
    /// A job fails when so many daemons died while it ran alone; 0 counts no deaths.
    pub poison_limit: u32,
    /// What a running sequence generated is stored after so many tokens, and every few seconds; 0 stores nothing.
    pub checkpoint_tokens: u32,
    /// Whether requests that say nothing about it may be answered with the result of an equal one.
    pub reuse: bool,
}

#[cfg(test)]
impl Queue {
    /// For tests beside the code: nothing in it that one could meet by chance.
    pub(crate) const PLAIN: Queue = Queue {
        max_jobs: 100,
        max_jobs_per_user: None,
        max_bytes: None,
        max_bytes_per_user: None,
        retention_s: 3_600,
        poison_limit: 3,
        checkpoint_tokens: 64,
        reuse: false,
    };
}

/// Files that become batches.
#[derive(Debug, Clone, PartialEq)]
pub struct Spool {
    /// Where they are dropped; `None`: nowhere.
    pub dir: Option<PathBuf>,
}

/// Limits on requests.
#[derive(Debug, Clone, PartialEq)]
pub struct Api {
    /// Larger bodies are answered 413.
    pub max_body_bytes: usize,
    /// The same for uploaded files.
    pub max_file_bytes: u64,
}

/// What is logged to standard error, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct Log {
    /// A `tracing` filter: `info`, `woolly=debug`, ...
    pub level: String,
    pub format: LogFormat,
}

/// Lines for people, or one JSON object a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}
