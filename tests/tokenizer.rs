//! Token ids equal llama.cpp's, and no text makes the tokenizer panic.

use proptest::prelude::*;
use woolly::config::ModelSource;
use woolly::text::{MAX_TEXT_BYTES, Tokenizer};
use woolly::weights::gguf::Value;
use woolly::weights::{Metadata, describe};

use crate::support::models::{fixture, reference};
use crate::support::published::{GEMMA, QWEN, SMOLLM2};
use crate::support::vocabularies::{
    Reference, TINY_NAMES, bytes, bytes_metadata, references, set, tiny, tiny_pairs,
    tiny_references,
};

fn assert_reference(tokenizer: &Tokenizer, items: &[Reference]) {
    for item in items {
        assert_eq!(
            tokenizer.encode(&item.text, false, false).unwrap(),
            item.plain,
            "{:?}",
            item.text
        );
        assert_eq!(
            tokenizer.encode(&item.text, true, true).unwrap(),
            item.special,
            "{:?}",
            item.text
        );
        assert_eq!(tokenizer.decode(&item.plain, false), item.text);
    }
}

#[test]
fn tiny_vocabularies_give_the_reference_ids() {
    for name in TINY_NAMES {
        assert_reference(&tiny(name), &tiny_references(name));
    }
}

#[test]
fn smollm2_gives_the_reference_ids() {
    let Some(metadata) = SMOLLM2.metadata() else {
        return;
    };
    let tokenizer = Tokenizer::from_metadata(&metadata).unwrap();
    let items: serde_json::Value =
        serde_json::from_str(include_str!("fixtures/smollm2_text.json")).unwrap();
    assert_reference(&tokenizer, &references(&items["tokenize"]));
    assert_eq!(tokenizer.end_tokens(), [0, 2, 4]);
    assert_eq!((tokenizer.bos(), tokenizer.eos()), (Some(1), Some(2)));
    assert_eq!(tokenizer.vocab_size(), 49152);
}

#[test]
fn gemma_and_qwen_give_the_reference_ids() {
    for (model, name) in [(GEMMA, "gemma3-270m"), (QWEN, "qwen2.5-coder")] {
        let Some(metadata) = model.metadata() else {
            continue;
        };
        let tokenizer = Tokenizer::from_metadata(&metadata).unwrap();
        let items = reference(&format!("{name}.reference.json"));
        assert_reference(&tokenizer, &references(&items["tokenize"]));
    }
}

/// 2,000 random strings and the ids that llama.cpp gives them (`tests/python/tokenizer_ids.py`), or those of the file
/// that `WOOLLY_TOKENIZER_IDS` names.
#[test]
fn real_vocabularies_give_the_ids_of_llama_cpp() {
    let file = std::env::var_os("WOOLLY_TOKENIZER_IDS");
    let file = file.map_or_else(|| fixture("tokenizer_ids.json"), Into::into);
    let items: serde_json::Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let strings: Vec<String> = serde_json::from_value(items["strings"].clone()).unwrap();
    assert!(strings.len() >= 2000);
    for model in [SMOLLM2, GEMMA, QWEN] {
        let Some(metadata) = model.metadata() else {
            continue;
        };
        let tokenizer = Tokenizer::from_metadata(&metadata).unwrap();
        let bare = tokenizer.encode("", true, true).unwrap();
        let ids = |value: &serde_json::Value| -> Vec<u32> {
            serde_json::from_value(value.clone()).unwrap()
        };
        let mut wrong = vec![];
        for (index, text) in strings.iter().enumerate() {
            let plain = ids(&items["plain"][model.name][index]);
            let special = match &items["special"][model.name][index.to_string()] {
                serde_json::Value::Null => [&bare[..], &plain].concat(),
                special => ids(special),
            };
            let ours = tokenizer.encode(text, false, false).unwrap();
            let ours_special = tokenizer.encode(text, true, true).unwrap();
            let back = tokenizer.decode(&plain, false);
            // Not every vocabulary has every byte.
            let text_there = items["text"][model.name][index.to_string()].as_str();
            if (&ours, &ours_special, &*back) != (&plain, &special, text_there.unwrap_or(text)) {
                wrong.push(format!(
                    "{text:?}: {back:?}\n {ours:?}\n {plain:?}\n {ours_special:?}\n {special:?}"
                ));
            }
        }
        assert!(
            wrong.is_empty(),
            "{}, {} of {}:\n{}",
            model.name,
            wrong.len(),
            strings.len(),
            wrong[..wrong.len().min(20)].join("\n")
        );
    }
}

