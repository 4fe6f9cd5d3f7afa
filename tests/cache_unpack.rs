//! A cache file turned back into plain files: every value, name and shape is that of the model.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use safetensors::SafeTensors;
use woolly::cache::MappedTensors;
use woolly::config::ModelSource;
use woolly::weights::gguf::{Header, Value};
use woolly::weights::unpack::{Failure, Form, unpack};
use woolly::weights::{self, Metadata};

use crate::support::models::fixture;

/// All of its tensors are F32, so the bytes in the file are the values.
const MODEL: &[u8] = include_bytes!("fixtures/llama-gqa.gguf");

/// The cache file of the tiny model in a directory of its own.
struct Cached {
    _root: tempfile::TempDir,
    path: PathBuf,
    metadata: Metadata,
}

impl Cached {
    fn new() -> Self {
        Self::of("llama-gqa.gguf")
    }

    fn of(model: &str) -> Self {
        let root = tempfile::tempdir().unwrap();
        let source = ModelSource::Gguf(fixture(model));
        let loaded = weights::open(&source, root.path(), &()).unwrap();
        Cached {
            path: root
                .path()
                .join(format!("{}.safetensors", loaded.fingerprint)),
            metadata: loaded.metadata.as_ref().clone(),
            _root: root,
        }
    }

    fn unpack(&self, form: Form) -> Result<Vec<u8>, Failure> {
        let tensors = MappedTensors::open(&self.path, None).unwrap();
        let mut out = vec![];
        let bytes = unpack(&tensors, form, &mut out, &())?;
        assert_eq!(bytes, out.len() as u64);
        Ok(out)
    }
}

#[test]
fn a_safetensors_file_has_the_names_shapes_and_values_of_the_model() {
    let bytes = Cached::new().unpack(Form::Safetensors).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let model = Header::read(MODEL).unwrap();
    assert_eq!(file.len(), model.tensors.len());
    for info in &model.tensors {
        let found = file.tensor(&info.name).unwrap();
        let shape: Vec<usize> = info.dimensions.iter().rev().copied().collect();
        assert_eq!(found.shape(), shape, "{}", info.name);
        assert_eq!(found.data(), &MODEL[info.bytes.clone()], "{}", info.name);
    }
}

/// The cache file holds the experts of a mixture one by one.
#[test]
fn the_experts_of_a_mixture_are_one_tensor_again() {
    let cached = Cached::of("tiny/qwen3moe.gguf");
    let original = fs::read(fixture("tiny/qwen3moe.gguf")).unwrap();
    let model = Header::read(&original).unwrap();
    let stacks = model
        .tensors
        .iter()
        .filter(|info| info.dimensions.len() == 3);
    assert!(stacks.count() >= 3);
    let bytes = cached.unpack(Form::Gguf(&cached.metadata)).unwrap();
    let again = Header::read(&bytes).unwrap();
    assert_eq!(again.tensors.len(), model.tensors.len());
    let plain = cached.unpack(Form::Safetensors).unwrap();
    let plain = SafeTensors::deserialize(&plain).unwrap();
    for info in &model.tensors {
        let values = &original[info.bytes.clone()];
        let found = again.tensors.iter().find(|found| found.name == info.name);
        let found = found.unwrap_or_else(|| panic!("no {}", info.name));
        assert_eq!(found.dimensions, info.dimensions, "{}", info.name);
        assert_eq!(&bytes[found.bytes.clone()], values, "{}", info.name);
        let found = plain.tensor(&info.name).unwrap();
        let shape: Vec<usize> = info.dimensions.iter().rev().copied().collect();
        assert_eq!(
            (found.shape(), found.data()),
            (&shape[..], values),
            "{}",
            info.name
        );
    }
}

#[test]
fn a_gguf_file_has_the_metadata_and_values_of_the_model() {
    let cached = Cached::new();
    let bytes = cached.unpack(Form::Gguf(&cached.metadata)).unwrap();
    let (file, model) = (Header::read(&bytes).unwrap(), Header::read(MODEL).unwrap());
    let expected = |key: &str, value: &Value| match key {
        "general.file_type" => Value::U32(0),
        _ => value.clone(),
    };
    let pairs = |header: &Header| -> Vec<(String, Value)> {
        let pairs = header.metadata.iter();
        pairs
            .map(|(key, value)| (key.to_owned(), expected(key, value)))
            .collect()
    };
    assert_eq!(pairs(&file), pairs(&model));
    assert_eq!(file.metadata.get("general.file_type"), Some(&Value::U32(0)));
    for info in &model.tensors {
        let found = file.tensors.iter().find(|other| other.name == info.name);
        let found = found.unwrap();
        assert_eq!(
            (found.kind, &found.dimensions),
            (info.kind, &info.dimensions)
        );
        assert_eq!(bytes[found.bytes.clone()], MODEL[info.bytes.clone()]);
    }
    assert_eq!(file.tensors.len(), model.tensors.len());
}

#[test]
fn a_damaged_cache_file_is_not_unpacked() {
    let cached = Cached::new();
    let length = fs::metadata(&cached.path).unwrap().len();
    let mut permissions = fs::metadata(&cached.path).unwrap().permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o600);
    fs::set_permissions(&cached.path, permissions).unwrap();
    let file = fs::OpenOptions::new()
        .write(true)
        .open(&cached.path)
        .unwrap();
    file.write_all_at(&[0x5a], length - 1).unwrap();
    let failure = cached.unpack(Form::Safetensors).unwrap_err().to_string();
    let name = cached.path.display();
    let expected = format!("cache file {name}: the values of tensor ");
    assert!(failure.starts_with(&expected), "{failure}");
}
