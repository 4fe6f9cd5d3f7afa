//! GGUF headers: what a good file says, and the error that each kind of damage gets.

use proptest::prelude::*;
use woolly::weights::dequant::TensorType;
use woolly::weights::gguf::{Error, Header, Value};

use crate::support::gguf_file::{ARRAY, BOOL, File, STRING, U32, key, tensor};

const FIXTURE: &[u8] = include_bytes!("fixtures/llama-gqa.gguf");

#[test]
fn a_real_file_is_read_whole() {
    let header = Header::read(FIXTURE).unwrap();
    assert_eq!(
        header.metadata.string("general.architecture").unwrap(),
        Some("llama")
    );
    assert_eq!(
        header.metadata.unsigned("llama.block_count").unwrap(),
        Some(3)
    );
    assert_eq!(
        header.metadata.float("llama.rope.freq_base").unwrap(),
        Some(500_000.0)
    );
    assert_eq!(
        header
            .metadata
            .strings("tokenizer.ggml.tokens")
            .unwrap()
            .unwrap()
            .len(),
        369
    );
    assert_eq!(
        header
            .metadata
            .integers("tokenizer.ggml.token_type")
            .unwrap()
            .unwrap()
            .len(),
        369
    );
    assert_eq!(header.tensors.len(), 31);
    let info = &header.tensors[8];
    assert_eq!(info.name, "blk.0.attn_output.weight");
    assert_eq!(
        (info.dimensions.as_slice(), info.kind),
        ([96, 96].as_slice(), TensorType::F32)
    );
    assert_eq!(info.bytes, 355_264..355_264 + 96 * 96 * 4);
}

#[test]
fn both_versions_and_a_file_without_final_padding_are_read() {
    for version in [2, 3] {
        let bytes = File {
            version,
            ..File::good()
        }
        .bytes();
        let header = Header::read(&bytes).unwrap();
        assert_eq!(header.tensors[1].bytes.len(), 60);
        assert_eq!(header, Header::read(&bytes[..bytes.len() - 4]).unwrap());
    }
}

#[test]
fn what_is_not_a_little_endian_gguf_of_a_known_version_says_so() {
    let read = |bytes: &[u8]| Header::read(bytes).unwrap_err();
    assert_eq!(
        read(b""),
        Error::NotGguf {
            found: "\"\"".into()
        }
    );
    assert_eq!(
        read(b"PK\x03\x04abc"),
        Error::NotGguf {
            found: "\"PK\\x03\\x04\"".into()
        }
    );
    assert_eq!(read(b"GGUF"), Error::Truncated { position: 4 });
    assert_eq!(
        File {
            version: 3 << 24,
            ..File::good()
        }
        .error(),
        Error::BigEndian
    );
    for version in [0, 1, 4, u32::MAX] {
        assert_eq!(
            File {
                version,
                ..File::good()
            }
            .error(),
            Error::Version(version)
        );
    }
}

#[test]
fn counts_are_checked_before_anything_is_allocated() {
    for count in [65_537, 1 << 63, u64::MAX] {
        let tensors = File {
            tensor_count: Some(count),
            ..File::good()
        }
        .error();
        assert!(
            matches!(
                tensors,
                Error::TooMany {
                    what: "tensors",
                    ..
                }
            ),
            "{tensors}"
        );
        let keys = File {
            key_count: Some(count),
            ..File::good()
        }
        .error();
        assert!(
            matches!(
                keys,
                Error::TooMany {
                    what: "metadata keys",
                    ..
                }
            ),
            "{keys}"
        );
    }
    for count in [(4 << 20) + 1, 1 << 63, u64::MAX] {
        let array = [U32.to_le_bytes().to_vec(), count.to_le_bytes().to_vec()].concat();
        let error = File::with_key(b"x", ARRAY, &array).error();
        assert_eq!(
            error,
            Error::ArrayTooLong {
                key: "x".into(),
                count,
                limit: 4 << 20
            }
        );
    }
    let error = File {
        tensor_count: Some(65_536),
        ..File::good()
    }
    .error();
    assert!(matches!(error, Error::CountBeyondFile { .. }), "{error}");
    let array = [
        STRING.to_le_bytes().to_vec(),
        1_000u64.to_le_bytes().to_vec(),
    ]
    .concat();
    let error = File::with_key(b"x", ARRAY, &array).error();
    assert_eq!(
        error,
        Error::CountBeyondFile {
            what: "elements in x".into(),
            count: 1_000
        }
    );
}

