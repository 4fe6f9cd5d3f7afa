//! The tokenizer of a model folder: `tokenizer.json` as the `tokenizers` library writes it, and what the
//! configurations beside it say of special tokens.
//!
//! - `file`: the file as written.
//! - `vocabulary`: entries by id, and which of them are control tokens, as llama.cpp's converter decides.
//! - `added`: what stands around a prompt, by the file's post-processor.
//! - `writing`: how entries are turned back into bytes, by the file's decoder.
//!
//! Byte-pair encoding only, with any normalizer and pre-tokenizer of the library. Ids equal those of the
//! same model as a GGUF file, so added tokens are found exactly as they are written: `single_word`,
//! `lstrip`, `rstrip` and `normalized` have no effect. Neither have `truncation` and `padding`: a prompt is
//! never cut in silence.

mod added;
mod file;
mod vocabulary;
mod writing;

use crate::weights::Metadata;
use crate::weights::gguf::Value;

use super::Error;
use super::bpe;
use super::pipelines::{self, Pipelines};
use super::shared_model::Pipeline;
use super::vocabulary::Additions;

use file::{File, Merge};
use writing::Writing;

pub(super) use super::vocabulary::Vocabulary;

/// The key of the whole file in the metadata.
pub(super) const KEY: &str = "tokenizer.huggingface.json";

/// A tokenizer made of the file.
pub(super) struct Parts {
    pub(super) vocabulary: Vocabulary,
    /// The bytes each entry prints as; control tokens print as nothing.
    pub(super) pieces: Vec<Vec<u8>>,
    pub(super) encoder: Pipelines,
    /// Whether every byte of a text is covered by some token.
    pub(super) keeps_length: bool,
}

/// Builds from the text of `tokenizer.json`, and what the metadata adds to it.
pub(super) fn build(json: &str, metadata: &Metadata) -> Result<Parts, Error> {
    // Normalizers and pre-tokenizers are built by the library, from what a model's author wrote.
    pipelines::guarded("reading tokenizer.json", || {
        let file = File::parse(json)?;
        let writing = Writing::of(&file)?;
        let vocabulary = vocabulary(&file, metadata)?;
        let encoder = Pipelines::new(pipeline(&file, &vocabulary)?, &vocabulary)?;
        Ok(Parts {
            pieces: writing.pieces(&vocabulary),
            encoder,
            keeps_length: writing.keeps_length(&file),
            vocabulary,
        })
    })
}

fn pipeline(file: &File, vocabulary: &Vocabulary) -> Result<Pipeline, Error> {
    let model = &file.model;
    let merges = model.merges.iter().map(|merge| match merge {
        Merge::Pair(left, right) => (left.as_str(), right.as_str()),
        Merge::Text(text) => bpe::split_merge(text),
    });
    let key = "model.merges of tokenizer.json";
    let model = bpe::model(vocabulary, merges, key, |builder| {
        let builder = builder
            .fuse_unk(model.fuse_unk.unwrap_or(false))
            .byte_fallback(model.byte_fallback.unwrap_or(false))
            .ignore_merges(model.ignore_merges.unwrap_or(false));
        match &model.unk_token {
            Some(unknown) => builder.unk_token(unknown.clone()),
            None => builder,
        }
    })?;
    let mut pipeline = Pipeline::new(model);
    let wrong = |part: &str, error: serde_json::Error| {
        Error::Tokenizer(format!("{part} of tokenizer.json: {error}"))
    };
    if let Some(normalizer) = &file.normalizer {
        let normalizer: tokenizers::NormalizerWrapper = serde_json::from_value(normalizer.clone())
            .map_err(|error| wrong("normalizer", error))?;
        let set = pipeline.with_normalizer(Some(normalizer));
        set.map_err(pipelines::tokenizer_error)?;
    }
    if let Some(splitter) = &file.pre_tokenizer {
        let splitter: tokenizers::PreTokenizerWrapper = serde_json::from_value(splitter.clone())
            .map_err(|error| wrong("pre_tokenizer", error))?;
        pipeline.with_pre_tokenizer(Some(splitter));
    }
    Ok(pipeline)
}

/// Entries with their roles: by name where `tokenizer_config.json` gives one, else by id.
fn vocabulary(file: &File, metadata: &Metadata) -> Result<Vocabulary, Error> {
    let mut vocabulary = vocabulary::entries(file)?;
    let around = added::around(file.post_processor.as_ref())?;
    let ends = metadata
        .integers("tokenizer.huggingface.end_token_ids")
        .map_err(Error::metadata)?
        .unwrap_or_default();
    let id = |added: Option<u32>, name_key: &str, otherwise: Option<i64>| {
        let name = metadata.string(name_key).map_err(Error::metadata)?;
        let named = name.and_then(|name| vocabulary.names.iter().position(|entry| entry == name));
        let named = named.and_then(|id| i64::try_from(id).ok());
        Ok::<_, Error>(added.map(i64::from).or(named).or(otherwise))
    };
    let bos_key = "tokenizer.ggml.bos_token_id";
    let bos = metadata.unsigned(bos_key).map_err(Error::metadata)?;
    let bos = bos.and_then(|id| i64::try_from(id).ok());
    let bos = id(around.before, "tokenizer.huggingface.bos_token", bos)?;
    let eos_name = "tokenizer.huggingface.eos_token";
    let eos = id(around.after, eos_name, ends.first().copied().map(i64::from))?;
    // An end token keeps its role when the post-processor adds another one.
    let also = id(None, eos_name, None)?;

    let mut pairs = Vec::new();
    let ids = [(bos_key, bos), ("tokenizer.ggml.eos_token_id", eos)];
    for (key, id) in ids {
        pairs.extend(id.map(|id| (key.to_owned(), Value::I64(id))));
    }
    for key in [
        "tokenizer.ggml.add_bos_token",
        "tokenizer.ggml.add_eos_token",
    ] {
        pairs.extend(metadata.get(key).map(|flag| (key.to_owned(), flag.clone())));
    }
    let default = Additions {
        bos: around.before.is_some(),
        eos: around.after.is_some(),
        eos_id: None,
    };
    vocabulary.find_roles(&Metadata::from_pairs(pairs), default)?;
    let ends: Vec<i64> = ends.iter().copied().map(i64::from).chain(also).collect();
    vocabulary.add_ends(&ends, "eos_token_id")?;
    Ok(vocabulary)
}
