//! Unigram vocabularies: `tokenizer.ggml.model` = `t5`. Of all ways to cut a text into entries the one with the highest
//! sum of scores; spaces are written `▁`, and what has no entry is the unknown token.
//!
//! The file may bring a table of replacements (`precompiled_charsmap`, as SentencePiece writes it), which is applied
//! first.

use tokenizers::NormalizerWrapper;
use tokenizers::models::unigram::Unigram;
use tokenizers::normalizers::replace::ReplacePattern;
use tokenizers::normalizers::{Precompiled, Prepend, Replace, Sequence};

use crate::weights::Metadata;
use crate::weights::gguf::Value;

use super::Error;
use super::pipelines::{Pipelines, guarded, tokenizer_error};
use super::sentencepiece::{SPACE, UNKNOWN, scores, space_prefix};
use super::shared_model::{Pipeline, SharedModel};
use super::vocabulary::{Additions, Kind, Vocabulary, role_id};

const REMOVE_EXTRA_SPACES: &str = "tokenizer.ggml.remove_extra_whitespaces";
const REPLACEMENTS: &str = "tokenizer.ggml.precompiled_charsmap";

/// EOS is added where the file does not say.
pub(super) const DEFAULT: Additions = Additions {
    bos: false,
    eos: true,
};
/// The unknown token of files that name none.
const DEFAULT_UNKNOWN: u32 = 2;

/// Whether a text begins with a space that it does not have.
pub(super) fn adds_space(metadata: &Metadata) -> Result<bool, Error> {
    Ok(space_prefix(metadata)?.unwrap_or(false))
}

/// Whether words have one space between them, and one before the first, however many there were.
fn merges_spaces(metadata: &Metadata) -> Result<bool, Error> {
    let flag = metadata.boolean(REMOVE_EXTRA_SPACES);
    Ok(flag.map_err(Error::metadata)?.unwrap_or(false))
}

/// Checks what [`encoder`] relies on, without building it.
pub(super) fn check(metadata: &Metadata, size: usize) -> Result<(), Error> {
    scores(metadata)?;
    adds_space(metadata)?;
    merges_spaces(metadata)?;
    replacements(metadata)?;
    unknown(metadata, size).map(|_| ())
}

fn unknown(metadata: &Metadata, size: usize) -> Result<u32, Error> {
    let named = role_id(metadata, UNKNOWN, size)?;
    let id = named.unwrap_or(DEFAULT_UNKNOWN);
    if (id as usize) < size {
        return Ok(id);
    }
    Err(Error::Tokenizer(format!(
        "the vocabulary has {size} entries, and {UNKNOWN} is missing"
    )))
}

/// The bytes of the table of replacements; empty ones are none.
fn replacements(metadata: &Metadata) -> Result<Option<Vec<u8>>, Error> {
    let bytes: Vec<u8> = match metadata.get(REPLACEMENTS) {
        None => return Ok(None),
        Some(Value::U8s(bytes)) => bytes.clone(),
        Some(Value::I8s(bytes)) => bytes.iter().map(|&byte| byte.cast_unsigned()).collect(),
        Some(_) => {
            let sentence = format!("{REPLACEMENTS} is no array of bytes");
            return Err(Error::Tokenizer(sentence));
        }
    };
    if bytes.is_empty() {
        return Ok(None);
    }
    // The library takes memory for as many nodes as the table says that it has.
    let nodes = bytes.first_chunk().map(|size| u32::from_le_bytes(*size));
    match nodes {
        Some(size) if (size as usize) < bytes.len() - size_of::<u32>() => Ok(Some(bytes)),
        _ => Err(Error::Tokenizer(format!("{REPLACEMENTS} is cut short"))),
    }
}

/// The encoder of a vocabulary.
pub(super) fn encoder(metadata: &Metadata, vocabulary: &Vocabulary) -> Result<Pipelines, Error> {
    let unknown = unknown(metadata, vocabulary.names.len())?;
    let model = Unigram::from(
        entries(vocabulary, scores(metadata)?),
        Some(unknown as usize),
        false,
    );
    let named = (0..).zip(vocabulary.names.iter().zip(&vocabulary.kinds));
    let apart = named
        .filter(|(_, (_, kind))| !is_text(**kind))
        .map(|(id, (name, _))| (name.clone(), id));
    let model = model.map_err(tokenizer_error)?;
    let model = SharedModel::with_entries_apart(model, apart.collect());
    let mut plain = Pipeline::new(model);
    plain
        .with_normalizer(Some(normalizer(metadata)?))
        .map_err(tokenizer_error)?;
    Pipelines::new(plain, vocabulary)
}

/// Whether the best way to cut a text may lead over such entries; the others are found by their names, or not at all.
fn is_text(kind: Kind) -> bool {
    match kind {
        Kind::Normal | Kind::Silent => true,
        Kind::UserDefined | Kind::Control | Kind::Unknown | Kind::Byte(_) => false,
    }
}

/// Names and scores. What text may not become keeps its place under a name that no text has, with the worst score
/// of a word, which decides what an unknown character costs.
fn entries(vocabulary: &Vocabulary, scores: &[f32]) -> Vec<(String, f64)> {
    let entries = || vocabulary.names.iter().zip(&vocabulary.kinds).zip(scores);
    let normal = entries().filter(|((_, kind), _)| **kind == Kind::Normal);
    let worst = normal.map(|(_, &score)| score).fold(f32::MAX, f32::min);
    let entry =
        |(id, ((name, kind), &score)): (usize, ((&String, &Kind), &f32))| match is_text(*kind) {
            true => (name.clone(), f64::from(score.max(worst))),
            false => (format!("\u{10FFFF}{id}\u{10FFFF}"), f64::from(worst)),
        };
    entries().enumerate().map(entry).collect()
}

/// What is done with a text before it is cut.
fn normalizer(metadata: &Metadata) -> Result<NormalizerWrapper, Error> {
    let replace = |expression: &str, by: &str| {
        let pattern = ReplacePattern::Regex(expression.to_owned());
        Replace::new(pattern, by).map_err(tokenizer_error)
    };
    let mut steps: Vec<NormalizerWrapper> = vec![];
    if let Some(bytes) = replacements(metadata)? {
        let table = guarded("reading the replacements", || {
            Precompiled::from(&bytes).map_err(|error| Error::Tokenizer(error.to_string()))
        })?;
        steps.push(table.into());
    }
    if merges_spaces(metadata)? {
        steps.push(replace(r"\A +| +\z", "")?.into());
        steps.push(replace(" {2,}", " ")?.into());
        steps.push(Prepend::new(" ".to_owned()).into());
    } else if adds_space(metadata)? {
        steps.push(Prepend::new(" ".to_owned()).into());
        // Not where there are only spaces.
        steps.push(replace(r"\A (?= *\z)", "")?.into());
    }
    let escape = Replace::new(" ", SPACE.to_string()).map_err(tokenizer_error)?;
    steps.push(escape.into());
    Ok(Sequence::new(steps).into())
}