#[test]
fn damaged_keys_and_values_have_errors_of_their_own() {
    let one = 1u32.to_le_bytes();
    assert_eq!(
        File::with_key(b"", U32, &one).error(),
        Error::EmptyKey { index: 1 }
    );
    assert_eq!(
        File::with_key(b"a\nb", U32, &one).error(),
        Error::ControlCharacter { index: 1 }
    );
    let what = "key 1 of the metadata".to_owned();
    assert_eq!(
        File::with_key(&[0xff], U32, &one).error(),
        Error::NotUtf8 { what }
    );
    let duplicate = File::with_key(b"general.architecture", U32, &one).error();
    assert_eq!(
        duplicate,
        Error::DuplicateKey("general.architecture".into())
    );
    let error = File::with_key(b"x", 13, &one).error();
    assert_eq!(
        error,
        Error::UnknownValueType {
            key: "x".into(),
            id: 13
        }
    );
    let error = File::with_key(b"x", BOOL, &[2]).error();
    assert_eq!(
        error,
        Error::NotBoolean {
            key: "x".into(),
            byte: 2
        }
    );
    let nested = [ARRAY.to_le_bytes().to_vec(), 1u64.to_le_bytes().to_vec()].concat();
    assert_eq!(
        File::with_key(b"x", ARRAY, &nested).error(),
        Error::NestedArray { key: "x".into() }
    );
    let error = File::with_key(b"x", STRING, &u64::MAX.to_le_bytes()).error();
    assert!(
        matches!(
            error,
            Error::StringTooLong {
                length: u64::MAX,
                ..
            }
        ),
        "{error}"
    );
    let error = File::with_key(b"x", STRING, &(1u64 << 20).to_le_bytes()).error();
    assert!(matches!(error, Error::Truncated { .. }), "{error}");
}

#[test]
fn the_alignment_is_a_power_of_two() {
    for value in [0, 13, 1 << 31] {
        let bytes = u32::to_le_bytes(value);
        let error = File::with_key(b"general.alignment", U32, &bytes).error();
        assert_eq!(error, Error::Alignment(value));
    }
    let error = File::with_key(b"general.alignment", 5, &32i32.to_le_bytes()).error();
    assert_eq!(error, Error::AlignmentType);

    let mut file = File::with_key(b"general.alignment", U32, &64u32.to_le_bytes());
    let error = file.error();
    let expected = Error::UnalignedOffset {
        name: "b.weight".into(),
        offset: 32,
        alignment: 64,
    };
    assert_eq!(error, expected);
    file.alignment = 64;
    file.tensors[1] = tensor(b"b.weight", &[3, 5], 0, 64);
    file.data = 64 + 60;
    assert_eq!(
        Header::read(&file.bytes()).unwrap().tensors[1].bytes.len(),
        60
    );
    assert_eq!(
        header_metadata(&file),
        [Value::String("llama".into()), Value::U32(64)]
    );
}

fn header_metadata(file: &File) -> Vec<Value> {
    let header = Header::read(&file.bytes()).unwrap();
    header
        .metadata
        .iter()
        .map(|(_, value)| value.clone())
        .collect()
}

#[test]
fn damaged_tensor_infos_have_errors_of_their_own() {
    let a = || tensor(b"a.weight", &[8], 0, 0);
    let second = |info: Vec<u8>| File::with_tensors(vec![a(), info]).error();
    let name = || "b".to_owned();

    let error = second(tensor(b"", &[8], 0, 32));
    assert_eq!(
        error,
        Error::TensorNameLength {
            index: 1,
            length: 0,
            limit: 64
        }
    );
    let error = second(tensor(&[b'x'; 65], &[8], 0, 32));
    assert_eq!(
        error,
        Error::TensorNameLength {
            index: 1,
            length: 65,
            limit: 64
        }
    );
    for bad in [b"../b".as_slice(), b"a/b", b"a\0b", b"a\x1bb"] {
        assert_eq!(
            second(tensor(bad, &[8], 0, 32)),
            Error::TensorName { index: 1 }
        );
    }
    assert_eq!(second(a()), Error::DuplicateTensor("a.weight".into()));
    for count in [0, 5, u32::MAX] {
        let mut info = tensor(b"b", &[1, 1, 1, 1, 1], 0, 32);
        info[9..13].copy_from_slice(&count.to_le_bytes());
        assert_eq!(
            second(info),
            Error::DimensionCount {
                name: name(),
                count
            }
        );
    }
    for axis in 0..3 {
        let mut dimensions = [4, 4, 4];
        dimensions[axis] = 0;
        let error = second(tensor(b"b", &dimensions, 0, 32));
        assert_eq!(error, Error::ZeroDimension { name: name(), axis });
    }
    for dimensions in [[1 << 63, 1], [1 << 32, 1 << 31], [1 << 61, 2]] {
        assert_eq!(
            second(tensor(b"b", &dimensions, 0, 32)),
            Error::TensorSize { name: name() }
        );
    }
    for id in [43, u32::MAX] {
        let error = second(tensor(b"b", &[256], id, 32));
        assert_eq!(error, Error::UnknownTensorType { name: name(), id });
    }
    for (id, removed) in [
        (4, "Q4_2"),
        (5, "Q4_3"),
        (31, "Q4_0_4_4"),
        (38, "IQ4_NL_8_8"),
    ] {
        let error = second(tensor(b"b", &[256], id, 32)).to_string();
        let begin = format!(
            "tensor b has the type {removed}, which is not supported; supported: F32, F16, Q4_0, "
        );
        assert!(error.starts_with(&begin), "{error}");
    }
    let error = second(tensor(b"b", &[48, 2], 2, 32));
    assert_eq!(
        error,
        Error::PartialBlock {
            name: name(),
            columns: 48,
            block: 32
        }
    );
}

