//! E: classes 44 to 59, descriptions of tensors.

use woolly::weights::dequant::TensorType;
use woolly::weights::gguf::{Error, Place};

use super::Cases;
use crate::support::gguf_file::{File, tensor};

fn name() -> String {
    "b".to_owned()
}

/// A file whose second tensor is described by these bytes.
fn second(info: Vec<u8>) -> Vec<u8> {
    File::with_tensors(vec![tensor(b"a.weight", &[8], 0, 0), info]).bytes()
}

pub(super) fn cases() -> Cases {
    let mut cases = Cases::default();
    names(&mut cases);
    dimensions(&mut cases);
    types(&mut cases);
    sizes(&mut cases);
    cases
}

fn names(cases: &mut Cases) {
    let length_error = |length| Error::TensorNameLength {
        index: 1,
        length,
        limit: 64,
    };
    for length in [0, 65, 1_000] {
        let info = tensor(&vec![b'x'; length], &[8], 0, 32);
        cases.add(
            44,
            format!("{length}"),
            second(info),
            length_error(length as u64),
        );
    }
    for length in [1 << 63, u64::MAX] {
        let mut info = tensor(b"b", &[8], 0, 32);
        info[..8].copy_from_slice(&length.to_le_bytes());
        cases.add(44, format!("{length}"), second(info), length_error(length));
    }
    let twice = tensor(b"a.weight", &[3, 5], 0, 32);
    let expected = Error::DuplicateTensor("a.weight".to_owned());
    cases.add(45, "twice", second(twice), expected);
    for bad in [
        "../b",
        "a/b",
        "/etc/passwd",
        "a..b",
        "a\\b",
        "a\0b",
        "a\nb",
        "a\x1bb",
        "\u{9b}",
    ] {
        let info = tensor(bad.as_bytes(), &[8], 0, 32);
        let expected = Error::TensorName { index: 1 };
        cases.add(46, format!("{bad:?}"), second(info), expected);
    }
    for bad in [b"\xff".as_slice(), b"b\xc3", b"\xed\xbf\xbf"] {
        let info = tensor(bad, &[8], 0, 32);
        let expected = Error::NotUtf8 {
            place: Place::Tensor(1),
        };
        cases.add(46, format!("{bad:?}"), second(info), expected);
    }
}

fn dimensions(cases: &mut Cases) {
    for (class, count) in [(47, 0), (48, 5), (48, 6), (48, 1 << 31), (48, u32::MAX)] {
        let mut info = tensor(b"b", &[1, 1, 1, 1, 1], 0, 32);
        info[9..13].copy_from_slice(&count.to_le_bytes());
        let expected = Error::DimensionCount {
            name: name(),
            count,
        };
        cases.add(class, format!("{count} dimensions"), second(info), expected);
    }
    let shape = |dimensions: &[u64]| second(tensor(b"b", dimensions, 0, 32));
    for count in 1..=4 {
        for axis in 0..count {
            let mut dimensions = vec![4; count];
            dimensions[axis] = 0;
            let expected = Error::ZeroDimension { name: name(), axis };
            cases.add(49, format!("{dimensions:?}"), shape(&dimensions), expected);

            let mut dimensions = vec![1; count];
            for large in [1 << 63, u64::MAX] {
                dimensions[axis] = large;
                let expected = Error::TensorSize { name: name() };
                cases.add(50, format!("{dimensions:?}"), shape(&dimensions), expected);
            }
        }
    }
    for first in 0..4 {
        for other in first + 1..4 {
            for (left, right) in [(1 << 32, 1 << 32), (1 << 31, 1 << 32), (1 << 62, 3)] {
                let mut dimensions = [1; 4];
                (dimensions[first], dimensions[other]) = (left, right);
                let expected = Error::TensorSize { name: name() };
                cases.add(51, format!("{dimensions:?}"), shape(&dimensions), expected);
            }
        }
    }
}

