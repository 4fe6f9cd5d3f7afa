//! The one integration binary: a file per behaviour, what they share in `support`.
#![allow(
    unreachable_pub,
    reason = "one crate: `pub` here means for the other test files"
)]
#![allow(
    clippy::unwrap_used,
    reason = "a failed unwrap is a failed test, in helpers too"
)]

/// Counts the memory of tests that have a budget.
#[global_allocator]
static METER: support::meter::Meter = support::meter::Meter;

mod api_admission;
mod api_batch_files;
mod api_batch_lines;
mod api_batches;
mod api_completions;
mod api_events;
mod api_jobs;
mod api_uploads;
mod architecture;
mod bench_load;
mod bench_speed;
mod cache_fault;
mod cache_format;
mod cache_header;
mod cache_trust;
mod cache_unpack;
mod chat_template;
mod cli_batch;
mod cli_batch_fetch;
mod cli_batch_input;
mod cli_batch_output;
mod cli_batch_remote;
mod cli_batch_run;
mod cli_cache;
mod cli_cache_care;
mod cli_daemon;
mod cli_model;
mod cli_outage;
mod cli_queue;
mod cli_run;
mod cli_submit;
mod config;
mod conversion;
mod crash;
mod daemon_blame;
mod daemon_lifecycle;
mod daemon_resume;
mod daemon_spool;
mod daemon_weights;
mod dequant;
mod engine_draft;
mod engine_failures;
mod engine_fake;
mod engine_pool;
mod engine_prefix;
mod engine_resume;
mod engine_text;
mod engine_window;
mod equal_bytes;
mod folder_header;
mod folder_tokenizer;
mod gguf_malformed;
mod gguf_mutants;
mod gguf_reader;
mod gguf_split;
mod hyper_mutants;
mod model_cache;
mod model_folder;
mod native_types;
mod no_allocation;
mod protocol_jobs;
mod protocol_properties;
mod protocol_requests;
mod protocol_resolve;
mod protocol_responses;
mod protocol_stream;
mod queue_admission;
mod queue_backup;
mod queue_batch_rules;
mod queue_batches;
mod queue_crash;
mod queue_files;
mod queue_groups;
mod queue_handle;
mod queue_store;
mod queue_transcripts;
mod reference;
mod sampler;
mod stream_decoder;
mod support;
mod synthetic_model;
mod synthetic_weights;
mod tokenizer;
mod tokenizer_unigram;
mod torture;