/// SmolLM2's vocabulary under every name that `tokenizer.ggml.pre` may have (`tests/python/pre_tokenizer_ids.py`).
#[test]
fn every_pre_tokenizer_gives_the_ids_of_llama_cpp() {
    let Some(path) = SMOLLM2.path() else { return };
    let pairs: Vec<(String, Value)> = describe(&ModelSource::Gguf(path))
        .unwrap()
        .unwrap()
        .metadata
        .iter()
        .map(|(key, value)| (key.to_owned(), value.clone()))
        .collect();
    let items = reference("pre_tokenizer_ids.json");
    let strings: Vec<String> = serde_json::from_value(items["strings"].clone()).unwrap();
    assert_eq!(strings.len(), 250);
    let mut wrong = vec![];
    for (name, ids) in items["ids"].as_object().unwrap() {
        let mut pairs = pairs.clone();
        set(
            &mut pairs,
            "tokenizer.ggml.pre",
            Value::String(name.clone()),
        );
        let tokenizer = Tokenizer::from_metadata(&Metadata::from_pairs(pairs)).unwrap();
        let ids: Vec<Vec<u32>> = serde_json::from_value(ids.clone()).unwrap();
        for (text, ids) in strings.iter().zip(&ids) {
            let ours = tokenizer.encode(text, false, false).unwrap();
            if ours != *ids {
                wrong.push(format!("{name}, {text:?}:\n {ours:?}\n {ids:?}"));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

/// What `llama_vocab_is_eog` of llama.cpp says of these files.
#[test]
fn end_tokens_are_those_of_llama_cpp() {
    assert_eq!(tiny("llama-gqa").end_tokens(), [365, 368]);
    assert_eq!(tiny("qwen2").end_tokens(), [364, 366]);
    assert_eq!(tiny("stablelm").end_tokens(), [364, 366]);
}

#[test]
fn control_tokens_print_only_when_asked() {
    let tokenizer = tiny("llama-gqa");
    assert_eq!(tokenizer.decode(&[364, 72, 105, 365], false), "Hi");
    assert_eq!(
        tokenizer.decode(&[364, 72, 105], true),
        "<|begin_of_text|>Hi"
    );
    assert_eq!(tokenizer.bytes(364), b"");
    assert_eq!(tokenizer.name(364), "<|begin_of_text|>");
    assert_eq!((tokenizer.bytes(369), tokenizer.name(369)), (&b""[..], ""));
    assert_eq!(tokenizer.bytes(u32::MAX), b"");
}

#[test]
fn user_defined_tokens_are_found_whether_or_not_control_tokens_are_parsed() {
    let mut pairs = tiny_pairs("qwen2");
    let mut tokens = strings(&pairs, "tokenizer.ggml.tokens");
    tokens.push("<think>".to_owned());
    let mut types = vec![1; tokens.len()];
    types[364..367].fill(3);
    types[367] = 4;
    set(&mut pairs, "tokenizer.ggml.tokens", Value::Strings(tokens));
    set(&mut pairs, "tokenizer.ggml.token_type", Value::I32s(types));
    let tokenizer = Tokenizer::from_metadata(&Metadata::from_pairs(pairs)).unwrap();
    let plain = tokenizer
        .encode("a<think><|im_end|>", false, false)
        .unwrap();
    assert_eq!(plain[..2], [97, 367]);
    assert!(!plain.contains(&366));
    assert_eq!(
        tokenizer.encode("a<think><|im_end|>", false, true).unwrap(),
        [97, 367, 366]
    );
    assert_eq!(tokenizer.decode(&[97, 367, 366], false), "a<think>");
}

fn strings(pairs: &[(String, Value)], key: &str) -> Vec<String> {
    match pairs.iter().find(|(known, _)| known == key) {
        Some((_, Value::Strings(values))) => values.clone(),
        other => panic!("{other:?}"),
    }
}

fn refusal(change: impl FnOnce(&mut Vec<(String, Value)>)) -> String {
    let mut pairs = tiny_pairs("qwen2");
    change(&mut pairs);
    match Tokenizer::from_metadata(&Metadata::from_pairs(pairs)) {
        Ok(_) => panic!("a broken vocabulary was accepted"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn broken_vocabularies_are_refused_by_name() {
    let text = |value: &str| Value::String(value.to_owned());
    let sentence = refusal(|pairs| set(pairs, "tokenizer.ggml.pre", text("klingon")));
    assert!(
        sentence.contains("\"klingon\"") && sentence.contains("smollm"),
        "{sentence}"
    );
    let sentence = refusal(|pairs| set(pairs, "tokenizer.ggml.model", text("abacus")));
    assert!(sentence.contains("\"abacus\""), "{sentence}");
    let sentence = refusal(|pairs| set(pairs, "tokenizer.ggml.eos_token_id", Value::U32(367)));
    assert!(
        sentence.contains("eos_token_id") && sentence.contains("367"),
        "{sentence}"
    );
    let sentence = refusal(|pairs| {
        let mut tokens = strings(pairs, "tokenizer.ggml.tokens");
        tokens[300] = tokens[301].clone();
        set(pairs, "tokenizer.ggml.tokens", Value::Strings(tokens));
    });
    assert!(sentence.contains("twice"), "{sentence}");
    for merge in [
        "h",
        "",
        "h q",
        "Ġthe Ġtheseveryveryverylongwords",
        "\u{120} zzz",
    ] {
        let sentence = refusal(|pairs| {
            set(
                pairs,
                "tokenizer.ggml.merges",
                Value::Strings(vec![merge.to_owned()]),
            )
        });
        assert!(sentence.contains("merges"), "{sentence}");
    }
    let sentence = refusal(|pairs| {
        set(pairs, "tokenizer.ggml.token_type", Value::I32s(vec![1, 1]));
    });
    assert!(sentence.contains("token_type"), "{sentence}");
    let sentence = refusal(|pairs| pairs.retain(|(key, _)| key != "tokenizer.ggml.tokens"));
    assert!(sentence.contains("tokenizer.ggml.tokens"), "{sentence}");
}

#[test]
fn the_byte_tokenizer_is_bytes_and_names() {
    let tokenizer = bytes(300);
    assert_eq!(
        tokenizer.encode("hé\0", true, true).unwrap(),
        [104, 0xC3, 0xA9, 0]
    );
    assert_eq!(
        tokenizer.decode(&[104, 0xC3, 0xA9, 256, 257, 258, 299, 300], false),
        "hé<258><299>"
    );
    assert_eq!(
        tokenizer.encode("<eos><257>", false, true).unwrap().len(),
        10
    );
    assert_eq!(tokenizer.end_tokens(), [257]);
    assert_eq!((tokenizer.bos(), tokenizer.eos()), (Some(256), Some(257)));
    assert_eq!(tokenizer.vocab_size(), 300);
    assert!(Tokenizer::from_metadata(&bytes_metadata(257)).is_err());
    assert!(Tokenizer::from_metadata(&bytes_metadata(u32::MAX)).is_err());
}

#[test]
fn the_byte_tokenizer_adds_bos_when_the_metadata_says_so() {
    let metadata = Metadata::from_pairs(vec![
        (
            "tokenizer.ggml.model".to_owned(),
            Value::String("woolly-bytes".to_owned()),
        ),
        ("llama.vocab_size".to_owned(), Value::U32(258)),
        ("tokenizer.ggml.add_bos_token".to_owned(), Value::Bool(true)),
    ]);
    let tokenizer = Tokenizer::from_metadata(&metadata).unwrap();
    assert!(tokenizer.adds_bos());
    assert_eq!(tokenizer.encode("a", true, true).unwrap(), [256, 97]);
    assert_eq!(tokenizer.encode("a", false, true).unwrap(), [97]);
}

#[test]
fn long_and_empty_texts_do_no_harm() {
    for tokenizer in [tiny("llama-gqa"), tiny("qwen2"), bytes(300)] {
        assert!(tokenizer.encode("", false, true).unwrap().is_empty());
        assert_eq!(tokenizer.decode(&[], true), "");
        for (unit, size) in [
            ("a", 1 << 20),
            ("日 1", 1 << 20),
            (" ", 1 << 16),
            ("\0", 1 << 16),
            ("\n ", 1 << 16),
            ("<|im_end|>", 1 << 16),
        ] {
            let text = unit.repeat(size / unit.len());
            let ids = tokenizer.encode(&text, false, false).unwrap();
            assert_eq!(tokenizer.decode(&ids, true), text);
            assert!(ids.len() >= tokenizer.fewest_tokens(text.len()));
        }
        assert!(
            tokenizer
                .encode(&"a".repeat(MAX_TEXT_BYTES + 1), false, false)
                .is_err()
        );
    }
}

/// Runs of blanks make the expressions go back the furthest.
#[test]
fn the_longest_run_of_blanks_stays_within_the_limits_of_the_expressions() {
    for pre in ["default", "llama-bpe"] {
        let mut pairs = tiny_pairs("qwen2");
        set(
            &mut pairs,
            "tokenizer.ggml.pre",
            Value::String(pre.to_owned()),
        );
        let tokenizer = Tokenizer::from_metadata(&Metadata::from_pairs(pairs)).unwrap();
        let ids = tokenizer
            .encode(&" ".repeat(MAX_TEXT_BYTES), false, false)
            .unwrap();
        assert!(!ids.is_empty());
    }
}

/// Text with a taste for what vocabularies treat in a special way.
fn texts() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        any::<String>(),
        prop::sample::select(vec![
            "<|im_start|>",
            "<|im_end|>",
            "<|endoftext|>",
            "<|begin_of_text|>",
            "<|eot_id|>",
            "<|im_",
            "end|>",
            "<",
            " ",
            "\n",
            "\r\n",
            "  ",
            "\0",
            "123",
            "it's",
            "é",
            "\u{200d}",
        ])
        .prop_map(str::to_owned),
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn decoding_gives_the_text_back(text in texts()) {
        for name in TINY_NAMES {
            let tokenizer = tiny(name);
            for parse_special in [false, true] {
                let ids = tokenizer.encode(&text, false, parse_special).unwrap();
                prop_assert_eq!(&tokenizer.decode(&ids, true), &text);
                prop_assert!(ids.len() >= tokenizer.fewest_tokens(text.len()));
            }
        }
    }

    #[test]
    fn any_ids_decode(ids in prop::collection::vec(any::<u32>(), 0..50), special: bool) {
        tiny("llama-gqa").decode(&ids, special);
        bytes(300).decode(&ids, special);
    }
}
