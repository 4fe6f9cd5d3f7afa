//! A GGUF file up to the decision whether it can be served; what is accepted lies in the file.
#![no_main]

use libfuzzer_sys::fuzz_target;
use woolly::model;
use woolly::weights::Shape;
use woolly::weights::gguf::Header;

fuzz_target!(|bytes: &[u8]| {
    let Ok(header) = Header::read(bytes) else {
        return;
    };
    let mut end = 0;
    for info in &header.tensors {
        assert!(info.bytes.start >= end && info.bytes.end <= bytes.len());
        end = info.bytes.end;
    }
    let shapes: Vec<Shape> = header
        .tensors
        .iter()
        .map(|info| Shape::new(&info.name, &info.dimensions))
        .collect();
    let _ = model::accept(&header.metadata, &shapes);
});
