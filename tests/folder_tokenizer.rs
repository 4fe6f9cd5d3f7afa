//! Tokenizers of model folders: ids as the library computes them, and as the same model's GGUF file gives.

use std::str::FromStr;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use serde_json::{Value as Json, json};
use woolly::text::{ChatTemplate, Message, Tokenizer};
use woolly::weights::Metadata;
use woolly::weights::gguf::Value;

use crate::support::models::fixture;
use crate::support::published::SMOLLM2;
use crate::support::vocabularies::{tiny, tiny_references};

fn fixture_json() -> Json {
    let text = std::fs::read_to_string(fixture("llama-gqa").join("tokenizer.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn build_with(json: &Json, more: &[(&str, Value)]) -> Result<Tokenizer, woolly::text::Error> {
    let mut pairs = vec![(
        "tokenizer.huggingface.json".to_owned(),
        Value::String(json.to_string()),
    )];
    pairs.extend(
        more.iter()
            .map(|(key, value)| ((*key).to_owned(), value.clone())),
    );
    Tokenizer::from_metadata(&Metadata::from_pairs(pairs))
}

fn build(json: &Json) -> Tokenizer {
    build_with(json, &[]).unwrap()
}

fn refusal(change: impl FnOnce(&mut Json)) -> String {
    let mut json = fixture_json();
    change(&mut json);
    build_with(&json, &[]).err().expect("refused").to_string()
}

/// What the library itself makes of a text.
fn library(json: &Json, text: &str, add_special: bool) -> Vec<u32> {
    let tokenizer = tokenizers::Tokenizer::from_str(&json.to_string()).unwrap();
    tokenizer
        .encode(text, add_special)
        .unwrap()
        .get_ids()
        .to_vec()
}

/// A vocabulary of words behind `▁` with all bytes, as SentencePiece models have it.
fn words_json() -> Json {
    let mut names: Vec<String> = ["<unk>", "<s>", "</s>"].map(str::to_owned).into();
    names.extend((0..=255).map(|byte| format!("<0x{byte:02X}>")));
    names.extend("▁ehlotwrdé,".chars().map(String::from));
    let merges = [
        ("l", "l"),
        ("h", "e"),
        ("▁", "w"),
        ("o", "r"),
        ("he", "ll"),
        ("▁", "hell"),
        ("▁hell", "o"),
        ("▁w", "or"),
    ];
    names.extend(merges.map(|(left, right)| format!("{left}{right}")));
    let special = |id, content| {
        json!({"id": id, "content": content, "special": true,
        "single_word": false, "lstrip": false, "rstrip": false, "normalized": false})
    };
    let ids = names
        .iter()
        .zip(0..)
        .map(|(name, id)| (name.clone(), json!(id)));
    json!({
        "version": "1.0",
        "added_tokens": [special(0, "<unk>"), special(1, "<s>"), special(2, "</s>")],
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "Prepend", "prepend": "▁"},
            {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
        ]},
        "pre_tokenizer": null,
        "post_processor": {"type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}},
        "decoder": {"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
            {"type": "ByteFallback"},
            {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0},
        ]},
        "model": {"type": "BPE", "unk_token": "<unk>", "fuse_unk": true, "byte_fallback": true,
            "vocab": ids.collect::<serde_json::Map<_, _>>(),
            "merges": merges.map(|(left, right)| format!("{left} {right}"))},
    })
}

#[test]
fn the_fixture_gives_the_reference_ids() {
    let tokenizer = build(&fixture_json());
    for item in tiny_references("llama-gqa") {
        let text = item.text.as_str();
        assert_eq!(
            tokenizer.encode(text, false, false).unwrap(),
            item.plain,
            "{text:?}"
        );
        assert_eq!(
            tokenizer.encode(text, true, true).unwrap(),
            item.special,
            "{text:?}"
        );
        assert_eq!(tokenizer.decode(&item.plain, false), text);
    }
}

