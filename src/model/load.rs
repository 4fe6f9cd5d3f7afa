//! From a configuration to a model that can run, with its tokenizer and template.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::{self, ModelSource};
use crate::job::ModelInfo;
use crate::tensor::{Element, Elements};
use crate::text::{ChatTemplate, Tokenizer};
use crate::weights::{self, LoadReport, Progress, Unverified};

use super::accept::{accept, compare};
use super::{Error, Model};

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
    /// There when the values of the weights were not compared with their checksums: until that is done,
    /// nothing computed with them may be believed.
    pub unverified: Option<Unverified>,
    pub times: Times,
}

/// What loading took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// Until the weights were mapped, or made, and bound.
    pub weights: Duration,
    /// Tokenizer and template, on a thread of their own meanwhile.
    pub tokenizer: Duration,
    /// Until both were there.
    pub total: Duration,
}

/// Opens the weights of a model that can run and binds it. The tokenizer is built on its own thread from the
/// moment that the metadata is known.
///
/// # Errors
/// A sentence that names the file and the part of it that is missing, damaged or not supported.
pub fn load(
    model: &config::Model,
    elements: Elements,
    cache: &config::Cache,
    progress: &dyn Progress,
) -> Result<LoadedModel, Error> {
    load_source(model, elements, cache, progress).map_err(|error| match model.source.path() {
        Some(path) => error.in_file(path),
        None => error,
    })
}

fn load_source(
    model: &config::Model,
    elements: Elements,
    cache: &config::Cache,
    progress: &dyn Progress,
) -> Result<LoadedModel, Error> {
    let start = Instant::now();
    let chat_template = model.chat_template.as_deref();
    std::thread::scope(|scope| {
        let build = |metadata: &Arc<weights::Metadata>| {
            let metadata = Arc::clone(metadata);
            scope.spawn(move || Text::build(&metadata, chat_template))
        };
        let mut text = None;
        let loaded = weights::open_if(
            &model.source,
            elements.weights,
            cache,
            progress,
            |metadata, shapes| {
                accept(metadata, shapes)?;
                text = Some(build(metadata));
                Ok::<_, Error>(())
            },
        )?;
        let metadata = &*loaded.metadata;
        // Not every source asks before it opens.
        let text = text.unwrap_or_else(|| build(&loaded.metadata));
        let bound = Model::bind(&loaded.store, metadata, model.context_length, elements.kv)?;
        let weights = start.elapsed();
        let text = match text.join() {
            Ok(text) => text?,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        // Of a `tokenizer.json` the number is not known before.
        compare(text.tokenizer.vocab_size(), bound.vocab())?;
        let info = ModelInfo {
            name: model
                .name
                .clone()
                .unwrap_or_else(|| default_name(&model.source, metadata)),
            context: bound.context(),
            vocab: bound.vocab(),
            end_tokens: text.tokenizer.end_tokens().to_vec(),
            fingerprint: fingerprint(&loaded.fingerprint, elements.kv),
        };
        Ok(LoadedModel {
            model: Arc::new(bound),
            tokenizer: Arc::new(text.tokenizer),
            template: Arc::new(text.template),
            info,
            report: loaded.report,
            unverified: loaded.unverified,
            times: Times {
                weights,
                tokenizer: text.elapsed,
                total: start.elapsed(),
            },
        })
    })
}

/// What turns text into ids and messages into text.
struct Text {
    tokenizer: Tokenizer,
    template: ChatTemplate,
    elapsed: Duration,
}

impl Text {
    fn build(metadata: &weights::Metadata, chat_template: Option<&str>) -> Result<Self, Error> {
        let start = Instant::now();
        let template = ChatTemplate::new(metadata, chat_template)?;
        let tokenizer = Tokenizer::from_metadata(metadata)?;
        let elapsed = start.elapsed();
        Ok(Text {
            tokenizer,
            template,
            elapsed,
        })
    }
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

/// The source (weights with their number type and tokenizer, whether or not they come in one file), the number type
/// of keys and values, and the numeric revision.
fn fingerprint(weights: &str, kv: Element) -> String {
    let kv = match kv {
        Element::F32 => "",
        Element::Bf16 => "/kv-bf16",
    };
    let hash = blake3::hash(format!("{weights}{kv}/numeric-{NUMERIC_REVISION}").as_bytes());
    format!("fp_{}", &hash.to_hex()[..16])
}
