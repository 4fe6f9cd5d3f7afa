//! One model behind both pipelines of an encoder: the library's own clone would copy the tables of the whole
//! vocabulary, which takes as long as a third of building them, and their memory again.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::{
    DecoderWrapper, Model, NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper, Result,
    Token, TokenizerImpl,
};

use super::unigram::Unigram;

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
pub(super) enum SharedModel {
    Bpe(Arc<BPE>),
    Unigram(Arc<Unigram>),
}

impl SharedModel {
    pub(super) fn bpe(model: BPE) -> Self {
        SharedModel::Bpe(Arc::new(model))
    }

    pub(super) fn unigram(model: Unigram) -> Self {
        SharedModel::Unigram(Arc::new(model))
    }
}

impl Model for SharedModel {
    type Trainer = BpeTrainer;

    fn tokenize(&self, sequence: &str) -> Result<Vec<Token>> {
        match self {
            SharedModel::Bpe(model) => model.tokenize(sequence),
            SharedModel::Unigram(model) => Ok(model.cut(sequence)?),
        }
    }

    fn token_to_id(&self, token: &str) -> Option<u32> {
        match self {
            SharedModel::Bpe(model) => model.token_to_id(token),
            SharedModel::Unigram(model) => model.ids().get(token).copied(),
        }
    }

    fn id_to_token(&self, id: u32) -> Option<String> {
        match self {
            SharedModel::Bpe(model) => model.id_to_token(id),
            SharedModel::Unigram(model) => {
                let mut entries = model.ids().iter();
                entries
                    .find(|(_, entry)| **entry == id)
                    .map(|(name, _)| name.clone())
            }
        }
    }

    fn get_vocab(&self) -> HashMap<String, u32> {
        match self {
            SharedModel::Bpe(model) => model.get_vocab(),
            SharedModel::Unigram(model) => model.ids().clone(),
        }
    }

    fn get_vocab_size(&self) -> usize {
        match self {
            SharedModel::Bpe(model) => model.get_vocab_size(),
            SharedModel::Unigram(model) => model.ids().len(),
        }
    }

    fn save(&self, folder: &Path, prefix: Option<&str>) -> Result<Vec<PathBuf>> {
        match self {
            SharedModel::Bpe(model) => model.save(folder, prefix),
            SharedModel::Unigram(_) => Err("a unigram model is not written".into()),
        }
    }

    fn get_trainer(&self) -> BpeTrainer {
        BpeTrainer::default()
    }
}
