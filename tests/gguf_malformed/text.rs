//! H: class 78, vocabularies.

use woolly::model;
use woolly::text::Error;
use woolly::weights;
use woolly::weights::dequant::TensorType;

use super::{Cases, Outcome};
use crate::support::gguf_file::STRING;
use crate::support::tiny_llama::{
    Raw, TinyLlama, VOCABULARY, array, boolean, f32s, i32, i32s, string, strings, tokens, u32,
};

const CLASS: u32 = 78;
const PRE_TOKENIZERS: &str = "default, smollm, starcoder, refact, command-r, codeshell, exaone, minerva-7b, mellum2, gpt-2, phi-2, mpt, olmo, jais, trillion, granite-docling, gigachat, exaone4, a.x-4.0, mellum, llama-bpe, llama3, llama-v3, falcon3, falcon-h1, pixtral, midm-2.0, lfm2, dbrx, smaug-bpe, chatglm-bpe, glm4, glm5, qwen2, deepseek-r1-qwen, stablelm2, megrez, hunyuan, solar-open, grok-2, kormo, f2llmv2, qwen35, ufakzeka, laguna, seed-coder, bailingmoe, bailingmoe2, llada-moe, exaone-moe, minicpm5, jais-2, tekken, gpt-4o, llama4, kanana2, minimax-m2, youtu, deepseek-llm, deepseek-coder, deepseek-v3, hunyuan-dense, hy_v4, joyai-llm, falcon, poro-chat, bloom, gpt3-finnish, viking";

fn tiny() -> TinyLlama {
    TinyLlama::new(TensorType::Q2K)
}

/// Found before any weight is read.
fn early(error: Error) -> Outcome {
    model::Error::Text(error).into()
}

pub(super) fn unknown_pre_tokenizer(found: &str) -> Outcome {
    early(Error::UnknownPreTokenizer {
        found: found.to_owned(),
        known: PRE_TOKENIZERS.to_owned(),
    })
}

fn wrong_type(key: &str, expected: &'static str, found: &'static str) -> Outcome {
    let key = format!("tokenizer.ggml.{key}");
    early(Error::Metadata(weights::Error::KeyType {
        key,
        expected,
        found,
    }))
}

pub(super) fn cases() -> Cases {
    let mut cases = Cases::default();
    kinds(&mut cases);
    element_types(&mut cases);
    lengths(&mut cases);
    entries(&mut cases);
    roles(&mut cases);
    bytes(&mut cases);
    merges(&mut cases);
    cases
}

fn set(cases: &mut Cases, key: &str, what: &str, value: Raw, expected: Outcome) {
    let file = tiny().set(&format!("tokenizer.ggml.{key}"), value);
    cases.add(CLASS, format!("{key}: {what}"), file.bytes(), expected);
}

fn kinds(cases: &mut Cases) {
    let long = "x".repeat(16 << 20);
    let shown = format!("{}...", "x".repeat(80));
    for (name, found) in [
        ("bert", "bert"),
        ("bert", "bert"),
        ("gpt2\n", "gpt2\n"),
        (&long, &shown),
    ] {
        let what = format!("{} bytes", name.len());
        let expected = early(Error::UnknownModel {
            found: found.to_owned(),
        });
        set(cases, "model", &what, string(name), expected);
    }
    for (name, found) in [("klingon", "klingon"), ("GPT-2", "GPT-2"), (&long, &shown)] {
        let what = format!("{} bytes", name.len());
        let expected = unknown_pre_tokenizer(found);
        set(cases, "pre", &what, string(name), expected);
    }
    for key in ["model", "pre"] {
        let expected = wrong_type(key, "a string", "an integer");
        set(cases, key, "a number", u32(1), expected);
    }
    for key in [
        "tokenizer.ggml.model",
        "tokenizer.ggml.tokens",
        "tokenizer.ggml.merges",
    ] {
        let expected = early(Error::Metadata(weights::Error::MissingKey {
            key: key.to_owned(),
        }));
        let file = tiny().without(key);
        cases.add(CLASS, format!("no {key}"), file.bytes(), expected);
    }
    for size in [0, 257, (4 << 20) + 1, u32::MAX] {
        let file = tiny().set("tokenizer.ggml.model", string("woolly-bytes"));
        // The key is also the model's, whose limits come first.
        let file = file.set("llama.vocab_size", u32(size));
        let expected = match size {
            257 => early(Error::ByteVocabularySize {
                found: 257,
                least: 258,
                most: 4 << 20,
            }),
            _ => model::Error::Hyper {
                key: "llama.vocab_size".to_owned(),
                problem: model::HyperProblem::Range {
                    found: size.into(),
                    most: 4 << 20,
                },
            }
            .into(),
        };
        cases.add(CLASS, format!("{size} byte tokens"), file.bytes(), expected);
    }
}

