//! The cache file: what other tools see in it, what is refused, and that a failed or doubled build
//! leaves exactly what it should.

use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use woolly::cache::{
    Check, Contents, Directory, Error, Found, Key, MappedFile, MappedTensors, Part, Progress, Work,
};
use woolly::tensor::{Element, Layout, TensorSpec};

/// Tensors whose values are their own indices, so that a misplaced strip shows.
struct Counting {
    specs: Vec<TensorSpec>,
    refuse: bool,
}

impl Counting {
    fn mixed() -> Self {
        let spec = |name: &str, layout, rows, cols| TensorSpec {
            name: name.into(),
            layout,
            rows,
            cols,
        };
        let specs = vec![
            spec("norm", Layout::Vector, 1, 7),
            spec("padded", Layout::Panels, 37, 5),
            spec("bias", Layout::Vector, 1, 3),
            spec("table", Layout::Rows, 11, 9),
            spec("full", Layout::Panels, 32, 600),
            spec("many strips", Layout::Panels, 4_000, 100),
            spec("long row", Layout::Rows, 2, 600_000),
            spec("long panel", Layout::Panels, 16, 40_000),
        ];
        Counting {
            specs,
            refuse: false,
        }
    }
}

impl Contents for Counting {
    fn specs(&self) -> Vec<TensorSpec> {
        self.specs.clone()
    }

    fn fill(&self, spec: &TensorSpec, part: &Part, out: &mut [f32]) {
        let lanes = match spec.layout {
            Layout::Panels => 16,
            Layout::Rows | Layout::Vector => 1,
        };
        let start = part.first_row * spec.cols + part.cols.start * lanes;
        out.iter_mut()
            .zip(start..)
            .for_each(|(value, index)| *value = index as f32);
    }

    fn confirm(&self) -> Result<(), String> {
        if self.refuse {
            Err("the source changed".into())
        } else {
            Ok(())
        }
    }
}

fn key() -> Key {
    Key {
        source: "5a".repeat(32),
        source_bytes: 1234,
        element: Element::F32,
    }
}

fn build(directory: &Path) -> Found {
    let directory = Directory::open(directory).unwrap();
    directory
        .find_or_build(&key(), &Counting::mixed(), Check::Values, &())
        .unwrap()
}

fn names(directory: &Path) -> Vec<String> {
    let files = fs::read_dir(directory).unwrap();
    files
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect()
}

/// A writable copy of the built file with one change.
fn changed(file: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(file).unwrap();
    change(&mut bytes);
    fs::remove_file(file).unwrap();
    fs::write(file, bytes).unwrap();
}

#[test]
fn every_layout_comes_back_aligned_and_in_place() {
    let directory = tempfile::tempdir().unwrap();
    let found = build(directory.path());
    assert!(!found.from_cache);
    for spec in Counting::mixed().specs {
        let (read, values) = found.tensors.get(&spec.name).unwrap();
        let values = values.f32().unwrap();
        assert_eq!(*read, spec);
        assert_eq!(values.len(), spec.stored_len(Element::F32).unwrap());
        assert!(
            values
                .iter()
                .enumerate()
                .all(|(i, &value)| value == i as f32),
            "{}",
            spec.name
        );
        assert_eq!(values.as_ptr().addr() % 64, 0, "{}", spec.name);
    }
    found.tensors.verify(&()).unwrap();
    assert!(build(directory.path()).from_cache);
    let mode = fs::metadata(found.tensors.path())
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o222, 0, "nobody writes to what may be mapped");
}

#[test]
fn the_safetensors_library_reads_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let bytes = fs::read(build(directory.path()).tensors.path()).unwrap();
    let (header_bytes, metadata) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
    assert_eq!((header_bytes + 8) % 4096, 0);
    let words = metadata.metadata().clone().unwrap();
    assert_eq!(words["woolly.format"], "1");
    assert_eq!(words["woolly.layout"], "f32-panels16");
    assert_eq!(words["woolly.source_blake3"], key().source);
    assert_eq!(words["woolly.source_bytes"], "1234");
    assert_eq!(words["shape.padded"], "37,5");
    assert!(!words.contains_key("shape.full"));

    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let shape = |name: &str| tensors.tensor(name).unwrap().shape().to_vec();
    assert_eq!(shape("padded"), [3, 5, 16]);
    assert_eq!(shape("table"), [11, 9]);
    assert_eq!(shape("norm"), [7]);
    for (name, tensor) in tensors.tensors() {
        if name.starts_with("__pad.") {
            assert!(tensor.data().iter().all(|&byte| byte == 0) && tensor.data().len() < 64);
        } else {
            let digest = xxhash_rust::xxh3::xxh3_128(tensor.data());
            assert_eq!(words[&format!("xxh3.{name}")], format!("{digest:032x}"));
        }
    }
}

#[test]
fn a_build_is_deterministic() {
    let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let read = |directory: &Path| fs::read(build(directory).tensors.path()).unwrap();
    assert!(read(a.path()) == read(b.path()));
}

#[test]
fn a_damaged_file_is_refused_with_the_reason_and_built_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = build(directory.path()).tensors.path().to_path_buf();
    let good = fs::read(&path).unwrap();
    type Change = fn(&mut Vec<u8>);
    let damage: [(&str, Change); 7] = [
        ("do not match their checksum", |bytes| {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1
        }),
        ("header does not match its own checksum", |bytes| {
            bytes[300] ^= 1
        }),
        ("header length", |bytes| bytes[0] ^= 1),
        ("not a cache file of this program", |bytes| bytes[8] = b'['),
        ("bytes, and its header describes", |bytes| {
            bytes.truncate(bytes.len() - 1)
        }),
        ("bytes, and its header describes", |bytes| bytes.push(0)),
        ("too short", |bytes| bytes.truncate(5)),
    ];
    for (reason, change) in damage {
        changed(&path, change);
        let found = build(directory.path());
        assert!(!found.from_cache);
        let sentence = found.replaced.unwrap().to_string();
        assert!(sentence.contains(reason), "{sentence}");
        assert!(sentence.contains(&*path.to_string_lossy()), "{sentence}");
        assert!(fs::read(&path).unwrap() == good);
    }
}

