//! A model file through the cache: converted once, bit for bit; what is no model gets one sentence.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use woolly::cache::{Directory, Kind, SourceState};
use woolly::config::{self, ModelSource};
use woolly::model;
use woolly::tensor::Elements;
use woolly::tensor::Layout;
use woolly::weights::{self, Loaded};

use crate::support::gguf_file::{File, U32, tensor};
use crate::support::models::{SUPPORTED, file_name, fixture};

const MODEL: &[u8] = include_bytes!("fixtures/llama-gqa.gguf");

/// A model file and an empty cache beside it.
struct Model {
    root: tempfile::TempDir,
    path: PathBuf,
}

impl Model {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("model.gguf");
        fs::write(&path, MODEL).unwrap();
        Model { root, path }
    }

    fn cache(&self) -> PathBuf {
        self.root.path().join("cache")
    }

    fn open(&self) -> Result<Loaded, weights::Error> {
        weights::open(&ModelSource::Gguf(self.path.clone()), &self.cache(), &())
    }

    fn error(&self) -> String {
        self.open().err().expect("refused").to_string()
    }
}

#[test]
fn a_model_that_cannot_run_is_refused_before_it_is_converted() {
    let model = Model::new();
    let key = b"general.architecture";
    let mut bytes = MODEL.to_vec();
    let at = bytes.windows(key.len()).position(|window| window == key);
    // Behind the key stand the type and the length of its value.
    let value = at.unwrap() + key.len() + 4 + 8;
    bytes[value..value + 5].copy_from_slice(b"lemma");
    fs::write(&model.path, bytes).unwrap();
    let error = model::load(
        &config::Model {
            name: None,
            source: ModelSource::Gguf(model.path.clone()),
            context_length: None,
            chat_template: None,
            max_tokens_completion: 16,
            max_tokens_chat: 16,
        },
        Elements::default(),
        &config::Cache {
            dir: model.cache(),
            max_bytes: None,
            verify: config::Verify::Full,
        },
        &(),
    );
    assert_eq!(
        error.err().expect("refused").to_string(),
        format!(
            "model file {}: unsupported model: architecture \"lemma\" (supported: {SUPPORTED})",
            model.path.display()
        )
    );
    assert!(!model.cache().exists(), "nothing was converted");
}

#[test]
fn a_model_is_converted_once_and_bit_for_bit() {
    let model = Model::new();
    let first = model.open().unwrap();
    assert!(!first.report.from_cache);
    assert_eq!(first.report.parameters, 304_232);
    let second = model.open().unwrap();
    assert!(second.report.from_cache);
    assert_eq!(second.fingerprint, first.fingerprint);
    assert!(
        first
            .fingerprint
            .starts_with(&blake3::hash(MODEL).to_hex().to_string())
    );

    // The file's tensors are F32, so their bytes are the values.
    let header = weights::gguf::Header::read(MODEL).unwrap();
    for info in &header.tensors {
        let cols = info.dimensions[0];
        let tensor = second.store.get(&info.name).unwrap();
        let layout = match info.name.as_str() {
            _ if info.dimensions.len() == 1 => Layout::Vector,
            "token_embd.weight" => Layout::Rows,
            _ => Layout::Panels,
        };
        assert_eq!(tensor.spec().layout, layout, "{}", info.name);
        let stored = tensor.f32();
        for (i, bytes) in MODEL[info.bytes.clone()]
            .as_chunks::<4>()
            .0
            .iter()
            .enumerate()
        {
            let (row, k) = (i / cols, i % cols);
            let at = match layout {
                Layout::Panels => (row / 16 * cols + k) * 16 + row % 16,
                Layout::Rows | Layout::Vector => i,
            };
            assert_eq!(
                stored[at].to_bits(),
                u32::from_le_bytes(*bytes),
                "{} {i}",
                info.name
            );
        }
    }
}

#[test]
fn the_state_of_the_model_file_decides_whether_it_is_read_again() {
    let model = Model::new();
    let first = model.open().unwrap();

    let touch = |seconds| {
        let file = fs::OpenOptions::new()
            .write(true)
            .open(&model.path)
            .unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
            .unwrap();
    };
    touch(1_000_000);
    let touched = model.open().unwrap();
    assert!(touched.report.from_cache);

    // Another content of the same size and with the modification time set back.
    let file = fs::OpenOptions::new()
        .write(true)
        .open(&model.path)
        .unwrap();
    file.write_all_at(&[1, 2, 3], MODEL.len() as u64 - 100)
        .unwrap();
    touch(1_000_000);
    let edited = model.open().unwrap();
    assert!(!edited.report.from_cache);
    assert_ne!(edited.fingerprint, first.fingerprint);
}

