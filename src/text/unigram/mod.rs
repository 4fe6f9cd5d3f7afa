//! Unigram vocabularies: `tokenizer.ggml.model` = `t5`. Of all ways to cut a text into entries the one with the highest
//! sum of scores; spaces are written `▁`, and what has no entry is the unknown token.
//!
//! The file may bring a table of replacements (`precompiled_charsmap`, as SentencePiece writes it), which is applied
//! first. Both follow `llm_tokenizer_ugm` of llama.cpp.
//!
//! - `replacements`: the table; `lattice`: the search for the best way; `tree`: how both find entries.
//!
//! Invariant: text never becomes a control token, whatever the table makes of it: control tokens are not in the lattice.

mod lattice;
mod replacements;
mod tree;

use std::collections::HashMap;

use tokenizers::Token;

use crate::weights::Metadata;
use crate::weights::gguf::Value;

use super::Error;
use super::pipelines::Pipelines;
use super::sentencepiece::{SPACE, UNKNOWN, scores, space_prefix};
use super::shared_model::{Pipeline, SharedModel};
use super::vocabulary::{Additions, Kind, Vocabulary, role_id};
use lattice::Lattice;
use replacements::Replacements;
use tree::Tree;

const MERGE_SPACES: &str = "tokenizer.ggml.remove_extra_whitespaces";
const REPLACEMENTS: &str = "tokenizer.ggml.precompiled_charsmap";

/// What holds where the file does not say.
pub(super) const DEFAULT: Additions = Additions {
    bos: false,
    eos: true,
    eos_id: Some(1),
};
/// The unknown token of files that name none.
const DEFAULT_UNKNOWN: u32 = 2;
/// The longest text after replacements and with `▁` for every space: three times the longest that is encoded, and what
/// real tables add to it.
const MAX_REPLACED_BYTES: usize = 4 * super::MAX_TEXT_BYTES;

/// A vocabulary, and what is done with a text before it is cut.
pub(super) struct Unigram {
    lattice: Lattice,
    ids: HashMap<String, u32>,
    /// User-defined entries.
    kept: Tree,
    replacements: Option<Replacements>,
    add_space: bool,
    merge_spaces: bool,
}

/// Whether a text begins with a space that it does not have.
pub(super) fn adds_space(metadata: &Metadata) -> Result<bool, Error> {
    Ok(space_prefix(metadata)?.unwrap_or(false))
}

/// Whether words have one space between them, and one before the first, however many there were.
fn merges_spaces(metadata: &Metadata) -> Result<bool, Error> {
    let flag = metadata.boolean(MERGE_SPACES);
    Ok(flag.map_err(Error::metadata)?.unwrap_or(false))
}

/// Checks what [`encoder`] relies on, without building it.
pub(super) fn check(metadata: &Metadata, size: usize) -> Result<(), Error> {
    finite_scores(metadata)?;
    adds_space(metadata)?;
    merges_spaces(metadata)?;
    read_replacements(metadata)?;
    unknown(metadata, size).map(|_| ())
}

fn finite_scores(metadata: &Metadata) -> Result<&[f32], Error> {
    let scores = scores(metadata)?;
    match scores.iter().position(|score| !score.is_finite()) {
        None => Ok(scores),
        Some(id) => Err(Error::Tokenizer(format!(
            "the score of entry {id} is {}, which is no number to compare with",
            scores[id]
        ))),
    }
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

/// The table of replacements; an empty one is none.
fn read_replacements(metadata: &Metadata) -> Result<Option<Replacements>, Error> {
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
    let table = Replacements::read(&bytes);
    let table = table.map_err(|problem| Error::Tokenizer(format!("{REPLACEMENTS} {problem}")));
    table.map(Some)
}

/// The encoder of a vocabulary.
pub(super) fn encoder(metadata: &Metadata, vocabulary: &Vocabulary) -> Result<Pipelines, Error> {
    let unknown = unknown(metadata, vocabulary.names.len())?;
    let mut kept = Tree::default();
    for (name, kind) in vocabulary.names.iter().zip(&vocabulary.kinds) {
        if *kind == Kind::UserDefined {
            kept.insert(name.as_bytes());
        }
    }
    let unigram = Unigram {
        lattice: Lattice::new(vocabulary, finite_scores(metadata)?, unknown)?,
        ids: vocabulary.names.iter().cloned().zip(0..).collect(),
        kept,
        replacements: read_replacements(metadata)?,
        add_space: adds_space(metadata)?,
        merge_spaces: merges_spaces(metadata)?,
    };
    Pipelines::new(Pipeline::new(SharedModel::unigram(unigram)), vocabulary)
}

/// The bytes each entry prints as.
pub(super) use super::sentencepiece::pieces;

impl Unigram {
    /// The entries of a text, one after the other.
    ///
    /// # Errors
    /// When the table of replacements leads nowhere, or makes the text too long.
    pub(super) fn cut(&self, text: &str) -> Result<Vec<Token>, String> {
        let ids = self.lattice.best(&self.replaced(text)?);
        let token = |id: u32| Token {
            id,
            value: String::new(),
            // Nobody asks where a token stands: a replaced text has no places in the given one.
            offsets: (0, 0),
        };
        Ok(ids.into_iter().map(token).collect())
    }

    /// Ids of all entries.
    pub(super) fn ids(&self) -> &HashMap<String, u32> {
        &self.ids
    }

    /// The text after replacements, with its spaces escaped, merged and added.
    fn replaced(&self, text: &str) -> Result<Vec<u8>, String> {
        let mut space = [0; SPACE.len_utf8()];
        let space = SPACE.encode_utf8(&mut space).as_bytes();
        let mut out = Vec::with_capacity(text.len() + text.len() / 2);
        let (mut in_word, mut began) = (false, false);
        let mut at = 0;
        while at < text.len() {
            let (piece, length) = self.replace(text, at)?;
            for &byte in piece {
                if byte != b' ' {
                    if !in_word && (self.merge_spaces || self.add_space && !began) {
                        out.extend_from_slice(space);
                    }
                    (in_word, began) = (true, true);
                    out.push(byte);
                } else {
                    in_word = false;
                    if !self.merge_spaces {
                        out.extend_from_slice(space);
                    }
                }
            }
            if out.len() > MAX_REPLACED_BYTES {
                return Err(format!(
                    "a text of {} bytes grows beyond {MAX_REPLACED_BYTES} bytes by {REPLACEMENTS}",
                    text.len()
                ));
            }
            at += length;
        }
        Ok(out)
    }

    /// What the bytes of `text` from `at` on become, and how many of them.
    fn replace<'a>(&'a self, text: &'a str, at: usize) -> Result<(&'a [u8], usize), String> {
        let bytes = &text.as_bytes()[at..];
        // What begins as a user-defined entry does stays as it is, even if it goes on otherwise: so it is in llama.cpp.
        let kept = self.kept.common(bytes);
        if kept > 0 {
            return Ok((&bytes[..kept], kept));
        }
        if let Some(table) = &self.replacements
            && let Some(found) = table.longest(bytes)?
        {
            return Ok(found);
        }
        Ok(match text.get(at..).and_then(|rest| rest.chars().next()) {
            Some(character) => (&bytes[..character.len_utf8()], character.len_utf8()),
            // What went before ended inside of a character.
            None => ("\u{FFFD}".as_bytes(), 1),
        })
    }
}
