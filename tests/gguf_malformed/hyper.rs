//! G: classes 72 to 77, sizes that make no sense and tensors that do not fit them.

use woolly::model::{Error, HyperProblem};
use woolly::weights;
use woolly::weights::dequant::TensorType;

use super::{Cases, Outcome};
use crate::support::gguf_file::STRING;
use crate::support::models::SUPPORTED;
use crate::support::tiny_llama::{Raw, TinyLlama, array, boolean, f32, i32, string, strings, u32};

const WIDTH: u64 = 1 << 20;

fn tiny() -> TinyLlama {
    TinyLlama::new(TensorType::Q2K)
}

fn hyper(key: &str, problem: HyperProblem) -> Outcome {
    let key = format!("llama.{key}");
    Error::Hyper { key, problem }.into()
}

fn shape(name: &str, found: &[usize], expected: &[usize]) -> Outcome {
    Error::TensorShape {
        name: format!("{name}.weight"),
        found: found.to_vec(),
        expected: expected.to_vec(),
    }
    .into()
}

fn missing(name: &str, columns: usize) -> Outcome {
    let name = name.to_owned();
    Error::MissingTensor { name, columns }.into()
}

fn unknown(name: &str) -> Outcome {
    let name = name.to_owned();
    Error::UnknownTensor { name }.into()
}

pub(super) fn cases() -> Cases {
    let mut cases = Cases::default();
    for key in keys() {
        sizes(&mut cases, key);
    }
    heads(&mut cases);
    numbers(&mut cases);
    experts(&mut cases);
    shapes(&mut cases);
    names(&mut cases);
    cases
}

/// A key that is a size, the largest that is read, and what comes of some values.
struct Size {
    key: &'static str,
    most: u64,
    one: Outcome,
    largest: Outcome,
    missing: Option<Outcome>,
}

fn keys() -> Vec<Size> {
    let divisor = |found, of| HyperProblem::Divisor { found, of };
    let declared = |declared| {
        Outcome::from(Error::VocabularySize {
            declared,
            rows: 261,
        })
    };
    vec![
        Size {
            key: "block_count",
            most: 1024,
            one: unknown("blk.1.attn_norm.weight"),
            largest: missing("blk.2.attn_norm.weight", 256),
            missing: None,
        },
        Size {
            key: "attention.head_count",
            most: WIDTH,
            one: hyper("attention.head_count_kv", divisor(2, 1)),
            largest: hyper("attention.head_count", divisor(1 << 20, 256)),
            missing: None,
        },
        Size {
            key: "attention.head_count_kv",
            most: WIDTH,
            one: shape("blk.0.attn_k", &[256, 128], &[256, 64]),
            largest: hyper("attention.head_count_kv", divisor(1 << 20, 4)),
            missing: Some(shape("blk.0.attn_k", &[256, 128], &[256, 256])),
        },
        Size {
            key: "embedding_length",
            most: WIDTH,
            one: hyper("attention.head_count", divisor(4, 1)),
            largest: hyper(
                "attention.head_count",
                HyperProblem::HeadTooWide {
                    found: 1 << 18,
                    most: 256,
                },
            ),
            missing: None,
        },
        Size {
            key: "vocab_size",
            most: 4 << 20,
            one: declared(1),
            largest: declared(4 << 20),
            missing: Some(Outcome::Served),
        },
        Size {
            key: "context_length",
            most: 16 << 20,
            one: Outcome::Served,
            largest: Outcome::Served,
            missing: None,
        },
        Size {
            key: "feed_forward_length",
            most: WIDTH,
            one: shape("blk.0.ffn_gate", &[256, 256], &[256, 1]),
            largest: shape("blk.0.ffn_gate", &[256, 256], &[256, 1 << 20]),
            missing: None,
        },
    ]
}

fn wrong_type(key: &str, found: &'static str) -> Outcome {
    weights::Error::KeyType {
        key: format!("llama.{key}"),
        expected: "a non-negative integer",
        found,
    }
    .into()
}

