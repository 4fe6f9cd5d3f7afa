//! Files made wrong at random, but not blindly: every change keeps most of a file's structure, so that it
//! gets far. None may make the program panic or take much memory, and what is accepted must be what it
//! says it is.
//!
//! `WOOLLY_MUTANTS` sets how many there are, `WOOLLY_MUTANT_SEED` where they begin: a failure prints the
//! seed of its file.

use std::panic::{AssertUnwindSafe, catch_unwind};

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use woolly::model;
use woolly::text::{ChatTemplate, Message, Tokenizer};
use woolly::weights::Shape;
use woolly::weights::dequant::TensorType;
use woolly::weights::gguf::{Header, TensorInfo};

use crate::support::meter::peak_of;
use crate::support::tiny_llama::{Raw, TinyLlama};
use crate::torture::{Figure, pick, right};

const MUTANTS: u64 = 10_000;
const SEED: u64 = 1;
/// Heap bytes beyond four times the file.
const BUDGET: usize = 64 << 20;
/// Longer prompts are not encoded: that takes some 150 bytes for each of theirs, whoever wrote the file.
const ENCODED: usize = 128 << 10;

/// How far the mutants came.
#[derive(Debug, Default)]
struct Reached {
    header: u64,
    sizes: u64,
    tokenizer: u64,
    prompt: u64,
    peak: usize,
}

#[test]
fn mutants_are_refused_or_are_what_they_say() {
    let number = |name: &str, otherwise| match std::env::var(name) {
        Ok(text) => text.parse().unwrap(),
        Err(_) => otherwise,
    };
    let first = number("WOOLLY_MUTANT_SEED", SEED);
    let count = number(
        "WOOLLY_MUTANTS",
        pick(MUTANTS as usize, 100_000, 1_000_000) as u64,
    );
    let bases: Vec<TinyLlama> = [
        TensorType::I8,
        TensorType::Q8_0,
        TensorType::Q4_0,
        TensorType::Q4K,
        TensorType::Iq1S,
        TensorType::Mxfp4,
    ]
    .map(TinyLlama::new)
    .into();
    let mut reached = Reached::default();
    let mut figure = Figure::new("R12", "mutants of small model files");
    for seed in first..first + count {
        let bytes = mutant(&bases, seed);
        let run = AssertUnwindSafe(|| serve(&bytes, &mut reached));
        let (outcome, peak) = peak_of(|| catch_unwind(run));
        reached.peak = reached.peak.max(peak);
        let held = outcome.is_ok() && peak <= BUDGET + 4 * bytes.len();
        figure.count(right(held, || match outcome {
            Ok(()) => format!("WOOLLY_MUTANT_SEED={seed} takes {peak} bytes"),
            Err(_) => format!("WOOLLY_MUTANT_SEED={seed} panics"),
        }));
    }
    figure.finish(count as usize);
    println!("{count} mutants from seed {first}: {reached:?}");
    if count >= MUTANTS {
        // Mutants that all fail at once would prove nothing.
        assert!(
            reached.header > count / 20 && reached.sizes > count / 50,
            "{reached:?}"
        );
        assert!(reached.tokenizer > 0 && reached.prompt > 0, "{reached:?}");
    }
}

