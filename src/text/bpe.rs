//! Byte-pair encoding of gpt2 vocabularies with the `tokenizers` crate.
//!
//! Two pipelines share one vocabulary: one takes control tokens in text for what they are, the other
//! does not know them. The second is not the first with a switch, because then a control token would
//! still hide a user-defined token that it overlaps.

use std::collections::HashSet;
use std::ops::Range;

use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{
    AddedToken, NormalizerWrapper, OffsetReferential, OffsetType, PreTokenizerWrapper,
    SplitDelimiterBehavior, Tokenizer as Pipeline,
};

use crate::weights::Metadata;

use super::Error;
use super::byte_alphabet::ByteAlphabet;
use super::pre_tokenizers::PreTokenizer;
use super::vocabulary::{Kind, Vocabulary};

/// The encoder of one gpt2 vocabulary.
pub(super) struct Bpe {
    /// Knows user-defined and control tokens.
    with_controls: Pipeline,
    /// Knows user-defined tokens only.
    plain: Pipeline,
    controls: HashSet<u32>,
}

impl Bpe {
    pub(super) fn new(
        metadata: &Metadata,
        vocabulary: &Vocabulary,
        pre: PreTokenizer,
    ) -> Result<Self, Error> {
        let key = "tokenizer.ggml.merges";
        let merges = metadata
            .require(key, metadata.strings(key))
            .map_err(Error::metadata)?;
        let mut plain = Pipeline::new(model(vocabulary, merges, pre)?);
        plain.with_pre_tokenizer(Some(word_splitter(pre)?));
        let added = |special: bool, wanted: fn(Kind) -> bool| -> Vec<AddedToken> {
            let entries = vocabulary.names.iter().zip(&vocabulary.kinds);
            entries
                .filter(|(_, kind)| wanted(**kind))
                .map(|(name, _)| AddedToken::from(name.as_str(), special).normalized(false))
                .collect()
        };
        plain
            .add_tokens(added(false, |kind| kind == Kind::UserDefined))
            .map_err(tokenizer_error)?;
        let mut with_controls = plain.clone();
        with_controls
            .add_special_tokens(added(true, Kind::is_control))
            .map_err(tokenizer_error)?;
        let controls = (0..)
            .zip(&vocabulary.kinds)
            .filter(|(_, kind)| kind.is_control())
            .map(|(id, _)| id)
            .collect();
        Ok(Bpe {
            with_controls,
            plain,
            controls,
        })
    }

    pub(super) fn encode(&self, text: &str, parse_special: bool) -> Result<Vec<u32>, Error> {
        let pipeline = if parse_special {
            &self.with_controls
        } else {
            &self.plain
        };
        let encoding = pipeline.encode_fast(text, false).map_err(tokenizer_error)?;
        Ok(encoding.get_ids().to_vec())
    }

    /// Where `encode` with `parse_special` finds control tokens, in order, with their ids.
    pub(super) fn control_spans(&self, text: &str) -> Vec<(Range<usize>, u32)> {
        let pieces = self
            .with_controls
            .get_added_vocabulary()
            .extract_and_normalize::<NormalizerWrapper>(None, text);
        pieces
            .get_splits(OffsetReferential::Original, OffsetType::Byte)
            .into_iter()
            .filter_map(|(_, (start, end), tokens)| {
                let id = tokens.as_ref()?.first()?.id;
                self.controls.contains(&id).then_some((start..end, id))
            })
            .collect()
    }
}

/// The bytes each entry prints as; control tokens print as nothing.
pub(super) fn pieces(vocabulary: &Vocabulary) -> Vec<Vec<u8>> {
    let alphabet = ByteAlphabet::new();
    let entries = vocabulary.names.iter().zip(&vocabulary.kinds);
    entries
        .map(|(name, kind)| match kind {
            Kind::Normal => alphabet.decode(name),
            Kind::UserDefined => name.clone().into_bytes(),
            Kind::Control | Kind::Unknown | Kind::Silent => Vec::new(),
        })
        .collect()
}

fn tokenizer_error(error: tokenizers::Error) -> Error {
    Error::Tokenizer(error.to_string())
}

/// The merges checked against the vocabulary: the builder of the crate panics on a merge whose result
/// is longer than every entry.
fn model(vocabulary: &Vocabulary, merges: &[String], pre: PreTokenizer) -> Result<BPE, Error> {
    let names = vocabulary.names.iter().cloned();
    let ids: Vocab = names.zip(0..).collect();
    let mut pairs = Vec::with_capacity(merges.len());
    for merge in merges {
        // The first half may itself begin with a space in vocabularies that do not escape it.
        let cut = merge
            .char_indices()
            .skip(1)
            .find(|(_, c)| *c == ' ')
            .map(|(at, _)| at);
        let pair = cut.map(|at| (merge[..at].to_owned(), merge[at + 1..].to_owned()));
        let known = pair.filter(|(left, right)| {
            ids.contains_key(left)
                && ids.contains_key(right)
                && ids.contains_key(&format!("{left}{right}"))
        });
        let Some(pair) = known else {
            return Err(Error::Tokenizer(format!(
                "tokenizer.ggml.merges has {merge:?}, which joins no two entries to a third"
            )));
        };
        pairs.push(pair);
    }
    BPE::builder()
        .vocab_and_merges(ids, pairs)
        .ignore_merges(pre.ignore_merges)
        .build()
        .map_err(tokenizer_error)
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
