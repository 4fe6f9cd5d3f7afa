//! GGUF files whose tensors are not quantized, from the file to the mapped values.

use std::fs;

use woolly::config::ModelSource;
use woolly::tensor::{Layout, PANEL_ROWS};
use woolly::weights;

use crate::support::gguf_file::{File, tensor};

const ROWS: usize = 20;
const COLS: usize = 24;

/// A matrix and a vector of this type, with every kind of number in them; how their values should read.
#[track_caller]
fn check(kind: u32, width: usize, widen: fn(&[u8]) -> f32) {
    let matrix = (ROWS * COLS * width).next_multiple_of(32);
    let file = File {
        tensors: vec![
            tensor(b"matrix.weight", &[COLS as u64, ROWS as u64], kind, 0),
            tensor(b"vector.weight", &[COLS as u64], kind, matrix as u64),
        ],
        data: matrix + (COLS * width).next_multiple_of(32),
        ..File::good()
    };
    let mut bytes = file.bytes();
    let start = bytes.len() - file.data;
    // Steps through all of a 16-bit type's exponents and signs: subnormal, infinite, NaN.
    let mut state = 1_u32;
    for byte in &mut bytes[start..] {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        *byte = (state >> 24) as u8;
    }
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("native.gguf");
    fs::write(&path, &bytes).unwrap();
    let loaded = weights::open(&ModelSource::at(path), &root.path().join("cache"), &()).unwrap();

    let equal = |found: f32, at: usize| {
        let expected = widen(&bytes[at..at + width]);
        let same = found.to_bits() == expected.to_bits() || (found.is_nan() && expected.is_nan());
        assert!(same, "{found} for {expected}");
    };
    let panels = loaded
        .store
        .expect("matrix.weight", Layout::Panels, ROWS, COLS)
        .unwrap();
    for row in 0..ROWS {
        for k in 0..COLS {
            let place = (row / PANEL_ROWS * COLS + k) * PANEL_ROWS + row % PANEL_ROWS;
            equal(panels.f32()[place], start + (row * COLS + k) * width);
        }
    }
    let padding = &panels.f32()[COLS * PANEL_ROWS..];
    let padding = padding
        .chunks(PANEL_ROWS)
        .flat_map(|line| &line[ROWS % PANEL_ROWS..]);
    assert!(padding.copied().all(|value| value.to_bits() == 0));
    let vector = loaded
        .store
        .expect("vector.weight", Layout::Vector, 1, COLS)
        .unwrap();
    for (k, value) in vector.f32().iter().enumerate() {
        equal(*value, start + matrix + k * width);
    }
}

#[test]
fn f32_is_kept() {
    check(0, 4, |bytes| f32::from_le_bytes(bytes.try_into().unwrap()));
}

#[test]
fn f16_is_widened() {
    check(1, 2, |bytes| {
        half::f16::from_le_bytes(bytes.try_into().unwrap()).to_f32()
    });
}

#[test]
fn bf16_is_widened() {
    check(30, 2, |bytes| {
        half::bf16::from_le_bytes(bytes.try_into().unwrap()).to_f32()
    });
}