fn types(cases: &mut Cases) {
    for kind in TensorType::all().filter(|kind| kind.block_values() > 1) {
        let block = kind.block_values() as u64;
        for columns in [1, block - 1, block + 1] {
            let info = tensor(b"b", &[columns, block], kind as u32, 32);
            let expected = Error::PartialBlock {
                name: name(),
                columns,
                block,
            };
            let what = format!("{} rows of {columns}", kind.name());
            cases.add(53, what, second(info), expected);
        }
    }
    let typed = |id| second(tensor(b"b", &[256], id, 32));
    for id in [43, 44, 100, 255, 1 << 31, u32::MAX] {
        let expected = Error::UnknownTensorType { name: name(), id };
        cases.add(54, format!("type {id}"), typed(id), expected);
    }
    // Types that the format once had; for the first two the table of ggml says a size of 0.
    for (class, id, found) in [
        (55, 4, "Q4_2"),
        (55, 5, "Q4_3"),
        (56, 31, "Q4_0_4_4"),
        (56, 32, "Q4_0_4_8"),
        (56, 33, "Q4_0_8_8"),
        (56, 36, "IQ4_NL_4_4"),
        (56, 37, "IQ4_NL_4_8"),
        (56, 38, "IQ4_NL_8_8"),
    ] {
        let expected = Error::UnsupportedTensorType {
            name: name(),
            found,
            supported: TensorType::names(),
        };
        cases.add(class, found, typed(id), expected);
    }
}

/// A file of one tensor with `values` values in a row, and its error by exact arithmetic.
fn huge(kind: TensorType, values: u64) -> (Vec<u8>, Error) {
    let bytes = File::with_tensors(vec![tensor(b"b", &[values], kind as u32, 0)]).bytes();
    let size = u128::from(values) / kind.block_values() as u128 * kind.block_bytes() as u128;
    // The data of the file are 96 bytes.
    let end = bytes.len() as u128 - 96 + size;
    let error = match u64::try_from(end) {
        Ok(end) => Error::TensorBeyondFile {
            name: name(),
            end,
            size: bytes.len() as u64,
        },
        Err(_) => Error::TensorSize { name: name() },
    };
    (bytes, error)
}

fn sizes(cases: &mut Cases) {
    const MOST: u64 = i64::MAX as u64;
    for kind in TensorType::all() {
        let values = MOST / kind.block_values() as u64 * kind.block_values() as u64;
        let (bytes, expected) = huge(kind, values);
        cases.add(52, kind.name(), bytes, expected);
    }
    for kind in [TensorType::F16, TensorType::Bf16, TensorType::I16] {
        // 2^64 - 2 bytes, which padding to 32 would wrap to 0.
        let (bytes, expected) = huge(kind, MOST);
        assert_eq!(expected, Error::TensorSize { name: name() });
        cases.add(57, kind.name(), bytes, expected);
    }
    for (first, other) in [(MOST, MOST), (MOST - 31, MOST - 31), (1 << 62, 3 << 61)] {
        let (_, expected) = huge(TensorType::I8, first);
        let infos = vec![
            tensor(b"b", &[first], TensorType::I8 as u32, 0),
            tensor(
                b"c",
                &[other],
                TensorType::I8 as u32,
                first.next_multiple_of(32),
            ),
        ];
        let bytes = File::with_tensors(infos).bytes();
        let Error::TensorBeyondFile { name, .. } = expected else {
            panic!("the first alone fits a u64")
        };
        let end = bytes.len() as u64 - 96 + first;
        let size = bytes.len() as u64;
        let expected = Error::TensorBeyondFile { name, end, size };
        cases.add(58, format!("{first} and {other}"), bytes, expected);
    }
    for less in [64, 32, 1] {
        let (bytes, expected) = huge(TensorType::F16, (1 << 63) - less);
        cases.add(59, format!("2^64 - {} bytes", less * 2), bytes, expected);
    }
}