#[test]
fn tensors_lie_one_behind_the_other_within_the_file() {
    let second = |offset| {
        let tensors = vec![tensor(b"a", &[8], 0, 0), tensor(b"b", &[3, 5], 0, offset)];
        File::with_tensors(tensors).error()
    };
    let name = || "b".to_owned();
    assert_eq!(
        second(33),
        Error::UnalignedOffset {
            name: name(),
            offset: 33,
            alignment: 32
        }
    );
    for offset in [0, 64, u64::MAX - 31] {
        let expected = Error::NotContiguous {
            name: name(),
            offset,
            expected: 32,
        };
        assert_eq!(second(offset), expected);
    }
    let huge = vec![
        tensor(b"a", &[1 << 60], 0, 0),
        tensor(b"b", &[1 << 60], 0, 1 << 62),
    ];
    let error = File::with_tensors(huge).error();
    assert!(matches!(error, Error::TensorBeyondFile { .. }), "{error}");
    assert_eq!(
        File {
            tensors: vec![],
            ..File::good()
        }
        .error(),
        Error::NoTensors
    );
    let error = File {
        data: 32 + 64 + 1,
        ..File::good()
    }
    .error();
    assert_eq!(error, Error::TrailingBytes { extra: 1 });
}

#[test]
fn every_truncation_is_an_error() {
    let bytes = File::good().bytes();
    // The last four bytes are padding, which may be missing.
    for length in 0..bytes.len() - 4 {
        let error = Header::read(&bytes[..length]).unwrap_err();
        let truncated = matches!(
            error,
            Error::NotGguf { .. }
                | Error::Truncated { .. }
                | Error::CountBeyondFile { .. }
                | Error::TensorBeyondFile { .. }
        );
        assert!(truncated, "{length}: {error}");
    }
}

#[test]
fn many_keys_are_read_in_linear_time() {
    let keys = (0..65_535).map(|n| key(format!("k{n}").as_bytes(), U32, &[0; 4]));
    let file = File {
        keys: keys.collect(),
        ..File::good()
    };
    let header = Header::read(&file.bytes()).unwrap();
    assert_eq!(header.metadata.unsigned("k65534").unwrap(), Some(0));
}

proptest! {
    /// Any bytes after a valid beginning: an error or a header whose ranges lie within the file.
    #[test]
    fn damaged_files_never_panic(
        changes in prop::collection::vec((0usize..10_000, any::<u8>()), 1..8),
        cut in 0usize..10_000,
    ) {
        // Metadata and tensor infos of the fixture take its first 9,600 bytes.
        let mut bytes = FIXTURE[..FIXTURE.len().min(200_000)].to_vec();
        for (position, byte) in changes {
            bytes[position] = byte;
        }
        let _ = Header::read(&bytes);
        let _ = Header::read(&bytes[..cut]);
        bytes.extend_from_slice(&FIXTURE[bytes.len()..]);
        if let Ok(header) = Header::read(&bytes) {
            for info in header.tensors {
                prop_assert!(info.bytes.end <= bytes.len());
                let values: usize = info.dimensions.iter().product();
                let blocks = values / info.kind.block_values();
                prop_assert_eq!(info.bytes.len(), blocks * info.kind.block_bytes());
            }
        }
    }

    #[test]
    fn random_bytes_never_panic(tail in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut bytes = b"GGUF\x03\0\0\0\x01\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0".to_vec();
        bytes.extend(tail);
        prop_assert!(Header::read(&bytes).is_err());
    }
}
