//! One model behind both pipelines of an encoder: the library's own clone would copy the tables
//! of the whole vocabulary, which takes as long as a third of building them, and their memory again.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokenizers::models::{ModelWrapper, TrainerWrapper};
use tokenizers::{
    DecoderWrapper, Model, NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper, Result,
    Token, TokenizerImpl,
};

/// A pipeline of the library over a shared model.
pub(super) type Pipeline = TokenizerImpl<
    SharedModel,
    NormalizerWrapper,
    PreTokenizerWrapper,
    PostProcessorWrapper,
    DecoderWrapper,
>;

/// The model; its clones are the same one.
#[derive(Clone)]
pub(super) struct SharedModel(Arc<Inner>);

struct Inner {
    model: ModelWrapper,
    /// Entries that the model itself must not find in a text, and a pipeline looks for by their names.
    apart: HashMap<String, u32>,
}

impl SharedModel {
    pub(super) fn new(model: impl Into<ModelWrapper>) -> Self {
        Self::with_entries_apart(model, HashMap::new())
    }

    /// A model that knows the ids of further entries, and makes none of them of a text.
    pub(super) fn with_entries_apart(
        model: impl Into<ModelWrapper>,
        apart: HashMap<String, u32>,
    ) -> Self {
        let model = model.into();
        SharedModel(Arc::new(Inner { model, apart }))
    }
}

impl Model for SharedModel {
    type Trainer = TrainerWrapper;

    fn tokenize(&self, sequence: &str) -> Result<Vec<Token>> {
        self.0.model.tokenize(sequence)
    }

    fn token_to_id(&self, token: &str) -> Option<u32> {
        let apart = self.0.apart.get(token).copied();
        apart.or_else(|| self.0.model.token_to_id(token))
    }

    fn id_to_token(&self, id: u32) -> Option<String> {
        self.0.model.id_to_token(id)
    }

    fn get_vocab(&self) -> HashMap<String, u32> {
        self.0.model.get_vocab()
    }

    fn get_vocab_size(&self) -> usize {
        self.0.model.get_vocab_size()
    }

    fn save(&self, folder: &Path, prefix: Option<&str>) -> Result<Vec<PathBuf>> {
        self.0.model.save(folder, prefix)
    }

    fn get_trainer(&self) -> TrainerWrapper {
        self.0.model.get_trainer()
    }
}
