//! The files of the tokenizer, as metadata that `text` understands.
//!
//! | key | value |
//! |---|---|
//! | `tokenizer.huggingface.json` | `tokenizer.json` as it is; the key is GGUF's |
//! | `tokenizer.huggingface.bos_token`, `.eos_token` | names of tokens, from `tokenizer_config.json` |
//! | `tokenizer.huggingface.end_token_ids` | every id that a configuration calls an end of sequence |
//! | `tokenizer.ggml.bos_token_id` | where the name is not given |
//! | `tokenizer.ggml.add_bos_token`, `.add_eos_token` | only where `tokenizer_config.json` says so |
//! | `tokenizer.chat_template` | the template |
//!
//! Invariant: `tokenizer.json` is not looked into.

use serde_json::Value as Json;

use crate::weights::gguf::Value;

use super::Error;
use super::config::{Config, Object};
use super::read::Folder;

const TOKENIZER: &str = "tokenizer.json";
const TOKENIZER_CONFIG: &str = "tokenizer_config.json";
const GENERATION_CONFIG: &str = "generation_config.json";
const TEMPLATE: &str = "chat_template.jinja";

/// The largest vocabularies of today take 35 MB.
const TOKENIZER_LIMIT: u64 = 64 << 20;
/// It may repeat all special tokens and hold several templates.
const CONFIG_LIMIT: u64 = 16 << 20;
const GENERATION_LIMIT: u64 = 1 << 20;
const TEMPLATE_LIMIT: u64 = 1 << 20;

/// Reads the files and says what is in them.
pub(super) fn metadata(
    folder: &mut Folder,
    config: &Config,
) -> Result<Vec<(String, Value)>, Error> {
    let json = folder.text(TOKENIZER, TOKENIZER_LIMIT)?;
    let json = json.ok_or(Error::MissingFile(TOKENIZER))?;
    let names = object(folder, TOKENIZER_CONFIG, CONFIG_LIMIT)?;
    let generation = object(folder, GENERATION_CONFIG, GENERATION_LIMIT)?;
    let template = match folder.text(TEMPLATE, TEMPLATE_LIMIT)? {
        Some(template) => Some(template),
        None => template(&names)?,
    };

    let mut pairs = Vec::new();
    let mut put = |key: &str, value| pairs.push((key.to_owned(), value));
    put("tokenizer.huggingface.json", Value::String(json));
    for key in ["bos_token", "eos_token"] {
        if let Some(name) = token_name(&names, key)? {
            put(&format!("tokenizer.huggingface.{key}"), Value::String(name));
        }
    }
    let mut ends = token_ids(&generation, "eos_token_id")?;
    ends.extend(token_ids(&config.object, "eos_token_id")?);
    put("tokenizer.huggingface.end_token_ids", Value::I32s(ends));
    let bos = token_ids(&config.object, "bos_token_id")?;
    if let Some(&id) = bos.first() {
        put("tokenizer.ggml.bos_token_id", Value::I32(id));
    }
    for (key, gguf) in [
        ("add_bos_token", "tokenizer.ggml.add_bos_token"),
        ("add_eos_token", "tokenizer.ggml.add_eos_token"),
    ] {
        if let Some(added) = names.boolean(key)? {
            put(gguf, Value::Bool(added));
        }
    }
    if let Some(template) = template {
        put("tokenizer.chat_template", Value::String(template));
    }
    Ok(pairs)
}

/// An empty object where there is no such file.
fn object(folder: &mut Folder, file: &'static str, limit: u64) -> Result<Object, Error> {
    Ok(Object {
        file,
        members: folder.object(file, limit)?.unwrap_or_default(),
    })
}

/// One template, or of several the one that is called `default`.
fn template(names: &Object) -> Result<Option<String>, Error> {
    let expected = "a text, or a list of objects with name and template";
    names
        .typed("chat_template", expected, |value| match value {
            Json::String(template) => Some(Some(template.clone())),
            Json::Array(templates) => {
                let mut default = None;
                for template in templates {
                    let (name, text) = (template.get("name")?, template.get("template")?);
                    if name.as_str()? == "default" {
                        default = Some(text.as_str()?.to_owned());
                    }
                }
                Some(default)
            }
            _ => None,
        })
        .map(Option::flatten)
}

/// A special token is written as its text, or as an object with the text as `content`.
fn token_name(names: &Object, key: &'static str) -> Result<Option<String>, Error> {
    let expected = "a text, or an object with content";
    names.typed(key, expected, |value| {
        let text = value.as_str().or_else(|| value.get("content")?.as_str());
        text.map(str::to_owned)
    })
}

/// An id, or a list of ids.
fn token_ids(object: &Object, key: &'static str) -> Result<Vec<i32>, Error> {
    let id = |value: &Json| value.as_u64().and_then(|id| i32::try_from(id).ok());
    let ids = object.typed(
        key,
        "a token id, or a list of token ids",
        |value| match value {
            Json::Array(values) => values.iter().map(id).collect(),
            one => Some(vec![id(one)?]),
        },
    );
    Ok(ids?.unwrap_or_default())
}
