//! A: classes 1 to 12, magic, version and counts.

use woolly::weights::gguf::{Error, Place};

use super::Cases;
use crate::support::gguf_file::File;

pub(super) fn cases() -> Cases {
    let mut cases = Cases::default();
    let foreign = |found: &str| Error::NotGguf {
        found: found.to_owned(),
    };
    let ends_at = |position| Error::Truncated {
        place: Place::Counts,
        position,
    };

    cases.add(1, "empty", vec![], foreign("\"\""));
    let good = File::good().bytes();
    for length in 1..=23 {
        let expected = match length {
            1 => foreign("\"G\""),
            2 => foreign("\"GG\""),
            3 => foreign("\"GGU\""),
            4..8 => ends_at(4),
            8..16 => ends_at(8),
            _ => ends_at(16),
        };
        let what = format!("{length} bytes");
        cases.add(2, what, good[..length].to_vec(), expected);
    }
    for (magic, found) in [
        (*b"GGUf", "\"GGUf\""),
        (*b"GGML", "\"GGML\""),
        (*b"ggjt", "\"ggjt\""),
        (*b"PK\x03\x04", "\"PK\\x03\\x04\""),
        (*b"\0\0\0\0", "\"\\x00\\x00\\x00\\x00\""),
        (*b"\x93NUM", "\"\\x93NUM\""),
        (*b"\n\"{}", "\"\\n\\\"{}\""),
    ] {
        let bytes = File {
            magic,
            ..File::good()
        };
        cases.add(3, found, bytes.bytes(), foreign(found));
    }
    cases.add(4, "magic only", b"GGUF".to_vec(), ends_at(4));

    let version = |version| {
        File {
            version,
            ..File::good()
        }
        .bytes()
    };
    let swapped = File {
        magic: *b"FUGG",
        ..File::good()
    };
    cases.add(5, "swapped magic", swapped.bytes(), foreign("\"FUGG\""));
    for number in [2_u32, 3] {
        let what = format!("swapped version {number}");
        cases.add(5, what, version(number.swap_bytes()), Error::BigEndian);
    }
    cases.add(6, "version 0", version(0), Error::Version(0));
    cases.add(7, "version 1", version(1), Error::Version(1));
    // 32-bit counts and an empty string, which wrapped a length in a reader of this version.
    let empty_string = [
        b"GGUF\x01\0\0\0".as_slice(),
        &[1, 0, 0, 0, 1, 0, 0, 0],
        &[0; 8],
    ];
    let what = "version 1 with an empty string";
    cases.add(7, what, empty_string.concat(), Error::Version(1));
    for number in [4, 5, 0x0003_0003, u32::MAX] {
        let what = format!("version {number}");
        cases.add(8, what, version(number), Error::Version(number));
    }

    let limit = 65_536;
    for count in [limit + 1, 1 << 32, 1 << 63, u64::MAX] {
        let many = |what| Error::TooMany { what, count, limit };
        let file = File {
            tensor_count: Some(count),
            ..File::good()
        };
        let what = format!("{count} tensors");
        cases.add(9, what, file.bytes(), many("tensors"));
        let file = File {
            key_count: Some(count),
            ..File::good()
        };
        let what = format!("{count} keys");
        cases.add(10, what, file.bytes(), many("metadata keys"));
    }
    for data in [0, 1, 96] {
        let file = File {
            tensors: vec![],
            data,
            ..File::good()
        };
        let what = format!("no tensors, {data} bytes of data");
        cases.add(11, what, file.bytes(), Error::NoTensors);
    }
    // 232 bytes follow the counts; a key takes 13 at least, a tensor 32.
    for (keys, tensors) in [
        (13, 2),
        (65_536, 2),
        (1, 7),
        (1, 65_536),
        (65_536, 65_536),
        (18, 0),
        (0, 8),
    ] {
        let file = File {
            key_count: Some(keys),
            tensor_count: Some(tensors),
            ..File::good()
        };
        let expected = Error::CountsBeyondFile { keys, tensors };
        let what = format!("{keys} keys and {tensors} tensors in 232 bytes");
        cases.add(12, what, file.bytes(), expected);
    }
    cases
}