/// The way of a file to its first prompt; the blocks of small tensors are converted too.
fn serve(bytes: &[u8], reached: &mut Reached) {
    let Ok(header) = Header::read(bytes) else {
        return;
    };
    reached.header += 1;
    check_tensors(bytes, &header.tensors);
    for info in &header.tensors {
        let values: usize = info.dimensions.iter().product();
        if values <= 1 << 17 {
            let mut out = vec![0.0; values];
            info.kind.dequantize(&bytes[info.bytes.clone()], &mut out);
        }
    }
    let shapes: Vec<Shape> = header
        .tensors
        .iter()
        .map(|info| Shape::new(&info.name, &info.dimensions))
        .collect();
    if model::accept(&header.metadata, &shapes).is_err() {
        return;
    }
    reached.sizes += 1;
    let Ok(tokenizer) = Tokenizer::from_metadata(&header.metadata) else {
        return;
    };
    reached.tokenizer += 1;
    let rows = shapes
        .iter()
        .find(|shape| shape.name == "token_embd.weight");
    assert!(tokenizer.vocab_size() <= rows.unwrap().dimensions[1]);
    let Ok(template) = ChatTemplate::new(&header.metadata, None) else {
        return;
    };
    let message = Message {
        role: "user".to_owned(),
        content: "hello </s> \u{fdd0}".to_owned(),
    };
    let messages = [message];
    let Ok(text) = template.render(&tokenizer, &messages) else {
        return;
    };
    if text.len() > ENCODED {
        return;
    }
    let Ok(ids) = template.encode(&tokenizer, &messages) else {
        return;
    };
    assert!(ids.iter().all(|&id| (id as usize) < tokenizer.vocab_size()));
    let ends = tokenizer.end_tokens();
    assert!(
        ends.iter()
            .all(|&id| (id as usize) < tokenizer.vocab_size())
    );
    reached.prompt += 1;
}

/// Ranges lie in the file, in order, without overlap, each as long as its values need.
fn check_tensors(bytes: &[u8], tensors: &[TensorInfo]) {
    let mut end = 0;
    for info in tensors {
        assert!(info.bytes.start >= end && info.bytes.end <= bytes.len());
        end = info.bytes.end;
        let values: usize = info.dimensions.iter().product();
        let blocks = values / info.kind.block_values();
        assert_eq!(info.bytes.len(), blocks * info.kind.block_bytes());
        assert!((1..=4).contains(&info.dimensions.len()) && values > 0);
    }
}

/// The file of a seed: one to four changes to one of the bases.
fn mutant(bases: &[TinyLlama], seed: u64) -> Vec<u8> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut model = bases[random.random_range(0..bases.len())].clone();
    for _ in 0..random.random_range(0..4) {
        match random.random_range(0..3) {
            0 => change_key(&mut model, &mut random),
            1 => change_value(&mut model, &mut random),
            _ => change_tensor(&mut model, &mut random),
        }
    }
    let (header, data) = model.header();
    // What the tensors are said to need may be terabytes.
    let data = data.min(2 << 20) as usize;
    let mut bytes = header;
    let start = bytes.len();
    bytes.resize(start + data, random.random());
    for _ in 0..random.random_range(0..3) {
        change_bytes(&mut bytes, start, &mut random);
    }
    bytes
}

fn change_key(model: &mut TinyLlama, random: &mut impl Rng) {
    let pairs = &mut model.pairs;
    let at = random.random_range(0..pairs.len());
    let other = random.random_range(0..pairs.len());
    match random.random_range(0..6) {
        0 => drop(pairs.remove(at)),
        1 => pairs.push(pairs[at].clone()),
        2 => pairs.swap(at, other),
        3 => pairs[at].1 = pairs[other].1.clone(),
        4 => pairs[at].0 = "k".repeat(random.random_range(0..100)),
        _ => {
            let key = &mut pairs[at].0;
            let position = key.floor_char_boundary(random.random_range(0..=key.len()));
            key.insert(position, ['\0', 'x', 'ä', '/'][position % 4]);
        }
    }
}

fn change_value(model: &mut TinyLlama, random: &mut impl Rng) {
    let at = random.random_range(0..model.pairs.len());
    let Raw(kind, value) = &mut model.pairs[at].1;
    match random.random_range(0..6) {
        0 => *kind = random.random_range(0..14),
        1 => value.truncate(random.random_range(0..=value.len())),
        2 => value.extend([0; 9]),
        3 => {
            // A length or a count stands at the beginning of texts and arrays.
            let number = special(random).to_le_bytes();
            let start = random.random_range(0..=value.len().min(12));
            for (byte, new) in value[start..].iter_mut().zip(number) {
                *byte = new;
            }
        }
        4 => flip(value, random),
        _ => {
            let word = TEMPLATES[random.random_range(0..TEMPLATES.len())];
            let key = "tokenizer.chat_template";
            *model = model
                .clone()
                .set(key, crate::support::tiny_llama::string(word));
        }
    }
}

