//! Every number of every architecture, made extreme: the file is refused with a sentence, or runs.

use std::path::Path;
use std::sync::Arc;

use woolly::compute::Isa;
use woolly::config::ModelSource;
use woolly::model::{self, BatchToken, BlockTable, Model, PerReach, Runner};
use woolly::tensor::Element;
use woolly::weights::gguf::{Header, TensorInfo, Value};
use woolly::weights::{self, Shape, describe};

use crate::support::models::{every_tiny_model, fixture};

/// Where the value of `key` stands in a file, behind its name and type.
fn place(file: &[u8], key: &str) -> usize {
    let name = [&(key.len() as u64).to_le_bytes()[..], key.as_bytes()].concat();
    let start = file.windows(name.len()).position(|bytes| bytes == name);
    start.unwrap() + name.len() + 4
}

/// Extreme values of the same type and size.
fn extremes(value: &Value) -> Vec<Vec<u8>> {
    match value {
        Value::U32(own) => [0, 1, 2, 3, 7, own / 2, own * 2, own + 1, 1 << 20, u32::MAX]
            .map(|number| number.to_le_bytes().to_vec())
            .into(),
        Value::F32(own) => [0.0, -1.0, own * 1e30, 1e-40, f32::NAN, f32::INFINITY]
            .map(|number: f32| number.to_le_bytes().to_vec())
            .into(),
        Value::Bool(own) => vec![vec![u8::from(!own)], vec![2]],
        _ => vec![],
    }
}

/// Three tokens through the model of a file; whether it was accepted.
fn runs(file: &[u8]) -> bool {
    let Ok(header) = Header::read(file) else {
        return false;
    };
    let shape = |info: &TensorInfo| Shape::new(&info.name, &info.dimensions);
    let shapes: Vec<Shape> = header.tensors.iter().map(shape).collect();
    if model::accept(&header.metadata, &shapes).is_err() {
        return false;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mutant.gguf");
    std::fs::write(&path, file).unwrap();
    let nowhere = Path::new("/nonexistent");
    let loaded = weights::open(&ModelSource::Gguf(path), nowhere, &()).unwrap();
    let model = Model::bind(&loaded.store, &loaded.metadata, Some(64), Element::F32);
    let model = model.expect("what is accepted can be bound");
    let vocab = model.vocab();
    let blocks = PerReach { all: 1, window: 1 };
    let mut runner = Runner::new(Arc::new(model), Isa::best(), 0, 1, blocks, 3).unwrap();
    let mut table = BlockTable::default();
    assert!(runner.kv().grow_both(&mut table, 3));
    let batch: Vec<BatchToken> = (0..3)
        .map(|position| BatchToken {
            id: 5 + position as u32,
            position,
            table: 0,
            logits: position == 2,
        })
        .collect();
    assert_eq!(runner.forward(&[&table], &batch).len(), vocab);
    true
}

#[test]
fn every_number_of_every_architecture_may_be_extreme() {
    let (mut accepted, mut refused) = (0, 0);
    for name in every_tiny_model() {
        let path = fixture(&format!("{name}.gguf"));
        let file = std::fs::read(&path).unwrap();
        let metadata = describe(&ModelSource::Gguf(path))
            .unwrap()
            .unwrap()
            .metadata;
        let architecture = metadata.string("general.architecture").unwrap().unwrap();
        for (key, value) in metadata.iter() {
            if !key.starts_with(&format!("{architecture}.")) {
                continue;
            }
            let at = place(&file, key);
            for extreme in extremes(value) {
                let mut mutant = file.clone();
                mutant[at..at + extreme.len()].copy_from_slice(&extreme);
                match runs(&mutant) {
                    true => accepted += 1,
                    false => refused += 1,
                }
            }
        }
    }
    println!("{accepted} accepted, {refused} refused");
    assert!(accepted > 200 && refused > 800, "{accepted} {refused}");
}
