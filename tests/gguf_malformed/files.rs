//! Classes 69 to 71 and 80: what only a real file can be. Nothing may be left in the cache directory.

use std::fs::{self, File as FsFile, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use woolly::config::ModelSource;
use woolly::tensor::Element;
use woolly::weights::dequant::TensorType;
use woolly::weights::{self, Error, Loaded};
use woolly::{cache, model};

use crate::support::gguf_file::{File, tensor};
use crate::support::tiny_llama::{TinyLlama, u32};

/// Files of each class here.
pub(super) const COUNTS: [(u32, usize); 4] = [(69, 1), (70, 3), (71, 9), (80, 35 * FILLS.len())];

struct Place {
    root: tempfile::TempDir,
    path: PathBuf,
}

impl Place {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("model.gguf");
        Place { root, path }
    }

    fn with(bytes: &[u8]) -> Self {
        let place = Place::new();
        fs::write(&place.path, bytes).unwrap();
        place
    }

    fn cache(&self) -> PathBuf {
        self.root.path().join("cache")
    }

    /// Opens the model; `meanwhile` happens while its header is being judged.
    fn open_while(&self, meanwhile: impl FnOnce(&Path)) -> Result<Loaded, model::Error> {
        let source = ModelSource::Gguf(self.path.clone());
        let settings = woolly::config::Cache {
            dir: self.cache(),
            max_bytes: None,
            verify: woolly::config::Verify::Full,
        };
        weights::open_if(&source, Element::F32, &settings, &(), |metadata, shapes| {
            meanwhile(&self.path);
            model::accept(metadata, shapes)
        })
    }

    fn open(&self) -> Result<Loaded, model::Error> {
        self.open_while(|_| ())
    }

    #[track_caller]
    fn error(&self) -> model::Error {
        self.open().err().expect("refused")
    }

    /// No cache file, temporary file or lock.
    fn assert_nothing_left(&self) {
        let left: Vec<_> = match fs::read_dir(self.cache()) {
            Ok(entries) => entries.map(|entry| entry.unwrap().file_name()).collect(),
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::NotFound);
                vec![]
            }
        };
        assert_eq!(left, [] as [std::ffi::OsString; 0]);
    }
}

/// Class 69: every size agrees, and the file is all holes.
#[test]
fn a_sparse_file_of_a_terabyte_is_not_converted() {
    let place = Place::new();
    let mut model = TinyLlama::new(TensorType::F32).without("llama.vocab_size");
    let rows = 4 << 20;
    let wide = 1 << 16;
    for tensor in &mut model.tensors {
        for dimension in &mut tensor.dimensions {
            *dimension = match *dimension {
                256 => wide,
                128 => wide / 2,
                261 => rows,
                other => panic!("{other}"),
            };
        }
    }
    let model = model
        .set("llama.embedding_length", u32(wide as u32))
        .set("llama.feed_forward_length", u32(wide as u32))
        .set("llama.attention.head_count", u32(wide as u32 / 256))
        .set("llama.attention.head_count_kv", u32(wide as u32 / 512))
        .set("llama.rope.dimension_count", u32(256));
    let (header, data) = model.header();
    assert!(data > 1 << 40, "{data}");
    let file = FsFile::create(&place.path).unwrap();
    (&file).write_all(&header).unwrap();
    if let Err(error) = file.set_len(header.len() as u64 + data) {
        println!("skipped: this file system has no files of {data} bytes ({error})");
        return;
    }
    match place.error() {
        model::Error::Weights(Error::NoRoom { disk, memory }) => {
            assert!(matches!(*disk, cache::Error::NoSpace { .. }), "{disk}");
            assert!(matches!(*memory, cache::Error::NoMemory { .. }), "{memory}");
        }
        other => panic!("{other:?}"),
    }
    place.assert_nothing_left();
}

/// Class 70.
#[test]
fn a_file_that_changes_while_it_is_read_is_refused() {
    let bytes = TinyLlama::new(TensorType::Q2K).bytes();
    let write = |path: &Path, bytes: &[u8], at| {
        let file = OpenOptions::new().write(true).open(path).unwrap();
        file.write_all_at(bytes, at).unwrap();
    };
    let end = bytes.len() as u64;
    type Change<'a> = &'a dyn Fn(&Path);
    let changes: [(&str, Change); 3] = [
        ("shrinks", &|path| {
            let file = OpenOptions::new().write(true).open(path).unwrap();
            file.set_len(100).unwrap();
        }),
        ("grows", &|path| write(path, &[0], end)),
        ("is written to", &|path| {
            // Times are of the kernel's tick: until it moves, the change cannot be seen.
            let before = fs::metadata(path).unwrap().modified().unwrap();
            while fs::metadata(path).unwrap().modified().unwrap() == before {
                write(path, &[1], end - 1);
            }
        }),
    ];
    for (what, change) in changes {
        let place = Place::with(&bytes);
        let error = place.open_while(change).err().expect(what);
        let expected = model::Error::Weights(Error::Changed {
            path: place.path.clone(),
        });
        assert_eq!(format!("{error:?}"), format!("{expected:?}"), "{what}");
        place.assert_nothing_left();
    }
    assert_eq!(COUNTS[1], (70, changes.len()));
    assert!(
        Place::with(&bytes).open().is_ok(),
        "without changes it is good"
    );
}

