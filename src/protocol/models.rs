//! `/v1/models` and `/health`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::job::ModelInfo;

/// The body of `GET /v1/models`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelList {
    /// `list`.
    pub object: String,
    pub data: Vec<ModelObject>,
}

/// One model in OpenAI's shape, with what a client must know of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelObject {
    pub id: String,
    /// `model`.
    pub object: String,
    /// Unix seconds.
    pub created: i64,
    /// `woolly`.
    pub owned_by: String,
    /// Positions that prompt and answer share.
    pub context_length: usize,
    pub vocab_size: usize,
    pub fingerprint: String,
}

impl ModelList {
    /// The one model that is served; none while it is loading. `created` is when it was ready.
    pub fn new(info: Option<&ModelInfo>, created: i64) -> Self {
        let object = |info: &ModelInfo| ModelObject {
            id: info.name.clone(),
            object: "model".to_owned(),
            created,
            owned_by: "woolly".to_owned(),
            context_length: info.context,
            vocab_size: info.vocab,
            fingerprint: info.fingerprint.clone(),
        };
        ModelList {
            object: "list".to_owned(),
            data: info.map(object).into_iter().collect(),
        }
    }
}

/// Whether jobs are being served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HealthStatus {
    Ok,
    Warming,
    Draining,
}

impl HealthStatus {
    /// The HTTP status.
    pub fn code(self) -> u16 {
        if self == HealthStatus::Ok { 200 } else { 503 }
    }
}

/// The body of `GET /health`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Health {
    pub status: HealthStatus,
    /// Why not ok, or what to know of a model that is served, in one sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How far warming is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress_percent: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// No further jobs start until the queue is resumed.
    #[serde(default)]
    pub paused: bool,
    /// No new jobs are taken in until the queue is resumed.
    #[serde(default)]
    pub draining: bool,
    /// Batches that have not ended.
    #[serde(default)]
    pub open_batches: u64,
    /// Jobs by state.
    pub jobs: BTreeMap<String, u64>,
}
