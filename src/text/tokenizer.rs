//! Token ids from text and bytes from token ids.

use std::ops::Range;

use crate::weights::Metadata;
use crate::weights::gguf::excerpt;

use super::Error;
use super::bpe;
use super::byte_tokens;
use super::huggingface;
use super::pipelines::Pipelines;
use super::pre_tokenizers::{self, PreTokenizer};
use super::sentencepiece;
use super::unigram;
use super::vocabulary::{self, Additions, Arrays, Kind, Roles, Vocabulary};

/// The longest text that is encoded at once. Bounds the memory of one call to less than a gigabyte, and
/// keeps the regular expressions far from the ten million backtracking steps at which their engine panics.
pub const MAX_TEXT_BYTES: usize = 2 << 20;

/// A vocabulary with its merges and special tokens. Shared between threads.
pub struct Tokenizer {
    names: Vec<String>,
    kinds: Vec<Kind>,
    pieces: Pieces,
    roles: Roles,
    /// Bytes of prompt text that one token covers at most; `None` where there is no bound.
    longest: Option<usize>,
    /// A space is added before a text, and taken away when all of it is decoded.
    leading_space: bool,
    encoder: Encoder,
}

/// One way from text to ids. Further kinds of vocabularies join here.
enum Encoder {
    Pipelines(Box<Pipelines>),
    Bytes,
}

/// Which kind of tokenizer the metadata describe.
enum Model<'a> {
    Gpt2(PreTokenizer),
    SentencePiece,
    Unigram,
    Bytes,
    /// The text of a `tokenizer.json`.
    HuggingFace(&'a str),
}

impl<'a> Model<'a> {
    fn read(metadata: &'a Metadata) -> Result<Self, Error> {
        let key = "tokenizer.ggml.model";
        let model = metadata.string(key).map_err(Error::metadata)?;
        let json = metadata.string(huggingface::KEY).map_err(Error::metadata)?;
        if let (None, Some(json)) = (model, json) {
            return Ok(Model::HuggingFace(json));
        }
        match metadata.require(key, Ok(model)).map_err(Error::metadata)? {
            "gpt2" => {
                let pre = metadata.string("tokenizer.ggml.pre");
                let name = pre.map_err(Error::metadata)?.unwrap_or("default");
                let pre = pre_tokenizers::find(name);
                pre.map(Model::Gpt2)
                    .ok_or_else(|| Error::UnknownPreTokenizer {
                        found: excerpt(name),
                        known: pre_tokenizers::names(),
                    })
            }
            "llama" => Ok(Model::SentencePiece),
            "t5" => Ok(Model::Unigram),
            "woolly-bytes" => Ok(Model::Bytes),
            other => Err(Error::UnknownModel {
                found: excerpt(other),
            }),
        }
    }
}

/// The bytes of every token, one after the other.
struct Pieces {
    bytes: Vec<u8>,
    /// Where each token ends.
    ends: Vec<usize>,
}

impl Pieces {
    fn new(pieces: &[Vec<u8>]) -> Self {
        let mut bytes = Vec::with_capacity(pieces.iter().map(Vec::len).sum());
        let mut ends = Vec::with_capacity(pieces.len());
        for piece in pieces {
            bytes.extend_from_slice(piece);
            ends.push(bytes.len());
        }
        Pieces { bytes, ends }
    }

    fn get(&self, id: u32) -> &[u8] {
        let id = id as usize;
        let start = id
            .checked_sub(1)
            .and_then(|before| self.ends.get(before))
            .copied()
            .unwrap_or(0);
        let end = self.ends.get(id).copied().unwrap_or(start);
        self.bytes.get(start..end).unwrap_or(&[])
    }
}

impl Tokenizer {
    /// Builds from `tokenizer.ggml.*`, or where those keys are missing from `tokenizer.huggingface.*`; an
    /// unknown model or pre-tokenizer is an error that names it.
    pub fn from_metadata(metadata: &Metadata) -> Result<Self, Error> {
        match Model::read(metadata)? {
            Model::Gpt2(pre) => Self::gpt2(metadata, pre),
            Model::SentencePiece => Self::sentencepiece(metadata),
            Model::Unigram => Self::unigram(metadata),
            Model::Bytes => {
                let vocabulary = byte_tokens::vocabulary(metadata)?;
                let pieces = byte_tokens::pieces(&vocabulary);
                Ok(Self::new(vocabulary, &pieces, Encoder::Bytes))
            }
            Model::HuggingFace(json) => Self::huggingface(json, metadata),
        }
    }

