//! A chat template from a stranger; the first line is what a user says.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use woolly::text::{ChatTemplate, Message, Tokenizer};
use woolly::weights::Metadata;
use woolly::weights::gguf::Value;
use woolly_fuzz::plain;

static TOKENIZER: LazyLock<Tokenizer> =
    LazyLock::new(|| Tokenizer::from_metadata(&plain()).expect("a good vocabulary"));

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    let (content, source) = text.split_once('\n').unwrap_or(("", &text));
    let pairs = vec![(
        "tokenizer.chat_template".to_owned(),
        Value::String(source.to_owned()),
    )];
    let Ok(template) = ChatTemplate::new(&Metadata::from_pairs(pairs), None) else {
        return;
    };
    let message = Message {
        role: "user".to_owned(),
        content: content.to_owned(),
    };
    let _ = template.encode(&TOKENIZER, &[message]);
});
