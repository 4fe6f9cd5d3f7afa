//! F: classes 60 to 68, where the data of tensors lie.

use woolly::weights::dequant::TensorType;
use woolly::weights::gguf::{Error, Header};

use super::{Cases, Outcome};
use crate::support::gguf_file::{File, U32, tensor};
use crate::support::tiny_llama::TinyLlama;

/// A file of two F32 tensors, `a` of 32 bytes and `b` of 60, at these offsets.
fn at(a: u64, b: u64) -> File {
    File::with_tensors(vec![tensor(b"a", &[8], 0, a), tensor(b"b", &[3, 5], 0, b)])
}

pub(super) fn cases() -> Cases {
    let mut cases = Cases::default();
    offsets(&mut cases);
    ends(&mut cases);
    cases
}

fn offsets(cases: &mut Cases) {
    let unaligned = |name: &str, offset| Error::UnalignedOffset {
        name: name.to_owned(),
        offset,
        alignment: 32,
    };
    let elsewhere = |name: &str, offset, expected| Error::NotContiguous {
        name: name.to_owned(),
        offset,
        expected,
    };
    for offset in [1, 8, 31] {
        let what = format!("first at {offset}");
        cases.add(60, what, at(offset, 32).bytes(), unaligned("a", offset));
    }
    for offset in [31, 33, 36, u64::MAX] {
        let what = format!("second at {offset}");
        cases.add(60, what, at(0, offset).bytes(), unaligned("b", offset));
    }
    for offset in [256, 1 << 40, 1 << 63, u64::MAX - 31] {
        let what = format!("second at {offset}");
        cases.add(61, what, at(0, offset).bytes(), elsewhere("b", offset, 32));
    }
    for offset in [256, u64::MAX - 31] {
        let what = format!("first at {offset}");
        cases.add(61, what, at(offset, 32).bytes(), elsewhere("a", offset, 0));
    }
    for missing in [1, 2, 59] {
        let mut bytes = at(0, 32).bytes();
        let end = bytes.len() as u64 - 4;
        bytes.truncate((end - missing) as usize);
        let expected = Error::TensorBeyondFile {
            name: "b".to_owned(),
            end,
            size: end - missing,
        };
        cases.add(62, format!("{missing} missing"), bytes, expected);
    }
    // Without alignment, tensors may begin anywhere.
    for offset in [31, 30, 1] {
        let mut file = at(0, offset);
        let alignment = File::with_key(b"general.alignment", U32, &[1, 0, 0, 0]);
        file.keys = alignment.keys;
        file.alignment = 1;
        let expected = elsewhere("b", offset, 32);
        cases.add(63, format!("second at {offset}"), file.bytes(), expected);
    }
    cases.add(64, "both at 0", at(0, 0).bytes(), elsewhere("b", 0, 32));
    let same = TinyLlama::new(TensorType::Q4_0);
    // 18 bytes for 32 values, padded.
    let second = (261 * 256 / 32 * 18_u64).next_multiple_of(32);
    let mut all = same.clone();
    all.tensors
        .iter_mut()
        .for_each(|tensor| tensor.offset = Some(0));
    let expected = elsewhere("blk.0.attn_norm.weight", 0, second);
    cases.add(64, "all 21 at 0", all.bytes(), expected);
    for offset in [64, 96] {
        let what = format!("second at {offset}");
        cases.add(65, what, at(0, offset).bytes(), elsewhere("b", offset, 32));
    }
    cases.add(66, "descending", at(64, 0).bytes(), elsewhere("a", 64, 0));
    let mut swapped = same;
    swapped.tensors[1].offset = Some(second + 1024);
    let expected = elsewhere("blk.0.attn_norm.weight", second + 1024, second);
    cases.add(66, "one behind its neighbour", swapped.bytes(), expected);
}

fn ends(cases: &mut Cases) {
    let good = TinyLlama::new(TensorType::Q2K).bytes();
    let tensors = Header::read(&good).unwrap().tensors;
    let last = tensors.last().unwrap().bytes.end;
    let padded = last.next_multiple_of(32);
    assert!(last < padded && padded == good.len());
    for info in &tensors {
        for size in [info.bytes.end - 1, info.bytes.end, info.bytes.end + 1] {
            let mut bytes = good.clone();
            bytes.resize(size, 0);
            let cut = tensors.iter().find(|info| info.bytes.end > size);
            let expected = match cut {
                Some(info) => Outcome::from(Error::TensorBeyondFile {
                    name: info.name.clone(),
                    end: info.bytes.end as u64,
                    size: size as u64,
                }),
                // Padding may be there in part.
                None => Outcome::Served,
            };
            cases.add(
                67,
                format!("{size} of {} bytes", good.len()),
                bytes,
                expected,
            );
        }
    }
    for extra in [1, 31, 32, 4096] {
        let mut bytes = good.clone();
        bytes.resize(good.len() + extra, 0);
        let expected = Error::TrailingBytes {
            extra: extra as u64,
        };
        cases.add(68, format!("{extra} zeros"), bytes, expected);
    }
    for (what, tail) in [
        ("another file", good.as_slice()),
        ("an archive", b"PK\x03\x04zip"),
    ] {
        let bytes = [good.as_slice(), tail].concat();
        let expected = Error::TrailingBytes {
            extra: tail.len() as u64,
        };
        cases.add(68, what, bytes, expected);
    }
}
