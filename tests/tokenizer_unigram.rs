//! Unigram vocabularies: the ids of llama.cpp, and tables that nobody should trust.

use proptest::prelude::*;
use woolly::text::{MAX_TEXT_BYTES, Tokenizer};
use woolly::weights::Metadata;
use woolly::weights::gguf::Value;

use crate::support::models::reference;
use crate::support::vocabularies::set;

/// A trained vocabulary with a table of replacements (`tests/python/unigram_ids.py`).
fn trained(merge: bool, space: bool) -> Vec<(String, Value)> {
    let metadata = &reference("unigram_ids.json")["metadata"];
    let array = |key: &str| metadata[key].clone();
    let pairs = [
        ("model", Value::String("t5".to_owned())),
        (
            "tokens",
            Value::Strings(serde_json::from_value(array("tokens")).unwrap()),
        ),
        (
            "scores",
            Value::F32s(serde_json::from_value(array("scores")).unwrap()),
        ),
        (
            "token_type",
            Value::I32s(serde_json::from_value(array("types")).unwrap()),
        ),
        (
            "precompiled_charsmap",
            Value::U8s(serde_json::from_value(array("charsmap")).unwrap()),
        ),
        ("add_space_prefix", Value::Bool(space)),
        ("remove_extra_whitespaces", Value::Bool(merge)),
    ];
    let pairs = pairs.map(|(key, value)| (format!("tokenizer.ggml.{key}"), value));
    pairs.to_vec()
}

fn tokenizer(pairs: &[(String, Value)]) -> Tokenizer {
    Tokenizer::from_metadata(&Metadata::from_pairs(pairs.to_vec())).unwrap()
}

/// The vocabulary with another table: of `array`, and replacements.
fn with_table(array: &[u8], texts: &[u8]) -> Vec<(String, Value)> {
    let size = u32::try_from(array.len()).unwrap().to_le_bytes();
    let table = [&size[..], array, texts].concat();
    let mut pairs = trained(false, false);
    set(
        &mut pairs,
        "tokenizer.ggml.precompiled_charsmap",
        Value::U8s(table),
    );
    pairs
}

#[test]
fn unigram_gives_the_ids_of_llama_cpp() {
    let items = reference("unigram_ids.json");
    let strings: Vec<String> = serde_json::from_value(items["strings"].clone()).unwrap();
    let mut compared = 0;
    for (flags, ids) in items["ids"].as_object().unwrap() {
        let (merge, space) = flags.split_once(' ').unwrap();
        let tokenizer = tokenizer(&trained(merge == "true", space == "true"));
        let ids: Vec<[Vec<u32>; 2]> = serde_json::from_value(ids.clone()).unwrap();
        for (text, [plain, special]) in strings.iter().zip(ids) {
            let ours =
                [false, true].map(|special| tokenizer.encode(text, special, special).unwrap());
            assert_eq!(ours, [plain, special], "{flags}, {text:?}");
            assert!(ours[0].len() >= tokenizer.fewest_tokens(text.len()));
            assert!(!ours[0].iter().any(|&id| tokenizer.name(id) == "<ctl>"));
            compared += 1;
        }
    }
    assert_eq!(compared, 4 * strings.len());
    // EOS is entry 1 where the file does not say, and ends a generation.
    let tokenizer = tokenizer(&trained(false, true));
    assert_eq!((tokenizer.eos(), tokenizer.adds_eos()), (Some(1), true));
    assert!(tokenizer.end_tokens().contains(&1));
    let ids = tokenizer.encode("a token <sep>", false, false).unwrap();
    assert_eq!(tokenizer.decode(&ids, false), "a token <sep>");
}

