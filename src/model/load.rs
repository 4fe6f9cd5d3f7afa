//! From a configuration to a model that can run, with its tokenizer and template.

use std::sync::Arc;
use std::time::Duration;

use crate::config;
use crate::job::ModelInfo;
use crate::text::{ChatTemplate, Tokenizer};
use crate::weights::{LoadReport, Progress};

use super::{Error, Model};

/// Everything a program needs to answer prompts.
pub struct LoadedModel {
    pub model: Arc<Model>,
    pub tokenizer: Arc<Tokenizer>,
    pub template: Arc<ChatTemplate>,
    pub info: ModelInfo,
    pub report: LoadReport,
    /// Weights, binding and tokenizer together.
    pub elapsed: Duration,
}

/// Opens the weights and binds the model while the tokenizer is built on its own thread.
pub fn load(
    _model: &config::Model,
    _cache: &config::Cache,
    _progress: &dyn Progress,
) -> Result<LoadedModel, Error> {
    todo!()
}