/// Class 71: none of them blocks.
#[test]
fn what_is_no_regular_file_is_refused() {
    let mut cases: Vec<(Place, io::ErrorKind, &str)> = vec![];
    let not_regular = "it is not a regular file";
    let mut add = |kind, text, make: &dyn Fn(&Path)| {
        let place = Place::new();
        make(&place.path);
        cases.push((place, kind, text));
    };
    let invalid = io::ErrorKind::InvalidInput;
    add(invalid, not_regular, &|path| {
        use rustix::fs::{CWD, FileType, Mode, mknodat};
        mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    });
    add(invalid, not_regular, &|path| fs::create_dir(path).unwrap());
    for device in ["/dev/zero", "/dev/random", "/dev/null"] {
        add(invalid, not_regular, &|path| symlink(device, path).unwrap());
    }
    let no_socket = "No such device or address (os error 6)";
    add(io::Error::from_raw_os_error(6).kind(), no_socket, &|path| {
        drop(UnixListener::bind(path).unwrap());
    });
    let none = "No such file or directory (os error 2)";
    add(io::ErrorKind::NotFound, none, &|path| {
        symlink("nowhere", path).unwrap();
    });
    let looping = "Too many levels of symbolic links (os error 40)";
    add(io::Error::from_raw_os_error(40).kind(), looping, &|path| {
        symlink(path.file_name().unwrap(), path).unwrap();
    });
    add(io::ErrorKind::UnexpectedEof, "it is empty", &|path| {
        FsFile::create(path).unwrap();
    });
    assert_eq!(COUNTS[2], (71, cases.len()));
    for (place, kind, text) in cases {
        match place.error() {
            model::Error::Weights(Error::Open { path, source }) => {
                assert_eq!(path, place.path);
                assert_eq!((source.kind(), source.to_string().as_str()), (kind, text));
            }
            other => panic!("{text}: {other:?}"),
        }
        place.assert_nothing_left();
    }
}

/// Bytes to fill blocks with: scales become infinite, NaN, the largest, the smallest, zero.
const FILLS: [(&str, [u8; 2]); 5] = [
    ("infinite", [0x00, 0x7c]),
    ("NaN", [0xff, 0xff]),
    ("largest half", [0xff, 0x7b]),
    ("subnormal", [0x01, 0x00]),
    ("zero", [0x00, 0x00]),
];

/// Class 80: any bits of a block are values; those that are not finite are counted per tensor.
#[test]
fn any_scales_are_converted_and_reported() {
    assert_eq!(COUNTS[3], (80, TensorType::all().count() * FILLS.len()));
    for kind in TensorType::all() {
        for (what, fill) in FILLS {
            let (cols, rows) = (256, 3);
            let info = tensor(b"x.weight", &[cols, rows], kind as u32, 0);
            let blocks = (cols * rows) as usize / kind.block_values() * kind.block_bytes();
            let mut bytes = File {
                data: 0,
                ..File::with_tensors(vec![info])
            }
            .bytes();
            bytes.extend(fill.iter().cycle().take(blocks));
            let mut expected = vec![0.0; (cols * rows) as usize];
            kind.dequantize(&bytes[bytes.len() - blocks..], &mut expected);
            let special = expected.iter().filter(|value| !value.is_finite()).count();

            let place = Place::with(&bytes);
            let source = ModelSource::Gguf(place.path.clone());
            let loaded = weights::open(&source, &place.cache(), &()).unwrap();
            let reported = match special {
                0 => vec![],
                count => vec![("x.weight".to_owned(), count as u64)],
            };
            assert_eq!(loaded.report.non_finite, reported, "{} {what}", kind.name());
            let tensor = loaded.store.get("x.weight").unwrap();
            for (at, value) in expected.iter().enumerate() {
                let stored = tensor.f32()[at % 256 * 16 + at / 256];
                let same =
                    stored.to_bits() == value.to_bits() || (stored.is_nan() && value.is_nan());
                assert!(
                    same,
                    "{} {what} {at}: {stored}, expected {value}",
                    kind.name()
                );
            }
        }
    }
}