#[test]
fn entries_and_roles_are_those_of_the_gguf_file() {
    let (folder, gguf) = (build(&fixture_json()), tiny("llama-gqa"));
    assert_eq!(folder.vocab_size(), gguf.vocab_size());
    for id in 0..=u32::try_from(gguf.vocab_size()).unwrap() {
        assert_eq!(folder.name(id), gguf.name(id));
        assert_eq!(folder.bytes(id), gguf.bytes(id), "{id}");
        assert_eq!(folder.is_control(id), gguf.is_control(id), "{id}");
    }
    assert_eq!(
        (folder.bos(), folder.adds_bos()),
        (gguf.bos(), gguf.adds_bos())
    );
    assert_eq!(folder.end_tokens(), gguf.end_tokens());
}

/// Text with a taste for what vocabularies treat in a special way.
fn texts() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        any::<String>(),
        "[a-zA-Z ]{0,20}",
        prop::sample::select(vec![
            "<|begin_of_text|>",
            "<|eot_id|>",
            "<|end_of_text|>",
            "<|eot_",
            "id|>",
            "<s>",
            "</s>",
            "<unk>",
            "<",
            " ",
            "\n",
            "\r\n",
            "  ",
            "\0",
            "1234",
            "it's",
            "IT'LL",
            "é",
            "日本",
            "\u{200d}",
            "hello world",
        ])
        .prop_map(str::to_owned),
    ];
    prop::collection::vec(piece, 0..10).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn ids_are_those_of_the_gguf_file(text in texts()) {
        let (folder, gguf) = (build(&fixture_json()), tiny("llama-gqa"));
        for parse_special in [false, true] {
            let ids = folder.encode(&text, true, parse_special).unwrap();
            prop_assert_eq!(&ids, &gguf.encode(&text, true, parse_special).unwrap());
            prop_assert!(ids.len() >= folder.fewest_tokens(text.len()));
        }
    }

    #[test]
    fn ids_are_those_of_the_library(text in texts()) {
        for json in [fixture_json(), words_json()] {
            let tokenizer = build(&json);
            for add_special in [false, true] {
                let ids = tokenizer.encode(&text, add_special, true).unwrap();
                prop_assert_eq!(&ids, &library(&json, &text, add_special));
            }
            let plain = tokenizer.encode(&text, false, false).unwrap();
            prop_assert!(plain.iter().all(|id| !tokenizer.is_control(*id)));
            // Only a text that contains what stands for a space does not come back.
            let back = tokenizer.decode(&plain, true);
            prop_assert!(back == text || text.contains('▁'), "{:?}", back);
            prop_assert!(plain.len() >= tokenizer.fewest_tokens(text.len()));
        }
    }
}

#[test]
fn smollm2_as_a_folder_gives_the_ids_of_its_gguf_file() {
    let Some(metadata) = SMOLLM2.metadata() else {
        return;
    };
    let gguf = Tokenizer::from_metadata(&metadata).unwrap();
    let names = metadata.strings("tokenizer.ggml.tokens").unwrap().unwrap();
    let merges = metadata.strings("tokenizer.ggml.merges").unwrap().unwrap();
    let types = metadata
        .integers("tokenizer.ggml.token_type")
        .unwrap()
        .unwrap();
    let ids = names
        .iter()
        .zip(0..)
        .map(|(name, id)| (name.clone(), json!(id)));
    let special = names
        .iter()
        .zip(types)
        .zip(0..)
        .filter(|((_, kind), _)| **kind == 3);
    let added = special.map(|((name, _), id)| json!({"id": id, "content": name, "special": true}));
    // As published with the model.
    let json = json!({
        "added_tokens": added.collect::<Vec<_>>(),
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Digits", "individual_digits": true},
            {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        ]},
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "model": {"type": "BPE", "vocab": ids.collect::<serde_json::Map<_, _>>(), "merges": merges},
    });
    let bos = [(
        "tokenizer.huggingface.eos_token",
        Value::String("<|im_end|>".into()),
    )];
    let folder = build_with(&json, &bos).unwrap();
    assert_eq!(folder.end_tokens(), gguf.end_tokens());
    assert_eq!(
        (folder.eos(), folder.adds_bos()),
        (gguf.eos(), gguf.adds_bos())
    );
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    for _ in 0..2_000 {
        let text = texts().new_tree(&mut runner).unwrap().current();
        for parse_special in [false, true] {
            let ids = |of: &Tokenizer| of.encode(&text, true, parse_special).unwrap();
            assert_eq!(ids(&folder), ids(&gguf), "{text:?}");
        }
    }
}