/// Values of another type for a size.
fn other_types() -> Vec<(Raw, &'static str)> {
    let integers = array(4, 2, &[1, 0, 0, 0, 1, 0, 0, 0]);
    vec![
        (i32(-1), "a negative integer"),
        (i32(i32::MIN), "a negative integer"),
        (f32(2.0), "a floating-point number"),
        (string("2"), "a string"),
        (boolean(true), "a boolean"),
        (integers, "an array of other integers"),
        (array(5, 1, &[2, 0, 0, 0]), "an array of 32-bit integers"),
        (strings(&["2"]), "an array of strings"),
    ]
}

fn sizes(cases: &mut Cases, size: Size) {
    let Size {
        key,
        most,
        one,
        largest,
        missing,
    } = size;
    let path = format!("llama.{key}");
    let mut add = |what: &str, value: Raw, expected: Outcome| {
        let file = tiny().set(&path, value);
        cases.add(72, format!("{key}: {what}"), file.bytes(), expected);
    };
    let range = |found| hyper(key, HyperProblem::Range { found, most });
    add("0", u32(0), range(0));
    add("1", u32(1), one);
    add("the most", u32(most as u32), largest);
    add("one more", u32(most as u32 + 1), range(most + 1));
    add("2^32-1", u32(u32::MAX), range(u32::MAX.into()));
    let huge = Raw(10, u64::MAX.to_le_bytes().to_vec());
    add("2^64-1", huge, range(u64::MAX));
    for (value, found) in other_types() {
        add(found, value, wrong_type(key, found));
    }
    let expected = missing.unwrap_or_else(|| {
        let key = path.clone();
        weights::Error::MissingKey { key }.into()
    });
    let file = tiny().without(&path);
    cases.add(72, format!("{key}: missing"), file.bytes(), expected);
}

fn heads(cases: &mut Cases) {
    let mut add = |key: &str, value: u32, expected: Outcome| {
        let file = tiny().set(&format!("llama.{key}"), u32(value));
        cases.add(73, format!("{key}: {value}"), file.bytes(), expected);
    };
    let heads = "attention.head_count";
    for found in [3, 5, 7, 257, 1_000] {
        let problem = HyperProblem::Divisor { found, of: 256 };
        add(heads, found as u32, hyper(heads, problem));
    }
    let kv = "attention.head_count_kv";
    for found in [3, 5, 8, 256] {
        let problem = HyperProblem::Divisor { found, of: 4 };
        add(kv, found as u32, hyper(kv, problem));
    }
    let values = "attention.value_length";
    for found in [1, 32, 128] {
        let problem = HyperProblem::ValueLength { found, keys: 64 };
        add(values, found as u32, hyper(values, problem));
    }
    let keys = "attention.key_length";
    add(
        keys,
        0,
        hyper(
            keys,
            HyperProblem::Range {
                found: 0,
                most: WIDTH,
            },
        ),
    );
    let problem = HyperProblem::HeadTooWide {
        found: 257,
        most: 256,
    };
    add(keys, 257, hyper(heads, problem));
    add(keys, 128, shape("blk.0.attn_q", &[256, 256], &[256, 512]));
}

