//! The TOML file as written: one struct per table, every key optional, no defaults, no I/O.

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct File {
    pub(super) daemon: Daemon,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) model: Option<Model>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) synthetic: Option<Synthetic>,
    pub(super) cache: Cache,
    pub(super) compute: Compute,
    pub(super) workers: Workers,
    pub(super) queue: Queue,
    pub(super) spool: Spool,
    pub(super) api: Api,
    pub(super) log: Log,
}

#[derive(Debug, Clone, PartialEq, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Daemon {
    pub(super) socket: Option<String>,
    pub(super) socket_mode: Option<String>,
    pub(super) state_dir: Option<String>,
    pub(super) drain_timeout_s: Option<u64>,
    pub(super) admin_uids: Option<Vec<u32>>,
}

#[derive(Debug, Clone, PartialEq, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Model {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<String>,
    pub(super) source: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) path: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) context_length: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) chat_template: Option<String>,
    pub(super) max_tokens: Option<MaxTokens>,
}

/// One number for both endpoints, or one for each.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(untagged)]
pub(super) enum MaxTokens {
    Both(u32),
    #[serde(rename_all = "snake_case")]
    Each {
        completions: Option<u32>,
        chat: Option<u32>,
    },
}

#[derive(Debug, Clone, PartialEq, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Synthetic {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) preset: Option<String>,
    pub(super) vocab_size: Option<usize>,
    pub(super) hidden_size: Option<usize>,
    pub(super) num_layers: Option<usize>,
    pub(super) num_heads: Option<usize>,
    pub(super) num_kv_heads: Option<usize>,
    pub(super) context_length: Option<usize>,
    pub(super) intermediate_size: Option<usize>,
    pub(super) tied: Option<bool>,
    pub(super) norm: Option<String>,
    pub(super) seed: Option<u64>,
    pub(super) persist: Option<bool>,
}

#[derive(Debug, Clone, PartialEq, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Cache {
    pub(super) dir: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) max_bytes: Option<NumberOrText>,
    pub(super) verify: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Compute {
    pub(super) weights: Option<String>,
    pub(super) kv: Option<String>,
    pub(super) isa: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Workers {
    pub(super) count: Option<usize>,
    pub(super) threads_per_worker: Option<usize>,
    pub(super) slots: Option<usize>,
    pub(super) prefill_chunk: Option<usize>,
    pub(super) speculation: Option<bool>,
    pub(super) kv_bytes: Option<NumberOrText>,
}

#[derive(Debug, Clone, PartialEq, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Queue {
    pub(super) max_jobs: Option<u64>,
    pub(super) max_jobs_per_user: Option<u64>,
    pub(super) max_bytes: Option<NumberOrText>,
    pub(super) max_bytes_per_user: Option<NumberOrText>,
    pub(super) retention: Option<NumberOrText>,
    pub(super) poison_limit: Option<u32>,
    pub(super) checkpoint_tokens: Option<u32>,
    pub(super) reuse: Option<bool>,
}

#[derive(Debug, Clone, PartialEq, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Spool {
    pub(super) dir: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Api {
    pub(super) max_body_bytes: Option<NumberOrText>,
    pub(super) max_file_bytes: Option<NumberOrText>,
}

#[derive(Debug, Clone, PartialEq, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Log {
    pub(super) level: Option<String>,
    pub(super) format: Option<String>,
}

/// A plain number, or a number with a unit.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(untagged)]
pub(super) enum NumberOrText {
    Number(u64),
    Text(String),
}