#[test]
fn words_behind_spaces_print_as_they_stream() {
    let tokenizer = build(&words_json());
    let ids = tokenizer.encode("hello world, é日", true, true).unwrap();
    assert_eq!(ids[0], 1);
    assert_eq!(tokenizer.decode(&ids[1..], false), "hello world, é日");
    let streamed: Vec<u8> = ids
        .iter()
        .flat_map(|id| tokenizer.bytes(*id))
        .copied()
        .collect();
    assert_eq!(streamed, " hello world, é日".as_bytes());
    assert_eq!(tokenizer.bytes(3 + 10), b"\n");
    assert_eq!(tokenizer.end_tokens(), [2]);
    let split = tokenizer.encode("a</s>", false, false).unwrap();
    assert!(!split.contains(&2));
}

#[test]
fn control_tokens_in_a_message_stay_text() {
    let tokenizer = build(&words_json());
    let source = "{% for m in messages %}<s>{{ m.content }}</s>{% endfor %}";
    let template = ChatTemplate::new(&Metadata::default(), Some(source)).unwrap();
    let message = |content: &str| Message {
        role: "user".into(),
        content: content.into(),
    };
    let ids = template
        .encode(&tokenizer, &[message("hello</s><s>")])
        .unwrap();
    let controls: Vec<u32> = ids
        .into_iter()
        .filter(|id| tokenizer.is_control(*id))
        .collect();
    assert_eq!(controls, [1, 2]);
}

#[test]
fn configurations_decide_about_special_tokens() {
    let json = fixture_json();
    let bos = |flag| ("tokenizer.ggml.add_bos_token", Value::Bool(flag));
    assert_eq!(build(&json).encode("a", true, true).unwrap(), [364, 97]);
    let without = build_with(&json, &[bos(false)]).unwrap();
    assert_eq!(without.encode("a", true, true).unwrap(), [97]);
    let mut bare = json.clone();
    bare["post_processor"] = Json::Null;
    assert_eq!(build(&bare).encode("a", true, true).unwrap(), [97]);
    let name = (
        "tokenizer.huggingface.bos_token",
        Value::String("<|eot_id|>".into()),
    );
    let id = ("tokenizer.ggml.bos_token_id", Value::U32(364));
    let named = build_with(&bare, &[bos(true), name, id.clone()]).unwrap();
    assert_eq!(named.encode("a", true, true).unwrap(), [368, 97]);
    let unknown = (
        "tokenizer.huggingface.bos_token",
        Value::String("<none>".into()),
    );
    let numbered = build_with(&bare, &[bos(true), unknown, id]).unwrap();
    assert_eq!(numbered.encode("a", true, true).unwrap(), [364, 97]);
    let ends = |ids: Vec<i32>| ("tokenizer.huggingface.end_token_ids", Value::I32s(ids));
    let more = build_with(&json, &[ends(vec![366, 100])]).unwrap();
    assert_eq!(more.end_tokens(), [100, 365, 366, 368]);
    assert_eq!(more.eos(), Some(366));
    let beyond = build_with(&json, &[ends(vec![999])])
        .err()
        .unwrap()
        .to_string();
    assert!(
        beyond.contains("eos_token_id is 999") && beyond.contains("369"),
        "{beyond}"
    );
    // Of both kinds of keys, those that llama.cpp reads count.
    let both = [("tokenizer.ggml.model", Value::String("abacus".into()))];
    assert!(build_with(&json, &both).is_err());
}

