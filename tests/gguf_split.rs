//! A split model is the model it was split from, and parts that do not belong together are refused.

use std::fs;
use std::path::PathBuf;

use woolly::config::{self, ModelSource, Verify};
use woolly::model::{self, LoadedModel};
use woolly::tensor::Elements;
use woolly::weights::gguf::split::SplitError;
use woolly::weights::gguf::{Header, TensorInfo};
use woolly::weights::{self, Loaded};

use crate::reference::check_completions;
use crate::support::folder::GGUF;
use crate::support::gguf_file::{STRING, U32, key, tensor, text};
use crate::support::models::reference;

const U16: u32 = 2;
const I32: u32 = 5;
/// Bytes of magic, version and counts.
const PREAMBLE: usize = 24;

/// A part to be written: what it says of itself, and the tensors it has.
#[derive(Clone)]
struct Part {
    name: String,
    keys: Vec<Vec<u8>>,
    /// The metadata of the whole file too.
    first: bool,
    tensors: Vec<TensorInfo>,
}

fn split_keys(number: u16, count: u16, tensors: i32) -> Vec<Vec<u8>> {
    vec![
        key(b"split.no", U16, &number.to_le_bytes()),
        key(b"split.tensors.count", I32, &tensors.to_le_bytes()),
        key(b"split.count", U16, &count.to_le_bytes()),
    ]
}

impl Part {
    fn bytes(&self) -> Vec<u8> {
        let names = text(b"rope_freqs.weight");
        let end = GGUF.windows(names.len()).position(|window| window == names);
        let metadata = &GGUF[PREAMBLE..end.unwrap()];
        let count = u64::from_le_bytes(*GGUF[16..].first_chunk().unwrap());

        let mut keys = self.keys.concat();
        let mut key_count = self.keys.len() as u64;
        if self.first {
            keys.extend_from_slice(metadata);
            key_count += count;
        }
        let (mut infos, mut data) = (vec![], vec![]);
        for info in &self.tensors {
            let dimensions: Vec<u64> = info
                .dimensions
                .iter()
                .map(|&length| length as u64)
                .collect();
            let kind = info.kind as u32;
            infos.extend(tensor(
                info.name.as_bytes(),
                &dimensions,
                kind,
                data.len() as u64,
            ));
            data.extend_from_slice(&GGUF[info.bytes.clone()]);
            data.resize(data.len().next_multiple_of(32), 0);
        }
        let mut bytes = GGUF[..8].to_vec();
        bytes.extend((self.tensors.len() as u64).to_le_bytes());
        bytes.extend(key_count.to_le_bytes());
        bytes.extend([keys, infos].concat());
        bytes.resize(bytes.len().next_multiple_of(32), 0);
        bytes.extend(data);
        bytes
    }
}

/// The tiny llama in parts of these numbers of tensors.
fn parts(counts: &[usize]) -> Vec<Part> {
    let mut tensors = Header::read(GGUF).unwrap().tensors.into_iter();
    let of = counts.len();
    let part = |(number, count): (usize, &usize)| Part {
        name: format!("tiny-{:05}-of-{of:05}.gguf", number + 1),
        keys: split_keys(number as u16, of as u16, 31),
        first: number == 0,
        tensors: tensors.by_ref().take(*count).collect(),
    };
    counts.iter().enumerate().map(part).collect()
}

struct Place {
    root: tempfile::TempDir,
}