    /// What can be known without building it, in no time: that its kind is known, that the arrays are of
    /// the right types and lengths, that the ids of special tokens lie in the vocabulary. Returns the
    /// number of entries; `None` where only building tells.
    pub fn check(metadata: &Metadata) -> Result<Option<usize>, Error> {
        match Model::read(metadata)? {
            Model::Gpt2(_) => {
                bpe::merges(metadata)?;
                let size = Arrays::read(metadata)?.len();
                vocabulary::check_roles(metadata, size)?;
                Ok(Some(size))
            }
            Model::SentencePiece => {
                let size = Arrays::read(metadata)?.len();
                sentencepiece::check(metadata, size)?;
                vocabulary::check_roles(metadata, size)?;
                Ok(Some(size))
            }
            Model::Unigram => {
                let size = Arrays::read(metadata)?.len();
                unigram::check(metadata, size)?;
                vocabulary::check_roles(metadata, size)?;
                Ok(Some(size))
            }
            Model::Bytes => Ok(usize::try_from(byte_tokens::size(metadata)?).ok()),
            Model::HuggingFace(_) => Ok(None),
        }
    }

    fn gpt2(metadata: &Metadata, pre: PreTokenizer) -> Result<Self, Error> {
        let default = Additions {
            bos: pre.adds_bos,
            eos: false,
            eos_id: None,
        };
        let vocabulary = Vocabulary::from_metadata(metadata, default)?;
        let encoder = Encoder::Pipelines(Box::new(bpe::encoder(metadata, &vocabulary, pre)?));
        let pieces = bpe::pieces(&vocabulary);
        Ok(Self::new(vocabulary, &pieces, encoder))
    }

    fn sentencepiece(metadata: &Metadata) -> Result<Self, Error> {
        let vocabulary = Vocabulary::from_metadata(metadata, sentencepiece::DEFAULT)?;
        let encoder = sentencepiece::encoder(metadata, &vocabulary)?;
        let pieces = sentencepiece::pieces(&vocabulary);
        let mut tokenizer = Self::new(vocabulary, &pieces, Encoder::Pipelines(Box::new(encoder)));
        if !sentencepiece::has_every_byte(&tokenizer.kinds) {
            // What has no entry is one unknown token, however long it is.
            tokenizer.longest = None;
        }
        tokenizer.leading_space = sentencepiece::adds_space(metadata)?;
        Ok(tokenizer)
    }

    fn unigram(metadata: &Metadata) -> Result<Self, Error> {
        let vocabulary = Vocabulary::from_metadata(metadata, unigram::DEFAULT)?;
        let encoder = unigram::encoder(metadata, &vocabulary)?;
        let pieces = unigram::pieces(&vocabulary);
        let encoder = Encoder::Pipelines(Box::new(encoder));
        let mut tokenizer = Self::new(vocabulary, &pieces, encoder);
        // What has no entry is one unknown token, however long it is.
        tokenizer.longest = None;
        tokenizer.leading_space = unigram::adds_space(metadata)?;
        Ok(tokenizer)
    }

    fn huggingface(json: &str, metadata: &Metadata) -> Result<Self, Error> {
        let parts = huggingface::build(json, metadata)?;
        let encoder = Encoder::Pipelines(Box::new(parts.encoder));
        let mut tokenizer = Self::new(parts.vocabulary, &parts.pieces, encoder);
        if !parts.keeps_length {
            tokenizer.longest = None;
        }
        // Some vocabularies have a space before every word and add one before the first.
        tokenizer.leading_space = match tokenizer.encode("x", false, false) {
            Ok(ids) => tokenizer.decode(&ids, false) == " x",
            Err(_) => false,
        };
        Ok(tokenizer)
    }

    fn new(vocabulary: Vocabulary, pieces: &[Vec<u8>], encoder: Encoder) -> Self {
        // A control token covers its name in the text, though it prints as nothing.
        let longest_piece = pieces.iter().map(Vec::len).max().unwrap_or(0);
        let longest_name = vocabulary.names.iter().map(String::len).max().unwrap_or(0);
        let longest = match encoder {
            Encoder::Pipelines(_) => longest_piece.max(longest_name).max(1),
            Encoder::Bytes => 1,
        };
        Tokenizer {
            names: vocabulary.names,
            kinds: vocabulary.kinds,
            pieces: Pieces::new(pieces),
            roles: vocabulary.roles,
            longest: Some(longest),
            leading_space: false,
            encoder,
        }
    }

