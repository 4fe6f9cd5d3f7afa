//! The header of a safetensors file of a model folder.
#![no_main]

use libfuzzer_sys::fuzz_target;
use woolly::weights::folder;

fuzz_target!(|bytes: &[u8]| {
    let _ = folder::inspect(bytes);
    // The same with a length that fits, which a fuzzer seldom finds.
    let length = (bytes.len() as u64).to_le_bytes();
    let _ = folder::inspect(&[&length, bytes, &[0; 64]].concat());
});
