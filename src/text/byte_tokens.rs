//! The tokenizer of synthetic models: ids 0 to 255 are the bytes, 256 is BOS, 257 is EOS, every other
//! id prints as `<id>`. Text never becomes BOS or EOS.

use crate::weights::Metadata;

use super::Error;
use super::vocabulary::{Additions, Kind, MOST_ENTRIES, Roles, Vocabulary, additions};

const BOS: u32 = 256;
const EOS: u32 = 257;
const SMALLEST: u64 = 258;
const LARGEST: u64 = MOST_ENTRIES as u64;

/// The number of entries.
pub(super) fn size(metadata: &Metadata) -> Result<u64, Error> {
    let key = "llama.vocab_size";
    let size = metadata
        .require(key, metadata.unsigned(key))
        .map_err(Error::metadata)?;
    if !(SMALLEST..=LARGEST).contains(&size) {
        return Err(Error::ByteVocabularySize {
            found: size,
            least: SMALLEST,
            most: LARGEST,
        });
    }
    Ok(size)
}

pub(super) fn vocabulary(metadata: &Metadata) -> Result<Vocabulary, Error> {
    let size = size(metadata)?;
    let mut roles = Roles {
        bos: Some(BOS),
        eos: Some(EOS),
        ends: vec![EOS],
        ..Roles::default()
    };
    additions(metadata, &mut roles, Additions::default())?;
    let name = |id: u64| match id {
        0x20..=0x7E => char::from(id as u8).to_string(),
        0..=0xFF => format!("<0x{id:02X}>"),
        256 => "<bos>".to_owned(),
        257 => "<eos>".to_owned(),
        _ => format!("<{id}>"),
    };
    let kind = |id: u64| {
        if id == 256 || id == 257 {
            Kind::Control
        } else {
            Kind::Normal
        }
    };
    Ok(Vocabulary {
        names: (0..size).map(name).collect(),
        kinds: (0..size).map(kind).collect(),
        roles,
    })
}

/// The bytes each entry prints as.
pub(super) fn pieces(vocabulary: &Vocabulary) -> Vec<Vec<u8>> {
    let entries = vocabulary.names.iter().zip(&vocabulary.kinds).enumerate();
    entries
        .map(|(id, (name, kind))| match u8::try_from(id) {
            Ok(byte) => vec![byte],
            Err(_) if *kind == Kind::Control => Vec::new(),
            Err(_) => name.clone().into_bytes(),
        })
        .collect()
}

pub(super) fn encode(text: &str) -> Vec<u32> {
    text.bytes().map(u32::from).collect()
}
