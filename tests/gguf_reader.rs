//! GGUF headers: what a good file says, and that no bytes make the reader panic. What each kind of damage
//! gets is in `gguf_malformed`.

use proptest::prelude::*;
use woolly::weights::dequant::TensorType;
use woolly::weights::gguf::{Header, Value};

use crate::support::gguf_file::{ARRAY, BOOL, File, STRING, U32, tensor};
use crate::support::meter::peak_of;

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
fn tensors_may_lie_at_another_alignment() {
    let mut file = File::with_key(b"general.alignment", U32, &64u32.to_le_bytes());
    file.alignment = 64;
    file.tensors[1] = tensor(b"b.weight", &[3, 5], 0, 64);
    file.data = 64 + 60;
    let header = Header::read(&file.bytes()).unwrap();
    assert_eq!(header.tensors[1].bytes.len(), 60);
    let values: Vec<Value> = header
        .metadata
        .iter()
        .map(|(_, value)| value.clone())
        .collect();
    assert_eq!(values, [Value::String("llama".into()), Value::U32(64)]);
}

/// A flat array is as wide in memory as in the file.
#[test]
fn what_is_read_stays_within_four_times_its_size() {
    for (kind, width) in [(0, 1), (2, 2), (4, 4), (10, 8), (BOOL, 1), (STRING, 8)] {
        let count = 1_000_000u64;
        let mut value = u32::to_le_bytes(kind).to_vec();
        value.extend(count.to_le_bytes());
        value.resize(value.len() + width * count as usize, 0);
        let bytes = File::with_key(b"x", ARRAY, &value).bytes();
        let (header, peak) = peak_of(|| Header::read(&bytes).unwrap());
        assert!(header.metadata.get("x").is_some());
        assert!(peak <= 3 * value.len() + (64 << 10), "type {kind}: {peak}");
    }
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
