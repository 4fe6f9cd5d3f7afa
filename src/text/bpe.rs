//! Byte-pair encoding with the `tokenizers` crate: of the gpt2 vocabularies of GGUF files, and what `huggingface` and
//! `sentencepiece` need of it.

use std::collections::HashSet;

use tokenizers::models::bpe::{BPE, BpeBuilder, Vocab};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{PreTokenizerWrapper, SplitDelimiterBehavior};

use crate::weights::Metadata;
use crate::weights::gguf::excerpt;

use super::Error;
use super::byte_alphabet::ByteAlphabet;
use super::pipelines::{Pipelines, tokenizer_error};
use super::pre_tokenizers::PreTokenizer;
use super::shared_model::{Pipeline, SharedModel};
use super::vocabulary::{Kind, Vocabulary};

/// The encoder of a gpt2 vocabulary.
pub(super) fn encoder(
    metadata: &Metadata,
    vocabulary: &Vocabulary,
    pre: PreTokenizer,
) -> Result<Pipelines, Error> {
    if let Some(byte) = ByteAlphabet::missing_plain_byte(&vocabulary.names) {
        return Err(Error::MissingByte { byte });
    }
    let merges = merges(metadata)?;
    let pairs = merges.iter().map(|merge| split_merge(merge));
    let model = model(vocabulary, pairs, MERGES, |builder| {
        builder.ignore_merges(pre.ignore_merges)
    })?;
    let mut plain = Pipeline::new(model);
    plain.with_pre_tokenizer(Some(word_splitter(pre)?));
    Pipelines::new(plain, vocabulary)
}

/// The bytes each entry prints as; control tokens print as nothing.
pub(super) fn pieces(vocabulary: &Vocabulary) -> Vec<Vec<u8>> {
    let alphabet = ByteAlphabet::new();
    let entries = vocabulary.names.iter().zip(&vocabulary.kinds);
    entries
        .map(|(name, kind)| match kind {
            Kind::Normal => alphabet.decode(name),
            Kind::UserDefined => name.clone().into_bytes(),
            Kind::Control | Kind::Unknown | Kind::Byte(_) | Kind::Unused | Kind::Undefined => {
                Vec::new()
            }
        })
        .collect()
}

const MERGES: &str = "tokenizer.ggml.merges";

/// The merges as texts.
pub(super) fn merges(metadata: &Metadata) -> Result<&[String], Error> {
    let merges = metadata.require(MERGES, metadata.strings(MERGES));
    merges.map_err(Error::metadata)
}

/// A merge as one text has a space between its halves. The first half may itself begin with a space in
/// vocabularies that do not escape it.
pub(super) fn split_merge(merge: &str) -> (&str, &str) {
    let mut spaces = merge.char_indices().skip(1).filter(|(_, c)| *c == ' ');
    match spaces.next() {
        Some((at, _)) => (&merge[..at], &merge[at + 1..]),
        None => (merge, ""),
    }
}

/// Builds the model of a vocabulary and its merges; `set` sets what else there is to it, and `key` is where
/// the merges stand.
pub(super) fn model<'a>(
    vocabulary: &Vocabulary,
    merges: impl Iterator<Item = (&'a str, &'a str)> + Clone,
    key: &str,
    set: impl FnOnce(BpeBuilder) -> BpeBuilder,
) -> Result<SharedModel, Error> {
    let names = vocabulary.names.iter().cloned();
    let ids: Vocab = names.zip(0..).collect();
    let longest = vocabulary.names.iter().map(String::len).max().unwrap_or(0);
    // The crate looks every merge up itself, so that is not done twice; but it panics on a merge whose
    // result is longer than every entry.
    let fits = |(left, right): (&str, &str)| left.len() + right.len() <= longest;
    if let Some(merge) = merges.clone().find(|merge| !fits(*merge)) {
        return Err(joins_nothing(key, merge));
    }
    let pairs = merges.clone().map(|(l, r)| (l.to_owned(), r.to_owned()));
    let builder = BPE::builder().vocab_and_merges(ids, pairs.collect::<Vec<_>>());
    set(builder).build().map(SharedModel::bpe).map_err(|error| {
        let entries: HashSet<&str> = vocabulary.names.iter().map(String::as_str).collect();
        let unknown = |(left, right): &(&str, &str)| {
            let joined = format!("{left}{right}");
            [left, right, joined.as_str()]
                .iter()
                .any(|entry| !entries.contains(entry))
        };
        let culprit = merges.clone().find(unknown);
        culprit.map_or_else(|| tokenizer_error(error), |merge| joins_nothing(key, merge))
    })
}

fn joins_nothing(key: &str, (left, right): (&str, &str)) -> Error {
    Error::Merge {
        key: key.to_owned(),
        // A merge may be megabytes long.
        merge: excerpt(&format!("{} {}", excerpt(left), excerpt(right))),
    }
}

fn word_splitter(pre: PreTokenizer) -> Result<PreTokenizerWrapper, Error> {
    let mut steps = Vec::with_capacity(pre.expressions.len() + 1);
    for expression in pre.expressions {
        let pattern = SplitPattern::Regex((*expression).to_owned());
        let split = Split::new(pattern, SplitDelimiterBehavior::Isolated, false);
        steps.push(split.map_err(tokenizer_error)?.into());
    }
    steps.push(ByteLevel::new(false, false, false).into());
    Ok(Sequence::new(steps).into())
}
