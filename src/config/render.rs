//! From a [`Config`] back to TOML: the effective configuration, every key written out.

use std::path::Path;

use super::file::{self, File, MaxTokens, NumberOrText};
use super::resolved::{Config, LogFormat, Model, ModelSource, Synthetic};
use super::units;

impl Config {
    /// The configuration as TOML that reads back to the same.
    pub fn to_toml(&self) -> String {
        let file = self.to_file();
        // Every value of a configuration that was read fits TOML; one made up in code may not (TOML has
        // no integers above 2^63), and then the text says so instead of being wrong.
        toml::to_string(&file)
            .unwrap_or_else(|error| format!("# this configuration is not TOML: {error}\n"))
    }

    fn to_file(&self) -> File {
        let synthetic = self.model.as_ref().and_then(|model| match &model.source {
            ModelSource::Synthetic(synthetic) => Some(self::synthetic(synthetic)),
            ModelSource::Gguf(_) | ModelSource::Safetensors(_) => None,
        });
        File {
            daemon: file::Daemon {
                socket: Some(text(&self.daemon.socket)),
                socket_mode: Some(format!("{:04o}", self.daemon.socket_mode)),
                state_dir: Some(text(&self.daemon.state_dir)),
                drain_timeout_s: Some(self.daemon.drain_timeout_s),
                admin_uids: Some(self.daemon.admin_uids.clone()),
            },
            model: self.model.as_ref().map(model),
            synthetic,
            cache: file::Cache {
                dir: Some(text(&self.cache.dir)),
                max_bytes: bytes(self.cache.max_bytes),
                verify: Some(self.cache.verify.name().to_owned()),
            },
            compute: file::Compute {
                weights: Some(self.compute.elements.weights.name().to_owned()),
                kv: Some(self.compute.elements.kv.name().to_owned()),
                isa: Some(self.compute.isa.name().to_owned()),
            },
            workers: file::Workers {
                count: Some(self.workers.count),
                threads_per_worker: Some(self.workers.threads_per_worker),
                slots: Some(self.workers.slots),
                prefill_chunk: Some(self.workers.prefill_chunk),
                speculation: Some(self.workers.speculation),
                kv_bytes: Some(NumberOrText::Text(units::bytes_to_text(
                    self.workers.kv_bytes,
                ))),
            },
            queue: file::Queue {
                max_jobs: Some(self.queue.max_jobs),
                max_jobs_per_user: self.queue.max_jobs_per_user,
                max_bytes: bytes(self.queue.max_bytes),
                max_bytes_per_user: bytes(self.queue.max_bytes_per_user),
                retention: Some(NumberOrText::Text(units::seconds_to_text(
                    self.queue.retention_s,
                ))),
                poison_limit: Some(self.queue.poison_limit),
                checkpoint_tokens: Some(self.queue.checkpoint_tokens),
                reuse: Some(self.queue.reuse),
            },
            spool: file::Spool {
                dir: self.spool.dir.as_deref().map(text),
            },
            api: file::Api {
                max_body_bytes: Some(NumberOrText::Text(units::bytes_to_text(
                    self.api.max_body_bytes as u64,
                ))),
                max_file_bytes: Some(NumberOrText::Text(units::bytes_to_text(
                    self.api.max_file_bytes,
                ))),
            },
            log: file::Log {
                level: Some(self.log.level.clone()),
                format: Some(log_format(self.log.format).to_owned()),
            },
        }
    }
}

fn model(model: &Model) -> file::Model {
    let (source, path) = match &model.source {
        ModelSource::Gguf(path) => ("gguf", Some(text(path))),
        ModelSource::Safetensors(path) => ("safetensors", Some(text(path))),
        ModelSource::Synthetic(_) => ("synthetic", None),
    };
    file::Model {
        name: model.name.clone(),
        source: Some(source.to_owned()),
        path,
        context_length: model.context_length,
        chat_template: model.chat_template.clone(),
        max_tokens: Some(MaxTokens::Each {
            completions: Some(model.max_tokens_completion),
            chat: Some(model.max_tokens_chat),
        }),
    }
}

fn synthetic(synthetic: &Synthetic) -> file::Synthetic {
    file::Synthetic {
        preset: Some(synthetic.preset.name().to_owned()),
        vocab_size: Some(synthetic.vocab_size),
        hidden_size: Some(synthetic.hidden_size),
        num_layers: Some(synthetic.num_layers),
        num_heads: Some(synthetic.num_heads),
        num_kv_heads: Some(synthetic.num_kv_heads),
        context_length: Some(synthetic.context_length),
        intermediate_size: Some(synthetic.intermediate_size),
        tied: Some(synthetic.tied),
        norm: Some(synthetic.norm.name().to_owned()),
        seed: Some(synthetic.seed),
        persist: Some(synthetic.persist),
    }
}

fn log_format(format: LogFormat) -> &'static str {
    match format {
        LogFormat::Text => "text",
        LogFormat::Json => "json",
    }
}

/// Paths came from TOML, which is UTF-8, or from the environment, where anything else is not worth
/// keeping exactly in a printed text.
fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn bytes(bytes: Option<u64>) -> Option<NumberOrText> {
    bytes.map(|bytes| NumberOrText::Text(units::bytes_to_text(bytes)))
}