#[test]
fn a_listing_says_what_the_files_are() {
    let model = Model::new();
    let loaded = model.open().unwrap();
    let directory = Directory::open(&model.cache()).unwrap();
    let other = file_name(0);
    let aside = format!("{}.bad", file_name(1));
    fs::write(directory.path().join(&other), "foreign").unwrap();
    fs::write(directory.path().join("notes.txt"), "x").unwrap();
    fs::write(directory.path().join("model.safetensors"), "x").unwrap();
    fs::write(directory.path().join(&aside), "damaged").unwrap();
    fs::write(directory.path().join(".building-4294967295-0"), "x").unwrap();
    let items = directory.survey().unwrap();
    let find = |name: &str| items.iter().find(|item| item.name == name).unwrap();
    let file = find(&format!("{}.safetensors", loaded.fingerprint));
    assert_eq!(file.bytes, fs::metadata(&file.path).unwrap().len());
    let Kind::Cache(summary) = &file.kind else {
        panic!("{:?}", file.kind)
    };
    assert_eq!(
        (summary.source_bytes, summary.tensors),
        (MODEL.len() as u64, 31)
    );
    assert_eq!(
        (summary.layout.as_str(), summary.parameters),
        ("f32-panels16", 304_232)
    );
    let hour_ago = SystemTime::now() - Duration::from_secs(3_600);
    assert!(file.modified > hour_ago && file.used > hour_ago);
    assert!(matches!(find(&other).kind, Kind::Refused(_)));
    assert!(matches!(find(&aside).kind, Kind::Quarantined));
    let left = find(".building-4294967295-0");
    assert!(matches!(left.kind, Kind::Temporary) && !left.in_use);
    assert_eq!(
        items.len(),
        4,
        "notes and models are none of the cache's: {items:?}"
    );
}

#[test]
fn a_source_is_compared_with_its_record() {
    // A file of this repository has not changed for long enough to be remembered.
    let source = fixture("llama-gqa.gguf");
    let root = tempfile::tempdir().unwrap();
    weights::open(&ModelSource::Gguf(source.clone()), root.path(), &()).unwrap();
    let state = || {
        let items = Directory::open(root.path()).unwrap().survey().unwrap();
        let mut records = items.into_iter().filter_map(|item| match item.kind {
            Kind::Record {
                source,
                blake3,
                state,
            } => Some((item.path, source, blake3, state)),
            _ => None,
        });
        records.next().unwrap()
    };
    let (path, recorded, blake3, found) = state();
    assert_eq!(
        (recorded, found),
        (Some(source.clone()), SourceState::Unchanged)
    );
    assert_eq!(blake3, blake3::hash(MODEL).to_hex().to_string());

    let text = fs::read_to_string(&path).unwrap();
    let is = |from: &str, to: &str, expected: SourceState| {
        assert!(text.contains(from), "{text}");
        fs::write(&path, text.replace(from, to)).unwrap();
        assert_eq!(state().3, expected);
    };
    let size = format!("\"size\":{}", MODEL.len());
    is(&size, "\"size\":1", SourceState::Changed);
    is("llama-gqa.gguf", "missing.gguf", SourceState::Gone);
    is(
        "llama-gqa.gguf",
        "missing/missing.gguf",
        SourceState::Unknown,
    );
    is("{", "", SourceState::Gone);
}

#[test]
fn a_model_file_that_is_none_is_one_sentence_that_names_it() {
    let model = Model::new();
    let name = model.path.display().to_string();
    let starts = |sentence: &str, rest: &str| {
        let expected = format!("model file {name}: {rest}");
        assert!(sentence.starts_with(&expected), "{sentence}");
    };
    fs::write(&model.path, &MODEL[..MODEL.len() - 50_000]).unwrap();
    starts(
        &model.error(),
        "it is truncated: tensor blk.2.ffn_down.weight ends at byte ",
    );
    fs::write(&model.path, "#!/bin/sh").unwrap();
    starts(
        &model.error(),
        "it is not a GGUF file: it begins with \"#!/b\", expected \"GGUF\"",
    );
    let cube = File::with_tensors(vec![tensor(b"experts.weight", &[2, 2, 2], 0, 0)]);
    fs::write(&model.path, File { data: 32, ..cube }.bytes()).unwrap();
    starts(
        &model.error(),
        "tensor experts.weight has 3 dimensions; 1 or 2 are supported",
    );
    let part = File::with_key(b"split.count", U32, &3u32.to_le_bytes());
    fs::write(&model.path, part.bytes()).unwrap();
    starts(&model.error(), "it is one part of a split model");
    fs::write(&model.path, "").unwrap();
    starts(
        &model.error(),
        "cannot read it: it is empty; expected a GGUF file",
    );
    fs::remove_file(&model.path).unwrap();
    starts(&model.error(), "cannot read it: No such file or directory");
    fs::create_dir(&model.path).unwrap();
    starts(&model.error(), "cannot read it: it is not a regular file");
    assert!(
        !model.cache().exists(),
        "nothing was created for a file that is no model"
    );
}
