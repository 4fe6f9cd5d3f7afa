//! Tokenizers to test with: the tiny ones of `tests/fixtures/tiny_tokenizers.json` (made with random
//! merges for llama.cpp's reference), and the byte tokenizer.

use std::sync::LazyLock;

use serde_json::Value as Json;
use woolly::text::Tokenizer;
use woolly::weights::Metadata;
use woolly::weights::gguf::Value;

static TINY: LazyLock<Json> = LazyLock::new(|| {
    serde_json::from_str(include_str!("../fixtures/tiny_tokenizers.json")).unwrap()
});

/// One reference tokenization.
pub(crate) struct Reference {
    pub(crate) text: String,
    /// Without special tokens, control tokens not parsed.
    pub(crate) plain: Vec<u32>,
    /// With both.
    pub(crate) special: Vec<u32>,
}

pub(crate) fn references(items: &Json) -> Vec<Reference> {
    let ids = |value: &Json| serde_json::from_value(value.clone()).unwrap();
    let items = items.as_array().unwrap().iter();
    let references: Vec<_> = items
        .map(|item| Reference {
            text: item["text"].as_str().unwrap().to_owned(),
            plain: ids(&item["plain"]),
            special: ids(&item["special"]),
        })
        .collect();
    assert!(!references.is_empty());
    references
}

pub(crate) const TINY_NAMES: [&str; 3] = ["llama-gqa", "qwen2", "stablelm"];

pub(crate) fn tiny_references(name: &str) -> Vec<Reference> {
    references(&TINY[name]["tokenize"])
}

/// The metadata of a tiny model as key-value pairs, to be changed by a test.
pub(crate) fn tiny_pairs(name: &str) -> Vec<(String, Value)> {
    let pairs = TINY[name]["metadata"].as_object().unwrap().iter();
    pairs
        .map(|(key, value)| (key.clone(), gguf_value(value)))
        .collect()
}

fn gguf_value(json: &Json) -> Value {
    match json {
        Json::Bool(value) => Value::Bool(*value),
        Json::Number(value) => Value::U32(u32::try_from(value.as_u64().unwrap()).unwrap()),
        Json::String(value) => Value::String(value.clone()),
        Json::Array(values) if values[0].is_string() => {
            Value::Strings(serde_json::from_value(json.clone()).unwrap())
        }
        Json::Array(_) => Value::I32s(serde_json::from_value(json.clone()).unwrap()),
        other => panic!("no GGUF value for {other}"),
    }
}

pub(crate) fn set(pairs: &mut Vec<(String, Value)>, key: &str, value: Value) {
    pairs.retain(|(known, _)| known != key);
    pairs.push((key.to_owned(), value));
}

pub(crate) fn tiny(name: &str) -> Tokenizer {
    Tokenizer::from_metadata(&Metadata::from_pairs(tiny_pairs(name))).unwrap()
}

/// The synthetic byte tokenizer with `size` entries.
pub(crate) fn bytes_metadata(size: u32) -> Metadata {
    Metadata::from_pairs(vec![
        (
            "tokenizer.ggml.model".to_owned(),
            Value::String("woolly-bytes".to_owned()),
        ),
        ("llama.vocab_size".to_owned(), Value::U32(size)),
    ])
}

pub(crate) fn bytes(size: u32) -> Tokenizer {
    Tokenizer::from_metadata(&bytes_metadata(size)).unwrap()
}
