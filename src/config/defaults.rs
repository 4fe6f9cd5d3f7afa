//! Every default that does not depend on the machine or the user, with its reason.

/// Only the owner and the group of the socket may connect.
pub(super) const SOCKET_MODE: u32 = 0o660;

/// Shorter than the stop timeouts of service managers (90 s for systemd), long enough for most answers.
pub(super) const DRAIN_TIMEOUT_S: u64 = 25;

/// What a `[model]` without `source` means.
pub(super) const MODEL_SOURCE: &str = "gguf";

/// OpenAI's default for `/v1/completions`.
pub(super) const MAX_TOKENS_COMPLETION: u32 = 16;

/// An answer of a page or two; without a bound a small model may never end.
pub(super) const MAX_TOKENS_CHAT: u32 = 1024;

/// The sizes of SmolLM2-135M.
pub(super) const SYNTHETIC_PRESET: &str = "135m";

/// Any number would do; this one is in the README's examples.
pub(super) const SYNTHETIC_SEED: u64 = 42;

/// Synthetic weights are made faster than they are read from disk.
pub(super) const SYNTHETIC_PERSIST: bool = false;

/// Jobs start at once and nothing wrong gets out.
pub(super) const VERIFY: &str = "background";

/// The best instruction set the machine has.
pub(super) const ISA: &str = "auto";

/// Weights and keys and values are FP32.
pub(super) const NUMBER_TYPE: &str = "f32";

/// One worker with all threads: two would read the weights twice per step.
pub(super) const WORKER_COUNT: usize = 1;

/// Sequences in one step: below this, decoding is bound by reading the weights, so that more cost little.
pub(super) const SLOTS: usize = 16;

/// Long enough to use every weight read well, short enough that other sequences do not stall.
pub(super) const PREFILL_CHUNK: usize = 128;

/// It stops by itself where it does not pay, and changes no byte.
pub(super) const SPECULATION: bool = true;

/// About 23,000 positions of a 135M model, 4,000 of a 7B model.
pub(super) const KV_BYTES: u64 = 1 << 30;

/// A backlog of weeks for one machine, still small for the store.
pub(super) const MAX_JOBS: u64 = 100_000;

/// Finished jobs are kept for a week.
pub(super) const RETENTION_S: u64 = 7 * 24 * 3600;
/// Once might be the power, twice chance.
pub(super) const POISON_LIMIT: u32 = 3;
/// A few seconds of one sequence on a small machine: less than is worth a thought, and few writes.
pub(super) const CHECKPOINT_TOKENS: u32 = 64;
/// An answer that was not computed must be asked for.
pub(super) const REUSE: bool = false;

/// Far above any prompt that fits a context.
pub(super) const MAX_BODY_BYTES: u64 = 4 << 20;

pub(super) const LOG_LEVEL: &str = "info";

/// For people; `json` is for log collectors.
pub(super) const LOG_FORMAT: &str = "text";
/// Five times what OpenAI takes.
pub(super) const MAX_FILE_BYTES: u64 = 1 << 30;
