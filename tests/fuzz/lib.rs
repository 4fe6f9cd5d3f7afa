//! Fuzz targets: each is one function from bytes to nothing, and no bytes may make it panic.
//!
//! With cargo-fuzz and a nightly compiler, from the top of the repository:
//!
//! ```sh
//! cargo +nightly fuzz run --fuzz-dir tests/fuzz gguf_header -- -max_total_time=60 -rss_limit_mb=512
//! ```
//!
//! The targets are `gguf_header`, `safetensors_header`, `cache_header`, `tokenizer` and `chat_template`. A
//! finding is written to `tests/fuzz/artifacts`; run the target with the file's name to see it again, and
//! make a test of it. Coverage of a corpus: `cargo +nightly fuzz coverage --fuzz-dir tests/fuzz <target>`.

use woolly::weights::Metadata;
use woolly::weights::gguf::Value;

/// A vocabulary of the 256 bytes and what `more` adds, as metadata of a gpt2 tokenizer.
pub fn vocabulary(more: &[String], types: &[i32], merges: Vec<String>) -> Vec<(String, Value)> {
    let mut others = 0x100..;
    let mut tokens: Vec<String> = (0..=255_u8)
        .map(|byte| {
            let code = match byte {
                b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF => u32::from(byte),
                _ => others.next().expect("endless"),
            };
            char::from_u32(code).expect("below the surrogates").to_string()
        })
        .collect();
    let mut kinds = vec![1; tokens.len()];
    tokens.extend(more.iter().cloned());
    kinds.extend(more.iter().zip(types.iter().chain(std::iter::repeat(&1))).map(|(_, kind)| *kind));
    let key = |name: &str| format!("tokenizer.ggml.{name}");
    vec![
        (key("model"), Value::String("gpt2".to_owned())),
        (key("pre"), Value::String("gpt-2".to_owned())),
        (key("tokens"), Value::Strings(tokens)),
        (key("token_type"), Value::I32s(kinds)),
        (key("merges"), Value::Strings(merges)),
    ]
}

/// The metadata of a tokenizer with one control token.
pub fn plain() -> Metadata {
    let mut pairs = vocabulary(&["</s>".to_owned()], &[3], vec![]);
    pairs.push(("tokenizer.ggml.eos_token_id".to_owned(), Value::U32(256)));
    Metadata::from_pairs(pairs)
}

/// A cache file's header whose JSON goes on with `members` behind its checksum; length and checksum are
/// right.
pub fn sealed(members: &[u8]) -> Vec<u8> {
    let opening = br#"{"__metadata__":{"woolly.header_xxh3":""#;
    let json = [opening.as_slice(), &[b'0'; 32], b"\"", members].concat();
    let length = (8 + json.len()).next_multiple_of(4096) - 8;
    let mut bytes = (length as u64).to_le_bytes().to_vec();
    bytes.extend(&json);
    bytes.resize(8 + length, b' ');
    let checksum = format!("{:032x}", xxhash_rust::xxh3::xxh3_128(&bytes));
    let digits = 8 + opening.len();
    bytes[digits..digits + 32].copy_from_slice(checksum.as_bytes());
    bytes
}