    /// `add_special` adds BOS and EOS as the file says; `parse_special` lets control tokens in `text`
    /// become their ids, otherwise they are text. Fails on text above [`MAX_TEXT_BYTES`].
    pub fn encode(
        &self,
        text: &str,
        add_special: bool,
        parse_special: bool,
    ) -> Result<Vec<u32>, Error> {
        if text.len() > MAX_TEXT_BYTES {
            return Err(Error::Tokenizer(format!(
                "a text of {} bytes is too long; at most {MAX_TEXT_BYTES} are encoded at once",
                text.len()
            )));
        }
        let mut ids = match &self.encoder {
            Encoder::Pipelines(pipelines) => pipelines.encode(text, parse_special)?,
            Encoder::Bytes => byte_tokens::encode(text),
        };
        if add_special {
            if let Some(bos) = self.roles.bos.filter(|_| self.roles.add_bos) {
                ids.insert(0, bos);
            }
            ids.extend(self.roles.eos.filter(|_| self.roles.add_eos));
        }
        Ok(ids)
    }

    /// A lower bound on the tokens of a text of so many bytes: what refuses a huge prompt early.
    pub fn fewest_tokens(&self, bytes: usize) -> usize {
        self.longest.map_or(0, |longest| bytes.div_ceil(longest))
    }

    /// Where control tokens stand in `text` when they are parsed, in order.
    pub(super) fn control_spans(&self, text: &str) -> Vec<(Range<usize>, u32)> {
        match &self.encoder {
            Encoder::Pipelines(pipelines) => pipelines.control_spans(text),
            Encoder::Bytes => Vec::new(),
        }
    }

    /// The texts that become control tokens when they are parsed.
    pub(super) fn control_names(&self) -> impl Iterator<Item = &str> {
        let parses = matches!(self.encoder, Encoder::Pipelines(_));
        let entries = self.names.iter().zip(&self.kinds);
        entries
            .filter(move |(_, kind)| parses && kind.is_control())
            .map(|(name, _)| name.as_str())
    }

    /// All text of `ids`; control tokens print as nothing unless `special`; invalid UTF-8 becomes U+FFFD.
    pub fn decode(&self, ids: &[u32], special: bool) -> String {
        let mut bytes = Vec::with_capacity(ids.len() * 4);
        for id in ids {
            let control = self
                .kinds
                .get(*id as usize)
                .is_some_and(|kind| kind.is_control());
            bytes.extend_from_slice(if special && control {
                self.name(*id).as_bytes()
            } else {
                self.bytes(*id)
            });
        }
        let added = self.leading_space && ids.first().is_some_and(|id| !self.is_control(*id));
        let text = match bytes.as_slice() {
            [b' ', rest @ ..] if added => rest,
            all => all,
        };
        String::from_utf8_lossy(text).into_owned()
    }

    /// The bytes one token prints as; empty for control tokens and ids out of range.
    pub fn bytes(&self, id: u32) -> &[u8] {
        self.pieces.get(id)
    }

    /// The vocabulary entry as written in the file, control tokens included; for logs and logprobs.
    /// Empty for ids out of range.
    pub fn name(&self, id: u32) -> &str {
        self.names.get(id as usize).map_or("", String::as_str)
    }

    pub fn vocab_size(&self) -> usize {
        self.names.len()
    }

    pub fn bos(&self) -> Option<u32> {
        self.roles.bos
    }

    pub fn eos(&self) -> Option<u32> {
        self.roles.eos
    }

    /// Whether `encode` with `add_special` puts BOS before the text.
    pub fn adds_bos(&self) -> bool {
        self.roles.add_bos
    }

    /// Whether `encode` with `add_special` puts EOS behind the text.
    pub fn adds_eos(&self) -> bool {
        self.roles.add_eos
    }

    /// Whether the token is a control token: it has a name but prints as nothing.
    pub fn is_control(&self, id: u32) -> bool {
        self.kinds
            .get(id as usize)
            .is_some_and(|kind| kind.is_control())
    }

    /// Every end-of-generation token, ascending.
    pub fn end_tokens(&self) -> &[u32] {
        &self.roles.ends
    }
}
