//! `tokenizer.json` as written.

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::Value;

use crate::text::Error;

/// The parts that matter; what is read by the library stays a value.
#[derive(Debug, Deserialize)]
pub(super) struct File {
    #[serde(default)]
    pub(super) added_tokens: Vec<Added>,
    pub(super) normalizer: Option<Value>,
    pub(super) pre_tokenizer: Option<Value>,
    pub(super) post_processor: Option<Value>,
    pub(super) decoder: Option<Value>,
    pub(super) model: Model,
}

/// Byte-pair encoding.
#[derive(Debug, Deserialize)]
pub(super) struct Model {
    #[serde(rename = "type", default = "bpe")]
    kind: String,
    dropout: Option<f64>,
    pub(super) unk_token: Option<String>,
    continuing_subword_prefix: Option<String>,
    end_of_word_suffix: Option<String>,
    pub(super) fuse_unk: Option<bool>,
    pub(super) byte_fallback: Option<bool>,
    pub(super) ignore_merges: Option<bool>,
    pub(super) vocab: HashMap<String, u32>,
    pub(super) merges: Vec<Merge>,
}

/// One merge, in the newer or the older way of writing.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Merge {
    Pair(String, String),
    Text(String),
}

/// A token that is found in a text before anything else is done with it.
#[derive(Debug, Deserialize)]
pub(super) struct Added {
    pub(super) id: u32,
    pub(super) content: String,
    #[serde(default)]
    pub(super) special: bool,
}

impl File {
    /// Parses and refuses models of another kind.
    pub(super) fn parse(json: &str) -> Result<Self, Error> {
        let wrong = |problem| Err(Error::Tokenizer(format!("tokenizer.json: {problem}")));
        let other = |kind: &str| wrong(format!("its model is {kind:?}; supported: {BPE:?}"));
        let file: File = match serde_json::from_str(json) {
            Ok(file) => file,
            // Other models have other members, so the parser stumbles before it sees the reason.
            Err(error) => match kind(json) {
                Some(kind) if kind != BPE => return other(&kind),
                _ => return wrong(error.to_string()),
            },
        };
        if file.model.kind != BPE {
            return other(&file.model.kind);
        }
        let model = &file.model;
        let set = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
        let refused = match () {
            () if model.dropout.is_some_and(|dropout| dropout != 0.0) => Some("model.dropout"),
            () if set(&model.continuing_subword_prefix) => Some("model.continuing_subword_prefix"),
            () if set(&model.end_of_word_suffix) => Some("model.end_of_word_suffix"),
            () => None,
        };
        match refused {
            Some(key) => wrong(format!("{key} is set, which is not supported")),
            None => Ok(file),
        }
    }
}

/// Old files do not name the only kind there was.
const BPE: &str = "BPE";

fn bpe() -> String {
    BPE.to_owned()
}

/// The kind of model that a file says it has.
fn kind(json: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Outer {
        model: Inner,
    }
    #[derive(Deserialize)]
    struct Inner {
        #[serde(rename = "type")]
        kind: String,
    }
    Some(serde_json::from_str::<Outer>(json).ok()?.model.kind)
}

/// The `type` of a part, for decisions and sentences.
pub(super) fn type_of(part: &Value) -> &str {
    part.get("type").and_then(Value::as_str).unwrap_or("none")
}

/// The steps of a part, of which a sequence has several under `key`.
pub(super) fn steps<'a>(part: Option<&'a Value>, key: &str) -> Vec<&'a Value> {
    match part {
        None => vec![],
        Some(part) if type_of(part) == "Sequence" => {
            let inner = part.get(key).and_then(Value::as_array);
            let inner = inner.into_iter().flatten();
            inner.flat_map(|step| steps(Some(step), key)).collect()
        }
        Some(part) => vec![part],
    }
}