impl Place {
    fn of(parts: &[Part]) -> Self {
        let root = tempfile::tempdir().unwrap();
        for part in parts {
            fs::write(root.path().join(&part.name), part.bytes()).unwrap();
        }
        Place { root }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn open(&self, name: &str) -> Result<Loaded, weights::Error> {
        let cache = self.root.path().join("cache");
        weights::open(&ModelSource::at(self.path(name)), &cache, &())
    }

    /// The part that is wrong, and what is wrong with it.
    fn refusal(&self, name: &str) -> (String, SplitError) {
        match self.open(name) {
            Err(weights::Error::Split { path, source }) => {
                assert!(!self.path("cache").exists());
                let name = path.file_name().unwrap().to_str().unwrap().to_owned();
                (name, source)
            }
            Err(other) => panic!("{other}"),
            Ok(_) => panic!("accepted"),
        }
    }

    fn load(&self, name: &str) -> LoadedModel {
        let model = config::Model {
            name: None,
            source: ModelSource::Gguf(self.path(name)),
            context_length: None,
            chat_template: None,
            max_tokens_completion: 16,
            max_tokens_chat: 16,
        };
        let cache = config::Cache {
            dir: self.path("cache"),
            max_bytes: None,
            verify: Verify::Full,
        };
        model::load(&model, Elements::default(), &cache, &()).unwrap()
    }
}

const FIRST: &str = "tiny-00001-of-00003.gguf";
const SECOND: &str = "tiny-00002-of-00003.gguf";
const THIRD: &str = "tiny-00003-of-00003.gguf";

#[test]
fn a_split_model_is_the_model_it_was_split_from() {
    let whole = Place::of(&[]);
    fs::write(whole.path("whole.gguf"), GGUF).unwrap();
    let expected = whole.open("whole.gguf").unwrap();
    // The first part may have no tensors, and there may be one part only.
    for counts in [&[10, 1, 20][..], &[0, 15, 16], &[31]] {
        let place = Place::of(&parts(counts));
        let name = format!("tiny-00001-of-{:05}.gguf", counts.len());
        let loaded = place.open(&name).unwrap();
        assert_ne!(loaded.fingerprint, expected.fingerprint);
        assert_eq!(loaded.store.specs(), expected.store.specs());
        for spec in expected.store.specs() {
            let tensors = [&loaded, &expected].map(|of| of.store.get(&spec.name).unwrap());
            let [found, expected] = tensors.each_ref().map(|tensor| tensor.f32());
            assert!(
                bytemuck::cast_slice::<f32, u32>(found)
                    == bytemuck::cast_slice::<f32, u32>(expected)
            );
        }
        let key = "tokenizer.ggml.tokens";
        assert_eq!(loaded.metadata.get(key), expected.metadata.get(key));
        assert!(place.open(&name).unwrap().report.from_cache);
    }
}

#[test]
fn a_split_model_gives_the_reference_tokens() {
    let place = Place::of(&parts(&[10, 1, 20]));
    let loaded = place.load(FIRST);
    check_completions(&loaded, &reference("llama-gqa.reference.json"), 1e-4);
    assert_eq!(loaded.info.name, "tiny");
}

#[test]
fn every_part_counts_for_the_name_of_the_cache_file() {
    let place = Place::of(&parts(&[10, 1, 20]));
    let first = place.open(FIRST).unwrap();
    let mut bytes = fs::read(place.path(THIRD)).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(place.path(THIRD), bytes).unwrap();
    let second = place.open(FIRST).unwrap();
    assert!(!second.report.from_cache);
    assert_ne!(first.fingerprint, second.fingerprint);
}

#[test]
fn a_missing_part_and_another_part_than_the_first_are_named() {
    let place = Place::of(&parts(&[10, 1, 20]));
    let first = place.path(FIRST);
    assert_eq!(
        place.refusal(SECOND),
        (
            SECOND.to_owned(),
            SplitError::NotFirst {
                number: 2,
                count: 3,
                first
            }
        )
    );
    fs::remove_file(place.path(THIRD)).unwrap();
    let missing = SplitError::MissingPart {
        number: 3,
        count: 3,
        file: place.path(THIRD),
    };
    assert_eq!(place.refusal(FIRST), (FIRST.to_owned(), missing));
    fs::rename(place.path(FIRST), place.path("renamed.gguf")).unwrap();
    let expected = "-00001-of-00003.gguf".to_owned();
    let name = SplitError::Name { count: 3, expected };
    assert_eq!(
        place.refusal("renamed.gguf"),
        ("renamed.gguf".to_owned(), name)
    );
}

#[test]
fn every_disagreement_of_parts_has_its_error() {
    let good = parts(&[10, 1, 20]);
    // Changes one part, and says which part is refused and why.
    let refused = |at: usize, change: &dyn Fn(&mut Part)| {
        let mut parts = good.clone();
        change(&mut parts[at]);
        Place::of(&parts).refusal(FIRST)
    };
    let named = |name: &str, error| (name.to_owned(), error);
    let disagreement = |key, found, expected| SplitError::Disagreement {
        key,
        found,
        expected,
    };
    let count = refused(1, &|part| part.keys = split_keys(1, 4, 31));
    assert_eq!(count, named(SECOND, disagreement("split.count", 4, 3)));
    let total = refused(2, &|part| part.keys = split_keys(2, 3, 30));
    assert_eq!(
        total,
        named(THIRD, disagreement("split.tensors.count", 30, 31))
    );
    let number = refused(1, &|part| part.keys = split_keys(2, 3, 31));
    let expected = SplitError::Number {
        found: 3,
        expected: 2,
    };
    assert_eq!(number, named(SECOND, expected));
    let fewer = refused(2, &|part| drop(part.tensors.pop()));
    let expected = SplitError::TensorTotal {
        found: 30,
        expected: 31,
    };
    assert_eq!(fewer, named(FIRST, expected));
    let twice = refused(2, &|part| part.tensors[0] = good[1].tensors[0].clone());
    let name = good[1].tensors[0].name.clone();
    assert_eq!(twice.0, THIRD);
    assert!(
        matches!(&twice.1, SplitError::DuplicateTensor { name: found, other } if *found == name && other.ends_with(SECOND)),
        "{twice:?}"
    );
    for (missing, key) in [(0, "split.no"), (1, "split.tensors.count")] {
        for at in [0, 1] {
            let (part, error) = refused(at, &|part| drop(part.keys.remove(missing)));
            assert_eq!(part, [FIRST, SECOND][at]);
            assert_eq!(error, SplitError::MissingKey { key });
        }
    }
    let whole = refused(1, &|part| drop(part.keys.pop()));
    let expected = SplitError::MissingKey { key: "split.count" };
    assert_eq!(whole, named(SECOND, expected));
    let typed = refused(0, &|part| {
        part.keys[0] = key(b"split.no", STRING, &text(b"0"))
    });
    assert_eq!(typed, named(FIRST, SplitError::KeyType { key: "split.no" }));
    let negative = refused(0, &|part| {
        part.keys[1] = split_keys(0, 3, -1).swap_remove(1)
    });
    let key_type = SplitError::KeyType {
        key: "split.tensors.count",
    };
    assert_eq!(negative, named(FIRST, key_type));
    let huge = refused(0, &|part| {
        part.keys[2] = key(b"split.count", U32, &u32::MAX.to_le_bytes())
    });
    assert!(
        matches!(
            huge.1,
            SplitError::Name {
                count: 0xffff_ffff,
                ..
            }
        ),
        "{huge:?}"
    );
}

#[test]
fn a_part_that_is_damaged_is_the_one_that_is_named() {
    let place = Place::of(&parts(&[10, 1, 20]));
    fs::write(place.path(SECOND), "GGUF").unwrap();
    let error = place.open(FIRST).err().unwrap().to_string();
    let path = place.path(SECOND);
    assert!(
        error.starts_with(&format!("model file {}: it is truncated", path.display())),
        "{error}"
    );
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    let error = place.open(FIRST).err().unwrap().to_string();
    assert!(
        error.contains("00002-of-00003.gguf: cannot read it"),
        "{error}"
    );
}