/// Pieces of templates, good and bad.
const TEMPLATES: [&str; 8] = [
    "{{ messages[0].content }}",
    "{% set ns = namespace(x=[]) %}{% for m in messages %}{% set ns.x = ns.x + [m] %}{% endfor %}",
    "{% set ns = namespace() %}{% set ns.x = [ns] %}{{ ns }}",
    "{% for i in range(100000) %}{{ i }}{% endfor %}",
    "{{ 'a' * 100000 }}",
    "{% macro m(x) %}{{ m([x]) }}{% endmacro %}{{ m(1) }}",
    "{{ bos_token ~ eos_token | upper }}",
    "{%",
];

fn change_tensor(model: &mut TinyLlama, random: &mut impl Rng) {
    let at = random.random_range(0..model.tensors.len());
    let other = random.random_range(0..model.tensors.len());
    match random.random_range(0..9) {
        0 => drop(model.tensors.remove(at)),
        1 => model.tensors.push(model.tensors[at].clone()),
        2 => model.tensors.swap(at, other),
        3 => model.tensors[at].kind = random.random_range(0..45),
        4 => model.tensors[at].offset = Some(special(random)),
        5 => model.tensors[at].name = "n".repeat(random.random_range(0..70)),
        6 => model.tensors[at].dimensions.push(special(random)),
        7 => drop(model.tensors[at].dimensions.pop()),
        _ => {
            let axis = random.random_range(0..2) % model.tensors[at].dimensions.len().max(1);
            if let Some(dimension) = model.tensors[at].dimensions.get_mut(axis) {
                *dimension = special(random);
            }
        }
    }
    if model.tensors.is_empty() {
        *model = TinyLlama::new(TensorType::Q4_0);
    }
}

fn change_bytes(bytes: &mut Vec<u8>, header: usize, random: &mut impl Rng) {
    let header = header.min(bytes.len());
    let within = random.random_range(0..header.max(1));
    match random.random_range(0..6) {
        0 => bytes.truncate(random.random_range(0..=bytes.len())),
        1 => bytes.extend([0; 40]),
        2 => flip(&mut bytes[..header], random),
        3 => {
            let number = special(random).to_le_bytes();
            for (byte, new) in bytes.iter_mut().skip(within).zip(number) {
                *byte = new;
            }
        }
        4 => {
            // A piece of the header, elsewhere in the header.
            let length = random
                .random_range(0..64)
                .min(header.saturating_sub(within));
            let piece = bytes[within..within + length].to_vec();
            let to = random.random_range(0..=header - length);
            bytes[to..to + length].copy_from_slice(&piece);
        }
        _ => {
            let length = random
                .random_range(0..64)
                .min(header.saturating_sub(within));
            bytes.drain(within..within + length);
        }
    }
}

fn flip(bytes: &mut [u8], random: &mut impl Rng) {
    if !bytes.is_empty() {
        let at = random.random_range(0..bytes.len());
        bytes[at] ^= 1 << random.random_range(0..8);
    }
}

/// Numbers at which readers go wrong, and any others.
fn special(random: &mut impl Rng) -> u64 {
    let around = [
        0,
        1,
        32,
        256,
        1 << 16,
        1 << 31,
        1 << 32,
        1 << 62,
        1 << 63,
        u64::MAX,
    ];
    let number = around[random.random_range(0..around.len())];
    match random.random_range(0..4) {
        0 => random.random(),
        1 => number.wrapping_sub(1),
        2 => number.wrapping_add(1),
        _ => number,
    }
}