fn numbers(cases: &mut Cases) {
    let mut add = |key: &str, value: Raw, expected: Outcome| {
        let what = format!("{key}: {:?}", value.1);
        let file = tiny().set(&format!("llama.{key}"), value);
        cases.add(74, what, file.bytes(), expected);
    };
    let key = "rope.dimension_count";
    for found in [1, 63, 65, 66, 1 << 20] {
        let problem = HyperProblem::RopeDimensions { found, head: 64 };
        add(key, u32(found as u32), hyper(key, problem));
    }
    let range = |found| HyperProblem::Range { found, most: WIDTH };
    add(key, u32(0), hyper(key, range(0)));
    add(key, u32(u32::MAX), hyper(key, range(u32::MAX.into())));

    let positive = [
        "attention.layer_norm_rms_epsilon",
        "rope.freq_base",
        "rope.scaling.factor",
        "rope.scale_linear",
    ];
    for key in positive {
        for found in [
            f32::NAN,
            f32::INFINITY,
            f32::NEG_INFINITY,
            0.0,
            -0.0,
            -1.0,
            -f32::MIN_POSITIVE,
        ] {
            add(
                key,
                f32(found),
                hyper(key, HyperProblem::NotPositive { found }),
            );
        }
        for (value, found) in [
            (
                Raw(12, 1f64.to_le_bytes().to_vec()),
                "a 64-bit floating-point number",
            ),
            (u32(1), "an integer"),
            (string("1"), "a string"),
        ] {
            let expected = weights::Error::KeyType {
                key: format!("llama.{key}"),
                expected: "a 32-bit floating-point number",
                found,
            };
            add(key, value, expected.into());
        }
    }
    for key in ["rope.scaling.factor", "rope.scale_linear"] {
        for found in [2.0, 0.5, 8.0] {
            // Positions are divided.
            add(key, f32(found), Outcome::Served);
        }
        add(key, f32(1.0), Outcome::Served);
    }
    let key = "rope.scaling.type";
    let long = "y".repeat(16 << 20);
    for (value, shown) in [
        ("Linear", "Linear".to_owned()),
        ("dynamic", "dynamic".to_owned()),
        ("", String::new()),
        (&long, format!("{}...", "y".repeat(80))),
    ] {
        let expected = hyper(key, HyperProblem::Scaling { found: shown });
        let file = tiny().set(&format!("llama.{key}"), string(value));
        let what = format!("{key} of {} bytes", value.len());
        cases.add(74, what, file.bytes(), expected);
    }
    let unscaled = tiny()
        .set("llama.rope.scaling.type", string("none"))
        .set("llama.rope.scaling.factor", f32(2.0));
    cases.add(74, "a factor of no type", unscaled.bytes(), Outcome::Served);
    let file = tiny().without("llama.attention.layer_norm_rms_epsilon");
    let key = "llama.attention.layer_norm_rms_epsilon".to_owned();
    let expected = weights::Error::MissingKey { key };
    cases.add(74, "no epsilon", file.bytes(), expected);
}

fn experts(cases: &mut Cases) {
    let (count_key, used_key) = ("llama.expert_count", "llama.expert_used_count");
    let too_many = HyperProblem::Range {
        found: u32::MAX.into(),
        most: 1024,
    };
    let no_router = Error::MissingTensor {
        name: "blk.0.ffn_gate_inp.weight".to_owned(),
        columns: 256,
    };
    for (count, expected) in [
        (0, Outcome::Served),
        (1, no_router.into()),
        (u32::MAX, hyper("expert_count", too_many)),
    ] {
        let file = tiny().set(count_key, u32(count));
        let file = file.set(used_key, u32(count.min(1)));
        cases.add(72, format!("expert_count: {count}"), file.bytes(), expected);
    }
    for (value, found) in other_types() {
        let file = tiny().set(count_key, value);
        let expected = wrong_type("expert_count", found);
        cases.add(72, format!("expert_count: {found}"), file.bytes(), expected);
    }
    for (count, used) in [(0, 1), (1, 2), (2, 3), (8, u32::MAX)] {
        let file = tiny().set(count_key, u32(count)).set(used_key, u32(used));
        let problem = HyperProblem::ExpertsUsed {
            used: used.into(),
            count: count.into(),
        };
        let expected = hyper("expert_used_count", problem);
        cases.add(75, format!("{used} of {count}"), file.bytes(), expected);
    }
    let file = tiny().set(used_key, u32(2));
    let problem = HyperProblem::ExpertsUsed { used: 2, count: 0 };
    cases.add(
        75,
        "2 of none",
        file.bytes(),
        hyper("expert_used_count", problem),
    );
    let file = tiny().set("llama.attention.sliding_window", u32(16));
    let problem = HyperProblem::SlidingWindow { found: 16 };
    let expected = hyper("attention.sliding_window", problem);
    cases.add(75, "a sliding window", file.bytes(), expected);
}

