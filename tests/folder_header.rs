//! Safetensors headers of others: every kind of damage has its error, and no bytes make the reader panic.

use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use woolly::config::ModelSource;
use woolly::weights;
use woolly::weights::folder::{Error, HeaderError as H};

use crate::support::folder::{Folder, with_header};

/// What is said of these bytes as `model.safetensors`; `None` when the header itself is fine.
fn found(folder: &Folder, bytes: &[u8]) -> Option<H> {
    folder.write("model.safetensors", bytes);
    let source = ModelSource::Safetensors(folder.path());
    match weights::describe(&source) {
        Err(weights::Error::Folder {
            source: Error::Header { file, source },
            ..
        }) => {
            assert_eq!(file, "model.safetensors");
            Some(source)
        }
        _ => None,
    }
}

/// A header of one tensor after another: (name, type, shape, begin, end).
fn header(tensors: &[(&str, &str, &str, usize, usize)]) -> String {
    let tensors = tensors.iter().map(|(name, kind, shape, start, end)| {
        format!(r#""{name}":{{"dtype":"{kind}","shape":{shape},"data_offsets":[{start},{end}]}}"#)
    });
    format!("{{{}}}", tensors.collect::<Vec<_>>().join(","))
}

#[test]
fn every_kind_of_damage_has_its_error() {
    let folder = Folder::tiny();
    let error = |bytes: &[u8]| found(&folder, bytes).unwrap();
    let of = |tensors: &[_], data: usize| error(&with_header(&header(tensors), &vec![0; data]));
    let good = [("a", "F32", "[2]", 0, 8), ("b", "F16", "[3]", 8, 14)];
    assert_eq!(found(&folder, &with_header(&header(&good), &[0; 14])), None);
    // The order of the members is free, and the header may end in spaces.
    let swapped = header(&[good[1], good[0]]) + "   ";
    assert_eq!(found(&folder, &with_header(&swapped, &[0; 14])), None);

    for length in 1..8 {
        assert_eq!(error(&vec![7; length]), H::TooShort);
    }
    let limit = 100_000_000;
    for length in [u64::MAX, 1 << 63, limit + 1] {
        assert_eq!(error(&length.to_le_bytes()), H::Length { length, limit });
    }
    let beyond = H::HeaderBeyondFile { end: 108, size: 9 };
    assert_eq!(error(&[&100_u64.to_le_bytes()[..], b"{"].concat()), beyond);
    for text in ["", " {}", "[]", "PK"] {
        assert_eq!(error(&with_header(text, b"")), H::NotSafetensors, "{text}");
    }
    assert_eq!(error(&with_header("{}", b"")), H::NoTensors);
    for text in [
        "{",
        "{}{}",
        r#"{"a":1}"#,
        r#"{"a":{"dtype":"F33","shape":[],"data_offsets":[0,4]}}"#,
        r#"{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}"#,
        r#"{"a":{"dtype":"F32","shape":[1.5],"data_offsets":[0,4]}}"#,
        r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0]}}"#,
        r#"{"a":{"dtype":"F32","shape":[1]}}"#,
        r#"{"__metadata__":{"a":1}}"#,
        "{\"\u{0}\":1}",
    ] {
        let error = error(&with_header(text, &[0; 4]));
        assert!(matches!(error, H::Json(_)), "{text}: {error}");
    }
    let nested = format!("{{\"a\":{}", "[".repeat(100_000));
    assert!(matches!(error(&with_header(&nested, b"")), H::Json(_)));
    assert_eq!(of(&[good[0], good[0]], 8), H::DuplicateName("a".into()));
    let metadata = r#"{"__metadata__":{"k":"1","k":"2"}}"#;
    assert_eq!(
        error(&with_header(metadata, b"")),
        H::DuplicateName("k".into())
    );
    let long = "n".repeat(257);
    assert_eq!(of(&[(&long, "F32", "[1]", 0, 4)], 4), H::NameLength(257));
    assert_eq!(of(&[("", "F32", "[1]", 0, 4)], 4), H::NameLength(0));
    assert_eq!(of(&[("a\\n", "F32", "[1]", 0, 4)], 4), H::ControlCharacter);

    let size = || H::Size("a".into());
    assert_eq!(of(&[("a", "F32", "[2]", 0, 4)], 4), size());
    assert_eq!(of(&[("a", "F16", "[2]", 0, 8)], 8), size());
    assert_eq!(of(&[("a", "F32", "[1]", 0, 0)], 0), size());
    assert_eq!(
        of(&[("a", "F32", "[4294967296,4294967296]", 0, 0)], 0),
        size()
    );
    assert_eq!(
        of(&[("a", "F32", "[4611686018427387904]", 0, 0)], 0),
        size()
    );
    let place = |name: &str, found, expected| H::NotContiguous {
        name: name.into(),
        found,
        expected,
    };
    assert_eq!(of(&[("a", "F32", "[1]", 4, 8)], 8), place("a", 4, 0));
    assert_eq!(
        of(&[good[0], ("b", "F16", "[3]", 9, 15)], 15),
        place("b", 9, 8)
    );
    assert_eq!(
        of(&[good[0], ("b", "F16", "[3]", 7, 13)], 14),
        place("b", 7, 8)
    );
    assert_eq!(of(&[("a", "F32", "[1]", 8, 4)], 8), place("a", 8, 0));
    let end = 8 + header(&good).len() as u64;
    for data in [0, 8, 13] {
        let (end, size) = if data < 8 {
            (end + 8, end)
        } else {
            (end + 14, end + data)
        };
        assert_eq!(of(&good, data as usize), H::TensorsBeyondFile { end, size });
    }
    assert_eq!(of(&good, 15), H::TrailingBytes { extra: 1 });
    assert!(
        of(&[("a", "U8", "[1000000000000]", 0, 1_000_000_000_000)], 4)
            .to_string()
            .contains("truncated")
    );
}

#[test]
fn every_truncation_of_a_file_is_found() {
    let folder = Folder::tiny();
    let good = with_header(
        &header(&[("a", "F32", "[2]", 0, 8), ("b", "F16", "[3]", 8, 14)]),
        &[0; 14],
    );
    for length in 1..good.len() {
        assert!(found(&folder, &good[..length]).is_some(), "{length}");
    }
}

#[test]
fn no_bytes_make_it_panic() {
    let folder = Folder::tiny();
    let text = header(&[("a", "F32", "[2]", 0, 8), ("b", "F16", "[3]", 8, 14)]);
    let good = with_header(&text, &[0; 14]);
    let flip = (any::<prop::sample::Index>(), 0..8_u32);
    let mut runner = TestRunner::new(ProptestConfig::with_cases(1_000));
    runner
        .run(&(any::<Vec<u8>>(), flip), |(header, (at, bit))| {
            let length = (header.len() as u64).to_le_bytes();
            found(&folder, &[&length, header.as_slice()].concat());
            let mut bytes = good.clone();
            bytes[at.index(good.len())] ^= 1_u8 << bit;
            found(&folder, &bytes);
            Ok(())
        })
        .unwrap();
}
