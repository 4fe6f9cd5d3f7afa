//! A vocabulary and merges from a stranger, then a text from another one. The bytes are lines: the first is
//! the text, then come tokens, with a digit for their type before them, and merges behind a `=`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use woolly::text::Tokenizer;
use woolly::weights::Metadata;
use woolly::weights::gguf::Value;
use woolly_fuzz::vocabulary;

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    let mut lines = text.split('\n');
    let prompt = lines.next().unwrap_or_default();
    let (mut tokens, mut types, mut merges) = (vec![], vec![], vec![]);
    for line in lines {
        match (line.strip_prefix('='), line.chars().next()) {
            (Some(merge), _) => merges.push(merge.to_owned()),
            (None, Some(kind)) => {
                tokens.push(line[kind.len_utf8()..].to_owned());
                types.push(kind.to_digit(10).map_or(1, |digit| digit as i32));
            }
            (None, None) => tokens.push(String::new()),
        }
    }
    types.resize(tokens.len(), 1);
    let mut pairs = vocabulary(&tokens, &types, merges);
    pairs.push((
        "tokenizer.ggml.bos_token_id".to_owned(),
        Value::U32(bytes.len() as u32),
    ));
    let metadata = Metadata::from_pairs(pairs);
    let early = Tokenizer::check(&metadata);
    let Ok(tokenizer) = Tokenizer::from_metadata(&metadata) else {
        return;
    };
    assert!(early.is_ok(), "what can be built passes the check before");
    for special in [false, true] {
        if let Ok(ids) = tokenizer.encode(prompt, special, special) {
            assert!(ids.iter().all(|&id| (id as usize) < tokenizer.vocab_size()));
            let _ = tokenizer.decode(&ids, special);
        }
    }
});