#[test]
fn added_tokens_that_look_like_control_tokens_are_control_tokens() {
    let mut json = fixture_json();
    let added = json["added_tokens"].as_array_mut().unwrap();
    added.push(json!({"id": 400, "content": "<|tool|>", "special": false}));
    added.push(json!({"id": 401, "content": "<think>", "special": false}));
    let tokenizer = build(&json);
    assert!(tokenizer.is_control(400) && !tokenizer.is_control(401));
    let plain = tokenizer.encode("<think><|tool|>", false, false).unwrap();
    assert_eq!((plain[0], plain.contains(&400)), (401, false));
    assert_eq!(
        tokenizer.encode("<think><|tool|>", false, true).unwrap(),
        [401, 400]
    );
    assert_eq!(
        (tokenizer.vocab_size(), tokenizer.bytes(399)),
        (402, &b""[..])
    );
    assert_eq!(tokenizer.decode(&[401], false), "<think>");
}

#[test]
fn broken_tokenizers_are_refused_with_the_reason() {
    let has = |sentence: String, part: &str| assert!(sentence.contains(part), "{sentence}");
    has(refusal(|json| *json = json!([])), "tokenizer.json: ");
    has(
        refusal(|json| json["model"]["type"] = json!("Unigram")),
        "\"Unigram\"",
    );
    has(
        refusal(|json| json["model"] = json!({"type": "Unigram", "vocab": []})),
        "\"Unigram\"",
    );
    has(
        refusal(|json| json["model"]["dropout"] = json!(0.1)),
        "model.dropout",
    );
    has(
        refusal(|json| json["model"]["continuing_subword_prefix"] = json!("##")),
        "continuing_subword_prefix",
    );
    has(
        refusal(|json| json["model"]["unk_token"] = json!("<none>")),
        "<none>",
    );
    has(
        refusal(|json| json["model"]["vocab"]["x1"] = json!(5)),
        "the id 5 has two entries",
    );
    has(
        refusal(|json| json["model"]["vocab"]["x1"] = json!(u32::MAX)),
        "the id 4294967295",
    );
    has(
        refusal(|json| json["model"]["vocab"]["x1"] = json!(-1)),
        "invalid value",
    );
    has(
        refusal(|json| json["added_tokens"][0]["id"] = json!(3)),
        "the id 3 has two entries",
    );
    has(
        refusal(|json| json["added_tokens"][0]["id"] = json!(500)),
        "twice",
    );
    for merge in [
        json!(["h", "q"]),
        json!("h q"),
        json!("h"),
        json!(["", "he"]),
        json!(""),
    ] {
        has(
            refusal(|json| json["model"]["merges"][0] = merge),
            "model.merges",
        );
    }
    has(
        refusal(|json| json["model"]["merges"][0] = json!(["a", "b", "c"])),
        "tokenizer.json",
    );
    has(
        refusal(|json| json["decoder"] = json!({"type": "WordPiece"})),
        "WordPiece",
    );
    has(refusal(|json| json["decoder"] = Json::Null), "decoder");
    has(
        refusal(|json| json["post_processor"] = json!({"type": "Odd"})),
        "Odd",
    );
    has(
        refusal(|json| json["normalizer"] = json!({"type": "Odd"})),
        "normalizer",
    );
    has(
        refusal(|json| json["pre_tokenizer"] = json!({"type": "Odd"})),
        "pre_tokenizer",
    );
    let split = |expression: &str| json!({"type": "Split", "pattern": {"Regex": expression}, "behavior": "Isolated", "invert": false});
    has(
        refusal(|json| json["pre_tokenizer"] = split("(")),
        "pre_tokenizer",
    );

    // An expression that goes back without end fails on the text, and only on that.
    let mut json = fixture_json();
    let level = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false});
    json["pre_tokenizer"] =
        json!({"type": "Sequence", "pretokenizers": [split("(?:a|a|b)*c\\1?(?!x)|(a+)+$"), level]});
    let tokenizer = build(&json);
    let error = tokenizer.encode(&("a".repeat(200) + "!"), false, false);
    assert!(
        error
            .err()
            .unwrap()
            .to_string()
            .contains("go back too often")
    );
    assert_eq!(tokenizer.encode("b", false, false).unwrap(), [98]);
}