#[test]
fn damaged_unigram_vocabularies_are_refused() {
    let refusal = |key: &str, value: Value| {
        let mut pairs = trained(true, true);
        let key = format!("tokenizer.ggml.{key}");
        set(&mut pairs, &key, value);
        let metadata = Metadata::from_pairs(pairs);
        let sentence = Tokenizer::check(&metadata).unwrap_err().to_string();
        let built = Tokenizer::from_metadata(&metadata).err().unwrap();
        assert_eq!(built.to_string(), sentence);
        sentence
    };
    let table = |bytes: &[u8]| refusal("precompiled_charsmap", Value::U8s(bytes.to_vec()));
    for (bytes, problem) in [
        (&[255, 255, 255, 255, 0, 0][..], "is cut short"),
        (&[1, 0], "is cut short"),
        (&[1, 0, 0, 0, 7], "holds no whole number of elements"),
        (&[0, 0, 0, 0, 7], "ends in a replacement without an end"),
    ] {
        assert_eq!(
            table(bytes),
            format!("tokenizer: tokenizer.ggml.precompiled_charsmap {problem}")
        );
    }
    assert_eq!(
        refusal("precompiled_charsmap", Value::U32(1)),
        "tokenizer: tokenizer.ggml.precompiled_charsmap is no array of bytes"
    );
    let size = tokenizer(&trained(true, true)).vocab_size();
    let mut scores = vec![-1.0; size];
    scores[7] = f32::NAN;
    assert_eq!(
        refusal("scores", Value::F32s(scores)),
        "tokenizer: the score of entry 7 is NaN, which is no number to compare with"
    );
    for (key, value) in [
        ("unknown_token_id", Value::U32(100_000)),
        ("remove_extra_whitespaces", Value::U32(1)),
        ("add_space_prefix", Value::U32(1)),
    ] {
        let sentence = refusal(key, value);
        assert!(sentence.contains(key), "{sentence}");
    }
}

#[test]
fn a_table_that_leads_nowhere_is_an_error_when_a_text_meets_it() {
    let tokenizer = tokenizer(&with_table(&[0xff; 8], b"x\0"));
    let error = tokenizer.encode("abc", false, false).unwrap_err();
    assert_eq!(
        error.to_string(),
        "tokenizer: the table of replacements leads behind its end"
    );
}

/// One replacement of "a", as long as may be.
fn replacing_a(text: &[u8]) -> Vec<(String, Value)> {
    let mut array = vec![0u32; 1024];
    array[0] = 256 << 10;
    let a = 256 ^ u32::from(b'a');
    array[a as usize] = u32::from(b'a') | 1 << 8 | (a ^ 512) << 10;
    array[512] = 1 << 31;
    let array: Vec<u8> = array.iter().flat_map(|word| word.to_le_bytes()).collect();
    with_table(&array, &[text, b"\0"].concat())
}

#[test]
fn a_text_cannot_be_made_to_grow_without_end() {
    let tokenizer = tokenizer(&replacing_a(&[b'b'; 10_000]));
    assert!(tokenizer.encode("a a", false, false).unwrap().len() > 2);
    let error = tokenizer.encode(&"a".repeat(2_000), false, false);
    let sentence = error.unwrap_err().to_string();
    assert!(
        sentence.contains("a text of 2000 bytes grows beyond"),
        "{sentence}"
    );
}

#[test]
fn bytes_of_a_replacement_need_not_be_text() {
    let tokenizer = tokenizer(&replacing_a(b"\xe2\x96 \xff"));
    let ids = tokenizer.encode("b a c", false, false).unwrap();
    assert!(ids.iter().all(|&id| (id as usize) < tokenizer.vocab_size()));
}

#[test]
fn the_longest_text_of_spaces_takes_no_longer_than_others() {
    for merge in [false, true] {
        let tokenizer = tokenizer(&trained(merge, true));
        let text = format!("{}x", " ".repeat(MAX_TEXT_BYTES - 1));
        let ids = tokenizer.encode(&text, false, false).unwrap();
        assert!(merge == (ids.len() < 4), "{}", ids.len());
    }
}

proptest! {
    #[test]
    fn no_text_and_no_table_makes_it_panic(
        array in prop::collection::vec(any::<u8>(), 0..600),
        texts in prop::collection::vec(any::<u8>(), 0..20),
        text in "\\PC{0,40}",
    ) {
        let array = &array[..array.len() / 4 * 4];
        let tokenizer = tokenizer(&with_table(array, &[&texts[..], b"\0"].concat()));
        if let Ok(ids) = tokenizer.encode(&text, true, false) {
            prop_assert!(ids.iter().all(|&id| (id as usize) < tokenizer.vocab_size()));
        }
    }
}
