//! Models for tests: the committed tiny ones, and the published ones where they are given.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use woolly::config::{Cache, Model, ModelSource, Verify};
use woolly::model::{LoadedModel, load};
use woolly::tensor::{Element, Elements};

use super::published::{Published, SMOLLM2};

/// Every architecture, as sentences list them.
pub const SUPPORTED: &str = "llama, smollm3, qwen2, qwen2moe, qwen3, qwen3moe, gemma, gemma2, gemma3, phi2, phi3, \
     stablelm, gptneox, gpt2, olmo2, granite, starcoder2, command-r";

pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(name)
}

pub fn reference(name: &str) -> serde_json::Value {
    let text = std::fs::read_to_string(fixture(name)).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// Loads a GGUF through a cache directory that all tests of this build share: the conversion itself
/// takes part in the test, and its lock serves tests that start at once.
fn load_file(path: PathBuf, elements: Elements) -> LoadedModel {
    let model = Model {
        name: None,
        source: ModelSource::Gguf(path),
        context_length: Some(2048),
        chat_template: None,
        max_tokens_completion: 16,
        max_tokens_chat: 1024,
    };
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cache");
    load(
        &model,
        elements,
        &Cache {
            dir,
            max_bytes: None,
            verify: Verify::Full,
        },
        &(),
    )
    .unwrap()
}

/// The tiny llama with grouped-query attention.
pub fn tiny() -> &'static LoadedModel {
    static MODEL: OnceLock<LoadedModel> = OnceLock::new();
    MODEL.get_or_init(|| load_file(fixture("llama-gqa.gguf"), Elements::default()))
}

/// A model of `tests/fixtures`, with a cache file that all tests share.
pub fn small(name: &str) -> LoadedModel {
    load_file(fixture(name), Elements::default())
}

/// Names of the models that `tests/python/tiny_models.py` writes, as `small` takes them without the ending.
pub fn every_tiny_model() -> Vec<String> {
    let files = std::fs::read_dir(fixture("tiny")).unwrap();
    let names = files.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names
        .filter_map(|name| Some(format!("tiny/{}", name.strip_suffix(".gguf")?)))
        .collect();
    names.sort();
    assert_eq!(names.len(), 20, "{names:?}");
    names
}

/// The same with weights and with keys and values in BF16.
pub fn tiny_narrow() -> &'static LoadedModel {
    static MODEL: OnceLock<LoadedModel> = OnceLock::new();
    MODEL.get_or_init(|| load_file(fixture("llama-gqa.gguf"), NARROW))
}

/// Everything in BF16.
pub const NARROW: Elements = Elements {
    weights: Element::Bf16,
    kv: Element::Bf16,
};

/// A published model, or `None` (and a line that says so) where it is not given.
pub fn published(model: Published) -> Option<LoadedModel> {
    model
        .path()
        .map(|path| load_file(path, Elements::default()))
}

/// SmolLM2-135M-Instruct, or `None` (and a line that says so) where it is not given.
pub fn smollm2() -> Option<&'static LoadedModel> {
    static MODEL: OnceLock<Option<LoadedModel>> = OnceLock::new();
    if_given(&MODEL, Elements::default())
}

/// The same in BF16.
pub fn smollm2_narrow() -> Option<&'static LoadedModel> {
    static MODEL: OnceLock<Option<LoadedModel>> = OnceLock::new();
    if_given(&MODEL, NARROW)
}

fn if_given(
    model: &'static OnceLock<Option<LoadedModel>>,
    elements: Elements,
) -> Option<&'static LoadedModel> {
    let model = model.get_or_init(|| SMOLLM2.path().map(|path| load_file(path, elements)));
    model.as_ref()
}

/// A name that the cache gives, of weights that no model has.
pub fn file_name(number: u32) -> String {
    format!("{number:064x}-f32-panels16-v1.safetensors")
}