fn element_types(cases: &mut Cases) {
    let integers = || i32s(&[0; VOCABULARY]);
    let unsigned = || array(4, VOCABULARY as u64, &[0; VOCABULARY * 4]);
    let small = || array(1, VOCABULARY as u64, &[0; VOCABULARY]);
    let floats = || f32s(&[0.0; VOCABULARY]);
    let doubles = || array(12, VOCABULARY as u64, &[0; VOCABULARY * 8]);
    let (of_i32, of_others) = ("an array of 32-bit integers", "an array of other integers");
    let (of_floats, of_texts) = ("an array of floating-point numbers", "an array of strings");
    let texts = || strings(&tokens());
    for (key, expected, others) in [
        (
            "tokens",
            of_texts,
            vec![
                (integers(), of_i32),
                (floats(), of_floats),
                (string("a b"), "a string"),
            ],
        ),
        (
            "merges",
            of_texts,
            vec![(integers(), of_i32), (string("h e"), "a string")],
        ),
        (
            "token_type",
            of_i32,
            vec![
                (unsigned(), of_others),
                (small(), of_others),
                (floats(), of_floats),
                (texts(), of_texts),
                (u32(1), "an integer"),
            ],
        ),
        (
            "scores",
            "an array of 32-bit floating-point numbers",
            vec![
                (small(), of_others),
                (integers(), of_i32),
                (doubles(), of_floats),
                (texts(), of_texts),
            ],
        ),
    ] {
        for (value, found) in others {
            let error = wrong_type(key, expected, found);
            set(cases, key, found, value, error);
        }
    }
}

fn lengths(cases: &mut Cases) {
    let length = |key, found| {
        early(Error::Length {
            key,
            found,
            expected: VOCABULARY,
        })
    };
    for count in [1, VOCABULARY - 1, VOCABULARY + 1] {
        let what = format!("{count} elements");
        let error = length("tokenizer.ggml.token_type", count);
        set(cases, "token_type", &what, i32s(&vec![1; count]), error);
        let error = length("tokenizer.ggml.scores", count);
        set(cases, "scores", &what, f32s(&vec![0.0; count]), error);
    }
    let mut more = tokens();
    more.push("more".to_owned());
    let longer = tiny()
        .set("tokenizer.ggml.tokens", strings(&more))
        .set("tokenizer.ggml.token_type", i32s(&[1; VOCABULARY + 1]))
        .without("tokenizer.ggml.scores");
    let expected = model::Error::TooManyTokens {
        tokens: VOCABULARY + 1,
        rows: VOCABULARY,
    };
    cases.add(CLASS, "a token without a row", longer.bytes(), expected);
    let many = array(STRING, (4 << 20) + 1, &vec![0; ((4 << 20) + 1) * 8]);
    let expected = early(Error::VocabularySize {
        found: (4 << 20) + 1,
        most: 4 << 20,
    });
    set(cases, "tokens", "too many", many, expected);
}

/// The tiny file with one entry of its vocabulary replaced.
fn renamed(id: usize, name: &str) -> TinyLlama {
    let mut tokens = tokens();
    tokens[id] = name.to_owned();
    tiny().set("tokenizer.ggml.tokens", strings(&tokens))
}

fn typed(id: usize, kind: i32) -> Raw {
    let mut types = [1; VOCABULARY];
    types[id] = kind;
    i32s(&types)
}

fn entries(cases: &mut Cases) {
    for (id, name, first, second) in [
        (258, "he", 256, 258),
        (259, "a", 97, 259),
        (256, "</s>", 256, 260),
        (0, "hell", 0, 258),
    ] {
        let expected = Error::DuplicateToken {
            name: name.to_owned(),
            first,
            second,
        };
        let file = renamed(id, name);
        cases.add(CLASS, format!("{name} twice"), file.bytes(), expected);
    }
    let file = renamed(258, "").set("tokenizer.ggml.merges", strings(&["h e", "l l"]));
    cases.add(
        CLASS,
        "an empty token prints as nothing",
        file.bytes(),
        Outcome::Served,
    );
    let expected = Error::DuplicateToken {
        name: "[EMPTY_257]".to_owned(),
        first: 257,
        second: 258,
    };
    let mut names = tokens();
    names[257].clear();
    names[258] = "[EMPTY_257]".to_owned();
    let file = tiny().set("tokenizer.ggml.tokens", strings(&names));
    cases.add(CLASS, "the name of an empty token", file.bytes(), expected);
    for length in [4097, 65_536, 16 << 20] {
        let expected = Error::TokenLength {
            id: 258,
            length,
            limit: 4096,
        };
        let file = renamed(258, &"z".repeat(length));
        cases.add(
            CLASS,
            format!("a token of {length} bytes"),
            file.bytes(),
            expected,
        );
    }
    let file = renamed(258, &"z".repeat(4096));
    let file = file.set("tokenizer.ggml.merges", strings(&["h e", "l l"]));
    cases.add(
        CLASS,
        "a token of 4096 bytes",
        file.bytes(),
        Outcome::Served,
    );
    for found in [-1, 7, 255, i32::MAX, i32::MIN] {
        let file = tiny().set("tokenizer.ggml.token_type", typed(42, found));
        let expected = Error::TokenType { id: 42, found };
        cases.add(CLASS, format!("token type {found}"), file.bytes(), expected);
    }

    let count = 65_537 + VOCABULARY;
    let mut names = tokens();
    names.extend((VOCABULARY..count).map(|id| format!("<{id}>")));
    let mut types = vec![1; VOCABULARY];
    types.resize(count, 4);
    let mut file = tiny()
        .set("tokenizer.ggml.tokens", strings(&names))
        .set("tokenizer.ggml.token_type", i32s(&types))
        .set("llama.vocab_size", u32(count as u32))
        .without("tokenizer.ggml.scores")
        .without_tensor("output.weight");
    file.tensors[0].dimensions[1] = count as u64;
    file.tensors[0].kind = TensorType::Iq1S as u32;
    let expected = Error::TooManySpecial {
        count: 65_537,
        limit: 65_536,
    };
    cases.add(CLASS, "65,537 user-defined tokens", file.bytes(), expected);
}

