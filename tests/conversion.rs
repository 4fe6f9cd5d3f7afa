//! Tensors of every type and shape through the cache: the layouts, the values, the count of those that
//! are not finite.

use std::fs;

use woolly::compute::Isa;
use woolly::config::ModelSource;
use woolly::tensor::Layout;
use woolly::weights::dequant::TensorType;
use woolly::weights::{self, Loaded, Tensor};

use crate::support::gguf_file::{File, tensor};

/// Name, dimensions, type and bytes of a tensor.
type Stored = (&'static str, Vec<u64>, TensorType, Vec<u8>);

/// A model file of these tensors, in a directory with a cache.
struct Model(tempfile::TempDir);

impl Model {
    fn new(tensors: &[Stored]) -> Self {
        let mut file = File::with_tensors(vec![]);
        let mut data = vec![];
        for (name, dimensions, kind, bytes) in tensors {
            let offset = data.len() as u64;
            let info = tensor(name.as_bytes(), dimensions, *kind as u32, offset);
            file.tensors.push(info);
            data.extend(bytes);
            data.resize(data.len().next_multiple_of(file.alignment), 0);
        }
        file.data = 0;
        let model = Model(tempfile::tempdir().unwrap());
        let path = model.0.path().join("model.gguf");
        fs::write(path, [file.bytes(), data].concat()).unwrap();
        model
    }

    fn open(&self) -> Result<Loaded, weights::Error> {
        let source = ModelSource::Gguf(self.0.path().join("model.gguf"));
        weights::open(&source, &self.0.path().join("cache"), &())
    }
}

/// Bytes that look random and are the same in each run.
fn bytes(count: usize) -> Vec<u8> {
    let mut state = count as u64;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 56) as u8
    };
    (0..count).map(|_| next()).collect()
}

fn bits(values: &[f32]) -> Vec<u32> {
    // The payload of a NaN may differ.
    let bits = |value: &f32| match value.is_nan() {
        true => f32::NAN.to_bits(),
        false => value.to_bits(),
    };
    values.iter().map(bits).collect()
}

/// The tensor's rows, out of whatever layout.
fn rows_of(tensor: &Tensor, rows: usize, cols: usize) -> Vec<f32> {
    if tensor.spec().layout != Layout::Panels {
        return tensor.f32().to_vec();
    }
    let at = |row: usize, k: usize| tensor.f32()[(row / 16 * cols + k) * 16 + row % 16];
    let padding = rows..rows.next_multiple_of(16);
    assert!(
        padding
            .flat_map(|row| (0..cols).map(move |k| (row, k)))
            .all(|(row, k)| at(row, k).to_bits() == 0)
    );
    (0..rows)
        .flat_map(|row| (0..cols).map(move |k| at(row, k)))
        .collect()
}

#[test]
fn every_type_is_converted_to_panels_rows_and_vectors() {
    for kind in TensorType::all() {
        // Not whole panels and, where blocks allow it, not whole pieces of a row.
        let (rows, cols) = (37, if kind.block_values() == 256 { 768 } else { 640 });
        let size = cols / kind.block_values() * kind.block_bytes();
        let cols_u64 = cols as u64;
        let tensors = [
            (
                "token_embd.weight",
                vec![cols_u64, rows as u64],
                kind,
                bytes(rows * size),
            ),
            (
                "output.weight",
                vec![cols_u64, rows as u64],
                kind,
                bytes(rows * size),
            ),
            ("output_norm.weight", vec![cols_u64], kind, bytes(size)),
        ];
        let loaded = Model::new(&tensors).open().unwrap();
        let mut layouts = vec![];
        let mut non_finite = vec![];
        for (name, dimensions, _, blocks) in &tensors {
            let rows = dimensions.get(1).map_or(1, |&rows| rows as usize);
            let mut expected = vec![0.0; rows * cols];
            kind.dequantize_on(Isa::Portable, blocks, &mut expected);
            let tensor = loaded.store.get(name).unwrap();
            let found = rows_of(&tensor, rows, cols);
            assert!(bits(&found) == bits(&expected), "{name} as {}", kind.name());
            layouts.push(tensor.spec().layout);
            let count = expected.iter().filter(|value| !value.is_finite()).count();
            if count > 0 {
                non_finite.push(((*name).to_owned(), count as u64));
            }
        }
        assert_eq!(layouts, [Layout::Rows, Layout::Panels, Layout::Vector]);
        assert_eq!(loaded.report.non_finite, non_finite, "{}", kind.name());
    }
}

#[test]
fn values_that_are_not_finite_are_counted_once() {
    let values = |special: &[(usize, f32)]| {
        let mut values = vec![f32::MAX; 17 * 300];
        special.iter().for_each(|&(at, value)| values[at] = value);
        values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect::<Vec<u8>>()
    };
    let special = [
        (0, f32::NAN),
        (299, f32::INFINITY),
        (300, f32::NEG_INFINITY),
        (17 * 300 - 1, -f32::NAN),
    ];
    let shape = vec![300, 17];
    let model = Model::new(&[
        ("a.weight", shape.clone(), TensorType::F32, values(&special)),
        ("b.weight", shape.clone(), TensorType::F32, values(&[])),
        (
            "c.weight",
            vec![17 * 300],
            TensorType::F32,
            values(&special[1..]),
        ),
    ]);
    let expected = [("a.weight".to_owned(), 4), ("c.weight".to_owned(), 3)];
    assert_eq!(model.open().unwrap().report.non_finite, expected);
    // The values are not read again when the cache has them.
    let again = model.open().unwrap();
    assert!(again.report.from_cache);
    assert_eq!(again.report.non_finite, []);
}

#[test]
fn dimensions_of_one_beyond_the_second_do_not_count() {
    let values = bytes(3 * 5 * 2);
    let file = |dimensions: &[u64]| {
        Model::new(&[(
            "a.weight",
            dimensions.to_vec(),
            TensorType::F16,
            values.clone(),
        )])
    };
    for dimensions in [&[3, 5][..], &[3, 5, 1], &[3, 5, 1, 1]] {
        let loaded = file(dimensions).open().unwrap();
        let spec = loaded.store.get("a.weight").unwrap().spec().clone();
        assert_eq!((spec.layout, spec.rows, spec.cols), (Layout::Panels, 5, 3));
    }
    let loaded = file(&[15, 1, 1]).open().unwrap();
    let spec = loaded.store.get("a.weight").unwrap().spec().clone();
    assert_eq!((spec.layout, spec.rows, spec.cols), (Layout::Panels, 1, 15));
    for dimensions in [&[1, 3, 5][..], &[3, 1, 5], &[1, 3, 1, 5]] {
        let error = file(dimensions).open().err().expect("refused").to_string();
        let count = dimensions.len();
        let sentence = format!("tensor a.weight has {count} dimensions; 1 or 2 are supported");
        assert!(error.ends_with(&sentence), "{error}");
    }
}
