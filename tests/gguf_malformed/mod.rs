//! Files that an enemy wrote: the 80 classes of malformed GGUF files, each with its own files and its own
//! error, within 64 MiB. Times are printed, not asserted: the machine may be busy.
//!
//! A case is a file's bytes and what must come of them. It goes the way of a model: header, sizes and
//! tensors, tokenizer, chat template. Cases that need a real file (FIFOs, files that change) are in `files`.

mod data;
mod files;
mod header;
mod hyper;
mod keys;
mod template;
mod tensors;
mod text;
mod values;

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use woolly::model;
use woolly::text::{self as text_of, ChatTemplate, Message, Tokenizer};
use woolly::weights::Shape;
use woolly::weights::gguf::{self, Header};

use crate::support::meter::peak_of;
use crate::torture::{Fault, Figure, right};

/// Most heap bytes that reading any of the files may take.
const BUDGET: usize = 64 << 20;

/// Where a file was refused, and why.
pub(crate) enum Refusal {
    Gguf(gguf::Error),
    Model(model::Error),
    Text(text_of::Error),
}

/// What must come of a file.
pub(crate) enum Outcome {
    Refused(Refusal),
    /// Odd, but it can be served.
    Served,
}

impl From<gguf::Error> for Outcome {
    fn from(error: gguf::Error) -> Self {
        Outcome::Refused(Refusal::Gguf(error))
    }
}

impl From<model::Error> for Outcome {
    fn from(error: model::Error) -> Self {
        Outcome::Refused(Refusal::Model(error))
    }
}

impl From<text_of::Error> for Outcome {
    fn from(error: text_of::Error) -> Self {
        Outcome::Refused(Refusal::Text(error))
    }
}

/// A tokenizer's error is the model's where the model asks for it.
impl From<woolly::weights::Error> for Outcome {
    fn from(error: woolly::weights::Error) -> Self {
        Outcome::from(model::Error::Weights(error))
    }
}

/// Errors of files and floats have no equality; what this prints of their fields does.
impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Outcome::Refused(Refusal::Gguf(error)) => write!(f, "gguf {error:?}"),
            Outcome::Refused(Refusal::Model(error)) => write!(f, "model {error:?}"),
            Outcome::Refused(Refusal::Text(error)) => write!(f, "text {error:?}"),
            Outcome::Served => f.write_str("served"),
        }
    }
}

/// One file.
pub(crate) struct Case {
    pub(crate) class: u32,
    /// What is wrong with it.
    pub(crate) what: String,
    pub(crate) bytes: Vec<u8>,
    pub(crate) expected: Outcome,
}

/// The cases of one group of classes.
#[derive(Default)]
pub(crate) struct Cases(Vec<Case>);

impl Cases {
    pub(crate) fn add(
        &mut self,
        class: u32,
        what: impl Into<String>,
        bytes: Vec<u8>,
        expected: impl Into<Outcome>,
    ) {
        self.0.push(Case {
            class,
            what: what.into(),
            bytes,
            expected: expected.into(),
        });
    }
}

/// The way of a model file up to its first prompt, without its weights.
pub(crate) fn serve(bytes: &[u8]) -> Result<(), Refusal> {
    let header = Header::read(bytes).map_err(Refusal::Gguf)?;
    let shapes: Vec<Shape> = header
        .tensors
        .iter()
        .map(|info| Shape::new(&info.name, &info.dimensions))
        .collect();
    model::accept(&header.metadata, &shapes).map_err(Refusal::Model)?;
    let tokenizer = Tokenizer::from_metadata(&header.metadata).map_err(Refusal::Text)?;
    let template = ChatTemplate::new(&header.metadata, None).map_err(Refusal::Text)?;
    let message = Message {
        role: "user".to_owned(),
        content: "hello </s>".to_owned(),
    };
    let prompt = template.encode(&tokenizer, &[message]);
    prompt.map(drop).map_err(Refusal::Text)
}

/// Runs every case and prints what the group took.
#[track_caller]
fn check(group: &'static str, cases: Cases) {
    let Cases(cases) = cases;
    let mut slowest = (Duration::ZERO, String::new());
    let mut largest = (0, String::new());
    let mut figure = Figure::new("R12", group);
    for case in &cases {
        let name = format!("class {}, {}", case.class, case.what);
        let start = Instant::now();
        let (found, peak) = peak_of(|| serve(&case.bytes));
        let time = start.elapsed();
        let found = match found {
            Ok(()) => Outcome::Served,
            Err(refusal) => Outcome::Refused(refusal),
        };
        // Or what its own size allows, where that is more.
        let budget = BUDGET.max(4 * case.bytes.len() + (16 << 20));
        figure.count(if found.to_string() != case.expected.to_string() {
            let expected = &case.expected;
            Err(Fault::Unnoticed(format!(
                "{name}: found {found}, expected {expected}"
            )))
        } else {
            right(peak <= budget, || format!("{name}: takes {peak} bytes"))
        });
        slowest = slowest.max((time, name.clone()));
        largest = largest.max((peak, name));
    }
    println!(
        "{group}: {} files, at most {:.1?} ({}) and {} KiB ({})",
        cases.len(),
        slowest.0,
        slowest.1,
        largest.0 >> 10,
        largest.1
    );
    figure.finish(cases.len());
}

#[test]
fn headers() {
    check("malformed files, classes 1 to 12", header::cases());
}

#[test]
fn keys_and_strings() {
    check("malformed files, classes 13 to 26", keys::cases());
}

#[test]
fn arrays_and_alignment() {
    check("malformed files, classes 27 to 43", values::cases());
}

#[test]
fn tensor_descriptions() {
    check("malformed files, classes 44 to 59", tensors::cases());
}

#[test]
fn data_sections() {
    check("malformed files, classes 60 to 68", data::cases());
}

#[test]
fn hyper_parameters_and_tensors() {
    check("malformed files, classes 72 to 77", hyper::cases());
}

#[test]
fn tokenizers() {
    check("malformed files, class 78", text::cases());
}

#[test]
fn chat_templates() {
    check("malformed files, class 79", template::cases());
}

#[test]
fn every_class_has_files() {
    let mut counts: BTreeMap<u32, usize> = files::COUNTS.into_iter().collect();
    for Cases(cases) in [
        header::cases(),
        keys::cases(),
        values::cases(),
        tensors::cases(),
        data::cases(),
        hyper::cases(),
        text::cases(),
        template::cases(),
    ] {
        for case in cases {
            *counts.entry(case.class).or_default() += 1;
        }
    }
    let classes: Vec<u32> = counts.keys().copied().collect();
    assert_eq!(classes, (1..=80).collect::<Vec<_>>());
    let total: usize = counts.values().sum();
    println!("{total} files in 80 classes");
    assert!(total >= 400, "only {total} files");
}