fn roles(cases: &mut Cases) {
    for key in [
        "bos_token_id",
        "eos_token_id",
        "eot_token_id",
        "eom_token_id",
        "fim_pad_token_id",
        "fim_rep_token_id",
        "fim_sep_token_id",
    ] {
        let outside = |id: i64| {
            early(Error::RoleId {
                key: format!("tokenizer.ggml.{key}"),
                id,
                size: VOCABULARY,
            })
        };
        for id in [VOCABULARY as u32, u32::MAX] {
            set(cases, key, &id.to_string(), u32(id), outside(id.into()));
        }
        let huge = Raw(10, (1u64 << 62).to_le_bytes().to_vec());
        set(cases, key, "2^62", huge, outside(1 << 62));
        let expected = wrong_type(key, "a non-negative integer", "a negative integer");
        set(cases, key, "-1", i32(-1), expected);
        let expected = wrong_type(key, "a non-negative integer", "a string");
        set(cases, key, "a string", string("</s>"), expected);
    }
    for key in ["add_bos_token", "add_eos_token"] {
        let expected = wrong_type(key, "a boolean", "an integer");
        set(cases, key, "a number", u32(1), expected);
        set(cases, key, "false", boolean(false), Outcome::Served);
    }
    let file = tiny().without("tokenizer.ggml.bos_token_id");
    cases.add(
        CLASS,
        "BOS added, but there is none",
        file.bytes(),
        Outcome::Served,
    );
}

fn bytes(cases: &mut Cases) {
    for name in [
        "<0x-1>", "<0xZZ>", "<0x1>", "<0x100>", "<0x+1>", "0x41", "<0x>", "<0X41>", "<0x41", "",
    ] {
        let file = renamed(258, name).set("tokenizer.ggml.token_type", typed(258, 6));
        let expected = Error::ByteToken {
            id: 258,
            found: name.to_owned(),
        };
        cases.add(
            CLASS,
            format!("a byte called {name:?}"),
            file.bytes(),
            expected,
        );
    }
    let good = renamed(258, "<0x0a>").set("tokenizer.ggml.token_type", typed(258, 6));
    let good = good.set("tokenizer.ggml.merges", strings(&["h e", "l l"]));
    cases.add(CLASS, "a byte", good.bytes(), Outcome::Served);
    for byte in *b" \n!az~" {
        let file = renamed(byte.into(), "no such byte");
        let expected = Error::MissingByte { byte };
        cases.add(CLASS, format!("no {byte:#x}"), file.bytes(), expected);
    }
    // Real vocabularies lack some of those that text hardly ever has.
    let file = renamed(4, "no such byte");
    cases.add(CLASS, "no 0x4", file.bytes(), Outcome::Served);
}

fn merges(cases: &mut Cases) {
    let joins_nothing = |merge: &str| Error::Merge {
        key: "tokenizer.ggml.merges".to_owned(),
        merge: merge.to_owned(),
    };
    for (merge, shown) in [
        ("he", "he "),
        ("", " "),
        (" ", "  "),
        ("h e ", "h e "),
        ("he ", "he "),
        (" he", " he "),
        ("he he", "he he"),
        ("hell hell", "hell hell"),
        ("zz z", "zz z"),
        ("h  e", "h  e"),
        ("\u{120} zzz", "\u{120} zzz"),
    ] {
        let file = tiny().set("tokenizer.ggml.merges", strings(&["h e", merge]));
        let expected = joins_nothing(shown);
        cases.add(CLASS, format!("merge {merge:?}"), file.bytes(), expected);
    }
    let long = "y".repeat(16 << 20);
    let file = tiny().set("tokenizer.ggml.merges", strings(&[&long]));
    let shown = format!("{}...", "y".repeat(80));
    cases.add(
        CLASS,
        "a merge of 16 MiB",
        file.bytes(),
        joins_nothing(&shown),
    );
    // Each needs the other's result first: neither is ever made, and nothing loops.
    let file = renamed(257, "el").set("tokenizer.ggml.merges", strings(&["he l", "h el"]));
    let mut names = tokens();
    names[256] = "he".to_owned();
    names[257] = "el".to_owned();
    names[258] = "hel".to_owned();
    let file = file.set("tokenizer.ggml.tokens", strings(&names));
    cases.add(
        CLASS,
        "merges that need each other",
        file.bytes(),
        Outcome::Served,
    );
}