fn shapes(cases: &mut Cases) {
    for tensor in tiny().tensors {
        let dimensions: Vec<usize> = tensor.dimensions.iter().map(|&d| d as usize).collect();
        let name = tensor.name.trim_end_matches(".weight");
        let longer: Vec<usize> = [&[512], &dimensions[1..]].concat();
        let mut wrong = vec![longer];
        match *dimensions {
            [cols] => {
                wrong.push(vec![cols, 2]);
                // One row is no vector.
                wrong.push(vec![cols, 1]);
            }
            [cols, rows] => {
                wrong.push(vec![cols]);
                wrong.push(vec![cols, rows, 2]);
                // The rows of the embedding are the vocabulary's size.
                if name != "token_embd" {
                    wrong.push(vec![cols, rows + 1]);
                    wrong.push(vec![cols, rows - 1]);
                }
            }
            _ => panic!("{dimensions:?}"),
        }
        for found in wrong {
            let file = tiny().tensor(&tensor.name, |tensor| {
                tensor.dimensions = found.iter().map(|&d| d as u64).collect();
            });
            let expected = shape(name, &found, &dimensions);
            cases.add(76, format!("{name} {found:?}"), file.bytes(), expected);
        }
    }
    for rows in [260, 262] {
        let file = tiny().tensor("token_embd.weight", |tensor| {
            tensor.dimensions[1] = rows as u64;
        });
        let expected = Error::VocabularySize {
            declared: 261,
            rows,
        };
        cases.add(
            76,
            format!("embedding of {rows} rows"),
            file.bytes(),
            expected,
        );
        let file = file.without("llama.vocab_size");
        let expected = shape("output", &[256, 261], &[256, rows]);
        let what = format!("embedding of {rows} rows, no vocab_size");
        cases.add(76, what, file.bytes(), expected);
    }
    let file = tiny().without("llama.vocab_size");
    let file = file.without_tensor("output.weight");
    let file = file.tensor("token_embd.weight", |tensor| tensor.dimensions[1] = 260);
    let expected = Error::TooManyTokens {
        tokens: 261,
        rows: 260,
    };
    cases.add(76, "more tokens than rows", file.bytes(), expected);
    let trailing = tiny().tensor("blk.1.ffn_up.weight", |tensor| {
        tensor.dimensions.extend([1, 1]);
    });
    cases.add(
        76,
        "ones beyond the second",
        trailing.bytes(),
        Outcome::Served,
    );
    let rows = (4 << 20) + 1;
    let mut flat = tiny().without("llama.vocab_size");
    flat.tensors.truncate(1);
    flat.tensors[0].dimensions = vec![1, rows];
    flat.tensors[0].kind = TensorType::I8 as u32;
    let expected = Error::VocabularyRows {
        found: rows as usize,
        most: 4 << 20,
    };
    cases.add(76, "an embedding of too many rows", flat.bytes(), expected);
}

fn names(cases: &mut Cases) {
    for tensor in tiny().tensors {
        let file = tiny().without_tensor(&tensor.name);
        let expected = match tensor.name.as_str() {
            // The embedding is then the output matrix too.
            "output.weight" => Outcome::Served,
            name => missing(name, tensor.dimensions[0] as usize),
        };
        cases.add(77, format!("no {}", tensor.name), file.bytes(), expected);
    }
    for name in [
        "blk.2.attn_q.weight",
        "blk.0.ffn_gate_inp.weight",
        "blk.-1.attn_q.weight",
        "blk.00.attn_q.weight",
        "token_embd.bias",
        "x",
    ] {
        let mut file = tiny();
        let mut extra = file.tensors[2].clone();
        extra.name = name.to_owned();
        file.tensors.push(extra);
        cases.add(77, format!("{name} too"), file.bytes(), unknown(name));
    }
    let mut factors = tiny();
    let mut tensor = factors.tensors[1].clone();
    tensor.name = "rope_freqs.weight".to_owned();
    factors.tensors.push(tensor);
    let expected = shape("rope_freqs", &[256], &[32]);
    cases.add(
        77,
        "rope factors of another length",
        factors.bytes(),
        expected,
    );
    let file = tiny().set("general.architecture", string("gpt3"));
    let expected = Error::Architecture {
        found: "gpt3".to_owned(),
        supported: SUPPORTED.to_owned(),
    };
    cases.add(77, "another architecture", file.bytes(), expected);
    for (value, found) in [
        (u32(1), "an integer"),
        (array(STRING, 0, &[]), "an array of strings"),
    ] {
        let file = tiny().set("general.architecture", value);
        let expected = weights::Error::KeyType {
            key: "general.architecture".to_owned(),
            expected: "a string",
            found,
        };
        cases.add(
            77,
            format!("architecture as {found}"),
            file.bytes(),
            expected,
        );
    }
}
