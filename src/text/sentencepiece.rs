//! SentencePiece vocabularies of GGUF files (`tokenizer.ggml.model` = `llama`): byte-pair encoding whose merges are not
//! listed, but follow from the entries' scores.
//!
//! SentencePiece joins the two neighbours whose result is an entry of the highest score, the leftmost first. That is
//! byte-pair encoding with every split of every entry as a merge, those of high scores first. Spaces are written `▁`,
//! and characters without an entry fall back to their bytes.

use std::collections::{HashMap, HashSet};

use tokenizers::NormalizerWrapper;
use tokenizers::normalizers::{Prepend, Replace, Sequence};

use crate::weights::Metadata;

use super::Error;
use super::bpe;
use super::pipelines::{Pipelines, tokenizer_error};
use super::shared_model::Pipeline;
use super::vocabulary::{Additions, Kind, SCORES, Vocabulary, role_id};

/// What stands for a space inside of entries.
pub(super) const SPACE: char = '▁';
pub(super) const UNKNOWN: &str = "tokenizer.ggml.unknown_token_id";
const ADD_SPACE_PREFIX: &str = "tokenizer.ggml.add_space_prefix";

/// BOS is added where the file does not say.
pub(super) const DEFAULT: Additions = Additions {
    bos: true,
    eos: false,
    eos_id: None,
};

/// The scores of all entries.
pub(super) fn scores(metadata: &Metadata) -> Result<&[f32], Error> {
    let scores = metadata.require(SCORES, metadata.floats(SCORES));
    scores.map_err(Error::metadata)
}

/// Whether a text begins with a space that it does not have.
pub(super) fn adds_space(metadata: &Metadata) -> Result<bool, Error> {
    Ok(space_prefix(metadata)?.unwrap_or(true))
}

/// What the file says of it.
pub(super) fn space_prefix(metadata: &Metadata) -> Result<Option<bool>, Error> {
    metadata.boolean(ADD_SPACE_PREFIX).map_err(Error::metadata)
}

/// Whether every character without an entry can fall back to bytes.
pub(super) fn has_every_byte(kinds: &[Kind]) -> bool {
    let byte = |kind: &Kind| match kind {
        Kind::Byte(byte) => Some(*byte),
        _ => None,
    };
    let bytes: HashSet<u8> = kinds.iter().filter_map(byte).collect();
    bytes.len() == 256
}

/// Checks what [`encoder`] relies on, without building it.
pub(super) fn check(metadata: &Metadata, size: usize) -> Result<(), Error> {
    scores(metadata)?;
    adds_space(metadata)?;
    role_id(metadata, UNKNOWN, size).map(|_| ())
}

/// The encoder of a vocabulary.
pub(super) fn encoder(metadata: &Metadata, vocabulary: &Vocabulary) -> Result<Pipelines, Error> {
    let merges = merges(vocabulary, scores(metadata)?);
    let unknown = role_id(metadata, UNKNOWN, vocabulary.names.len())?;
    let unknown = unknown.map(|id| vocabulary.names[id as usize].clone());
    let model = bpe::model(vocabulary, merges.iter().copied(), SCORES, |builder| {
        let builder = builder.byte_fallback(true).fuse_unk(true);
        match unknown {
            Some(name) => builder.unk_token(name),
            None => builder,
        }
    })?;
    let mut plain = Pipeline::new(model);
    let escape = Replace::new(" ", SPACE.to_string()).map_err(tokenizer_error)?;
    let mut steps: Vec<NormalizerWrapper> = vec![];
    if adds_space(metadata)? {
        steps.push(Prepend::new(SPACE.to_string()).into());
    }
    steps.push(escape.into());
    plain
        .with_normalizer(Some(NormalizerWrapper::from(Sequence::new(steps))))
        .map_err(tokenizer_error)?;
    Pipelines::new(plain, vocabulary)
}

/// Every way to join two plain entries to a third: the highest score first, then the lowest id, then the shortest
/// left half.
fn merges<'a>(vocabulary: &'a Vocabulary, scores: &[f32]) -> Vec<(&'a str, &'a str)> {
    let plain = || {
        let entries = (0u32..).zip(&vocabulary.names).zip(&vocabulary.kinds);
        entries.filter_map(|(entry, kind)| (*kind == Kind::Normal).then_some(entry))
    };
    let ids: HashMap<&str, u32> = plain().map(|(id, name)| (name.as_str(), id)).collect();
    let mut joined: Vec<u32> = plain().map(|(id, _)| id).collect();
    // A score that is not a number comes last; 0 and -0 are one value.
    let score = |id: u32| match scores[id as usize] {
        score if score.is_nan() => f32::NEG_INFINITY,
        score => score + 0.0,
    };
    joined.sort_by(|&a, &b| score(b).total_cmp(&score(a)).then(a.cmp(&b)));
    let mut merges = vec![];
    for id in joined {
        let name = vocabulary.names[id as usize].as_str();
        for (at, _) in name.char_indices().skip(1) {
            let (left, right) = name.split_at(at);
            if ids.contains_key(left) && ids.contains_key(right) {
                merges.push((left, right));
            }
        }
    }
    merges
}

/// The bytes each entry prints as; control tokens print as nothing.
pub(super) fn pieces(vocabulary: &Vocabulary) -> Vec<Vec<u8>> {
    let entries = vocabulary.names.iter().zip(&vocabulary.kinds);
    entries
        .map(|(name, kind)| match kind {
            Kind::Normal => name.replace(SPACE, " ").into_bytes(),
            Kind::UserDefined => name.clone().into_bytes(),
            Kind::Byte(byte) => vec![*byte],
            Kind::Control | Kind::Unknown | Kind::Unused | Kind::Undefined => Vec::new(),
        })
        .collect()
}
