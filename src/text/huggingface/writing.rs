//! How entries are written, known from the decoder: bytes as characters, or words behind `▁`.

use serde_json::Value;

use crate::text::Error;
use crate::text::bpe;
use crate::text::vocabulary::{Kind, Vocabulary, named_byte};

use super::file::{File, steps, type_of};

/// What stands for a space.
const SPACE: &str = "▁";

/// One way of writing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Writing {
    /// Every byte is a printable character.
    ByteLevel,
    /// Text with `▁` for spaces; `<0x0A>` is a byte where the decoder says so.
    Words { bytes: bool },
}

impl Writing {
    pub(super) fn of(file: &File) -> Result<Self, Error> {
        let steps = steps(file.decoder.as_ref(), "decoders");
        let kinds: Vec<&str> = steps.iter().map(|step| type_of(step)).collect();
        if kinds == ["ByteLevel"] {
            return Ok(Writing::ByteLevel);
        }
        let known = |step: &&Value| match type_of(step) {
            "ByteFallback" | "Fuse" | "Strip" => true,
            "Metaspace" => text(step, &["replacement"]) == Some(SPACE),
            "Replace" => is_space(step, SPACE, " "),
            _ => false,
        };
        let spaced = kinds
            .iter()
            .any(|kind| ["Metaspace", "Replace"].contains(kind));
        if spaced && steps.iter().all(known) {
            let bytes = kinds.contains(&"ByteFallback");
            return Ok(Writing::Words { bytes });
        }
        Err(Error::Tokenizer(format!(
            "tokenizer.json: the decoder {kinds:?} is not supported; supported: ByteLevel, or Replace or \
             Metaspace of {SPACE:?} with ByteFallback, Fuse and Strip"
        )))
    }

    /// The bytes each entry prints as; control tokens print as nothing.
    pub(super) fn pieces(self, vocabulary: &Vocabulary) -> Vec<Vec<u8>> {
        let Writing::Words { bytes } = self else {
            return bpe::pieces(vocabulary);
        };
        let entries = vocabulary.names.iter().zip(&vocabulary.kinds);
        entries
            .map(|(name, kind)| match kind {
                Kind::Normal => match named_byte(name).filter(|_| bytes) {
                    Some(byte) => vec![byte],
                    None => name.replace(SPACE, " ").into_bytes(),
                },
                Kind::UserDefined => name.clone().into_bytes(),
                Kind::Byte(byte) => vec![*byte],
                Kind::Control | Kind::Unknown | Kind::Unused | Kind::Undefined => Vec::new(),
            })
            .collect()
    }

    /// Whether nothing of a text is lost before it is encoded, so that its length says how many tokens it
    /// needs at least.
    pub(super) fn keeps_length(self, file: &File) -> bool {
        let covered = match self {
            Writing::ByteLevel => true,
            Writing::Words { .. } => file.model.byte_fallback == Some(true),
        };
        let normal = steps(file.normalizer.as_ref(), "normalizers");
        let kept = |step: &&Value| match type_of(step) {
            "Prepend" => true,
            "Replace" => is_space(step, " ", SPACE),
            _ => false,
        };
        let splits = steps(file.pre_tokenizer.as_ref(), "pretokenizers");
        let whole = |step: &&Value| match type_of(step) {
            "ByteLevel" | "Digits" | "Metaspace" => true,
            "Split" => text(step, &["behavior"]) != Some("Removed"),
            _ => false,
        };
        covered && normal.iter().all(kept) && splits.iter().all(whole)
    }
}

/// Whether a step replaces exactly `from` by `to`.
fn is_space(step: &Value, from: &str, to: &str) -> bool {
    text(step, &["pattern", "String"]) == Some(from) && text(step, &["content"]) == Some(to)
}

fn text<'a>(step: &'a Value, path: &[&str]) -> Option<&'a str> {
    path.iter()
        .try_fold(step, |value, key| value.get(key))?
        .as_str()
}