#[test]
fn a_file_of_another_source_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = build(directory.path()).tensors.path().to_path_buf();
    let other = Key {
        source: "00".repeat(32),
        ..key()
    };
    let error = MappedTensors::open(&path, Some(&other))
        .unwrap_err()
        .to_string();
    assert!(error.contains("expected 0000"), "{error}");
}

#[test]
fn verification_finds_any_changed_value_and_any_changed_padding() {
    let directory = tempfile::tempdir().unwrap();
    let path = build(directory.path()).tensors.path().to_path_buf();
    let good = fs::read(&path).unwrap();
    let data = 8 + u64::from_le_bytes(good[..8].try_into().unwrap()) as usize;
    // The vectors and their padding at the end byte by byte, the matrices at every 9973rd.
    let ends = (good.len() - 300..good.len()).chain((data..good.len()).step_by(9_973));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    for position in ends {
        file.write_all_at(&[good[position] ^ 0x10], position as u64)
            .unwrap();
        let tensors = MappedTensors::open(&path, Some(&key())).unwrap();
        let error = tensors.verify(&()).unwrap_err();
        assert!(
            error.to_string().contains("do not match their checksum"),
            "{error}"
        );
        file.write_all_at(&good[position..=position], position as u64)
            .unwrap();
    }
    MappedTensors::open(&path, None)
        .unwrap()
        .verify(&())
        .unwrap();
}

#[test]
fn a_failed_build_leaves_nothing_behind() {
    let root = tempfile::tempdir().unwrap();
    let directory = Directory::open(&root.path().join("deep/cache")).unwrap();
    let refused = Counting {
        refuse: true,
        ..Counting::mixed()
    };
    let error = directory
        .find_or_build(&key(), &refused, Check::Values, &())
        .unwrap_err();
    assert_eq!(error.to_string(), "the source changed");
    assert_eq!(names(directory.path()), Vec::<String>::new());

    let name = "__pad.0".to_owned();
    let spec = TensorSpec {
        name,
        layout: Layout::Vector,
        rows: 1,
        cols: 4,
    };
    let reserved = Counting {
        specs: vec![spec],
        refuse: false,
    };
    let error = directory
        .find_or_build(&key(), &reserved, Check::Values, &())
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "tensor __pad.0: its name is reserved, so it cannot be stored"
    );
    assert_eq!(names(directory.path()), Vec::<String>::new());
}

/// Reserves its room before the first value is computed.
#[test]
fn a_full_disk_is_one_sentence_and_leaves_nothing() {
    struct Huge;
    impl Contents for Huge {
        fn specs(&self) -> Vec<TensorSpec> {
            let (rows, cols) = (1 << 20, 1 << 20);
            vec![TensorSpec {
                name: "huge".into(),
                layout: Layout::Rows,
                rows,
                cols,
            }]
        }
        fn fill(&self, _: &TensorSpec, _: &Part, _: &mut [f32]) {
            panic!("computed before there was room");
        }
    }
    let directory = tempfile::tempdir().unwrap();
    let cache = Directory::open(directory.path()).unwrap();
    let error = cache
        .find_or_build(&key(), &Huge, Check::Values, &())
        .unwrap_err();
    assert!(matches!(error, Error::NoSpace { .. }), "{error:?}");
    assert!(
        error.to_string().contains("needs 4398046515200 bytes"),
        "{error}"
    );
    assert_eq!(names(directory.path()), Vec::<String>::new());
}

#[test]
fn a_path_that_is_no_directory_is_one_sentence() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "x").unwrap();
    for path in [file.clone(), file.join("below")] {
        let error = Directory::open(&path).unwrap_err();
        assert!(matches!(error, Error::NotADirectory { .. }), "{error:?}");
    }
}

#[test]
fn builders_that_start_at_once_build_once() {
    #[derive(Default)]
    struct Builds(AtomicUsize, AtomicU64, AtomicUsize);
    impl Progress for Builds {
        fn begin(&self, work: Work, _: u64) {
            assert_eq!(work, Work::Making);
            self.0.fetch_add(1, Ordering::Relaxed);
        }
        fn advance(&self, bytes: u64) {
            self.1.fetch_add(bytes, Ordering::Relaxed);
        }
        fn finish(&self) {
            self.2.fetch_add(1, Ordering::Relaxed);
        }
    }
    let directory = tempfile::tempdir().unwrap();
    let builds = Builds::default();
    let found: Vec<_> = std::thread::scope(|scope| {
        let start = || {
            let cache = Directory::open(directory.path()).unwrap();
            cache
                .find_or_build(&key(), &Counting::mixed(), Check::Header, &builds)
                .unwrap()
        };
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(start)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    assert_eq!(found.iter().filter(|found| !found.from_cache).count(), 1);
    assert_eq!((builds.0.into_inner(), builds.2.into_inner()), (1, 1));
    let file = std::fs::metadata(directory.path().join(key().file_name()));
    assert_eq!(builds.1.into_inner(), file.unwrap().len());
    assert_eq!(names(directory.path()), [key().file_name()]);
}

#[test]
fn opening_a_fifo_does_not_wait_for_a_writer() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("fifo");
    rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::RUSR).unwrap();
    assert!(MappedFile::open(&path).is_err());
}
