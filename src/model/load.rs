//! From a configuration to a model that can run, with its tokenizer and template.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::{self, ModelSource};
use crate::job::ModelInfo;
use crate::text::{ChatTemplate, Tokenizer};
use crate::weights::{self, LoadReport, Progress};

use super::{Error, Hyper, Model};

/// Raised with every change that alters results for equal weights: kernels, math functions,
/// sampling, tokenization. It is part of the fingerprint that stored work is compared with.
const NUMERIC_REVISION: u32 = 1;

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

/// Opens the weights of a model that can run, then binds it while the tokenizer is built on its own
/// thread.
///
/// # Errors
/// A sentence that names the file and the part of it that is missing, damaged or not supported.
pub fn load(
    model: &config::Model,
    cache: &config::Cache,
    progress: &dyn Progress,
) -> Result<LoadedModel, Error> {
    load_source(model, cache, progress).map_err(|error| match model.source.path() {
        Some(path) => error.in_file(path),
        None => error,
    })
}

/// Whether a file with this metadata can be served at all: what can be known before its weights are
/// read.
pub fn accept(metadata: &weights::Metadata) -> Result<(), Error> {
    Hyper::read(metadata).map(drop)
}

fn load_source(
    model: &config::Model,
    cache: &config::Cache,
    progress: &dyn Progress,
) -> Result<LoadedModel, Error> {
    let start = Instant::now();
    let loaded = weights::open_if(&model.source, &cache.dir, progress, accept)?;
    let metadata = &*loaded.metadata;
    let (bound, text) = std::thread::scope(|scope| {
        let text = scope.spawn(|| {
            let template = ChatTemplate::new(metadata, model.chat_template.as_deref())?;
            Ok((Tokenizer::from_metadata(metadata)?, template))
        });
        let bound = Model::bind(&loaded.store, metadata, model.context_length);
        (bound, text.join())
    });
    let bound = bound?;
    let (tokenizer, template) = match text {
        Ok(text) => text.map_err(Error::Text)?,
        Err(panic) => std::panic::resume_unwind(panic),
    };
    if tokenizer.vocab_size() > bound.vocab() {
        return Err(Error::Unsupported(format!(
            "the tokenizer has {} tokens, the embedding only {} rows",
            tokenizer.vocab_size(),
            bound.vocab()
        )));
    }
    let info = ModelInfo {
        name: model
            .name
            .clone()
            .unwrap_or_else(|| default_name(&model.source, metadata)),
        context: bound.context(),
        vocab: bound.vocab(),
        end_tokens: tokenizer.end_tokens().to_vec(),
        fingerprint: fingerprint(&loaded.fingerprint),
    };
    Ok(LoadedModel {
        model: Arc::new(bound),
        tokenizer: Arc::new(tokenizer),
        template: Arc::new(template),
        info,
        report: loaded.report,
        elapsed: start.elapsed(),
    })
}

/// The name of the file or folder, or what a synthetic source calls itself.
fn default_name(source: &ModelSource, metadata: &weights::Metadata) -> String {
    let fallback = match source {
        ModelSource::Gguf(_) | ModelSource::Safetensors(_) => "model",
        ModelSource::Synthetic(_) => metadata
            .string("general.name")
            .ok()
            .flatten()
            .unwrap_or("synthetic"),
    };
    weights::default_name(source).unwrap_or_else(|| fallback.to_owned())
}

/// The source (weights and tokenizer, whether or not they come in one file) and the numeric revision.
fn fingerprint(weights: &str) -> String {
    let hash = blake3::hash(format!("{weights}/numeric-{NUMERIC_REVISION}").as_bytes());
    format!("fp_{}", &hash.to_hex()[..16])
}
