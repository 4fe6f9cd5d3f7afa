//! woolly works through a queue of prompts with a language model on one private machine, on CPU,
//! and loses nothing.
//!
//! The map, bottom to top. A module imports only from those above it in this list.
//!
//! - [`tensor`]: the words for weights in memory: layout, rows, columns.
//! - [`job`]: the words for work: sampling parameters, sequences, states, events, outcomes.
//! - [`compute`]: panels, kernels for each instruction set, the one summing order, the thread team.
//! - [`config`]: the TOML file as written, and what it means.
//! - [`cache`]: named FP32 tensors in a safetensors file, built once and mapped ever after.
//! - [`weights`]: GGUF reading, dequantization, synthetic weights; all of them give a `WeightStore`.
//! - [`text`]: tokenizer, chat template, streaming detokenization.
//! - [`model`]: one transformer described by a spec; forward over a batch of sequences.
//! - [`engine`]: a fixed pool of decode workers with continuous batching and sampling.
//! - [`queue`]: the durable job store, and the live log of tokens.
//! - [`protocol`]: HTTP bodies to job specs and outcomes to HTTP bodies; pure.
//! - [`api`]: HTTP/1.1 over a Unix socket.
//! - [`daemon`]: start in order, stop in reverse; dispatch between queue and engine.
//! - [`bench`]: what this machine reaches, as ratios within one run.
//! - [`cli`]: the verbs of `woollyctl` and `woolly`.
//!
//! `engine`, `queue` and `protocol` are siblings that do not know each other; they speak [`job`].
//! The import rule is enforced by `tests/architecture.rs`.

pub mod api;
pub mod bench;
pub mod cache;
pub mod cli;
pub mod compute;
pub mod config;
pub mod daemon;
pub mod engine;
pub mod job;
pub mod model;
pub mod protocol;
pub mod queue;
pub mod tensor;
pub mod text;
pub mod weights;
