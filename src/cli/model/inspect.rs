//! `woollyctl model inspect`: what a model file is, and whether it runs.
//!
//! Invariant: what is true of a model is found out in `crate::model`; here it is told.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Map, Value, json};

use crate::cli::{Error, render};
use crate::config::ModelSource;
use crate::model::{self, Inspection, Sizes, Template};
use crate::tensor::Element;
use crate::weights::{self, Description};

#[derive(Debug, Args)]
#[command(after_help = "Example:
  woollyctl model inspect models/smollm2.gguf
  woollyctl model inspect models/smollm2.gguf --tensors

Reads headers, not weights. The exit code is 0 if the model runs, and 1 if not; the last line says why.")]
pub(in crate::cli) struct Inspect {
    /// The GGUF file, the first part of a split one, or a folder with safetensors files
    #[arg(value_name = "MODEL")]
    model: PathBuf,

    /// List every tensor
    #[arg(long)]
    tensors: bool,
}

pub(super) fn run(args: &Inspect, json: bool) -> Result<(), Error> {
    let path = &args.model;
    let source = ModelSource::at(path.clone());
    let description = weights::describe(&source).map_err(|problem| {
        let problem = model::Error::from(problem).in_file(path);
        Error::Failed(problem.to_string())
    })?;
    let Some(description) = description else {
        return Err(Error::Usage(format!("{} is no model", path.display())));
    };
    let mut found = model::inspect(&description);
    let problem = found.problem.take().map(|problem| problem.in_file(path));
    let problem = problem.map(|problem| problem.to_string());
    let mut out = io::stdout().lock();
    let mut object = object(&source, path, &description, &found);
    let types = types(&description);
    if json {
        object["runs"] = problem.is_none().into();
        object["problem"] = problem.clone().into();
        object["types"] = types.iter().map(Type::object).collect();
        object["tensors"] = tensors(&description);
        render::json_line(&mut out, &object)?;
    } else {
        render::fields(&mut out, &readable(object))?;
        writeln!(out)?;
        let rows: Vec<_> = types.iter().map(Type::row).collect();
        let head = ["TYPE", "TENSORS", "PARAMETERS", "SIZE"];
        render::table(&mut out, &head, &rows)?;
        if args.tensors {
            writeln!(out)?;
            let head = ["TENSOR", "DIMENSIONS", "TYPE"];
            render::table(&mut out, &head, &rows_of(&description))?;
        }
        let verdict = problem.as_deref().map_or("yes".to_owned(), |problem| {
            format!("no: {}", printable(problem))
        });
        writeln!(out, "\nruns: {verdict}")?;
    }
    match problem {
        None => Ok(()),
        Some(problem) => Err(Error::Failed(printable(&problem))),
    }
}

/// Text out of a file, which must not move the cursor or write lines of its own.
fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c.is_control() {
            true => out.extend(c.escape_default()),
            false => out.push(c),
        }
    }
    out
}

/// All but types and tensors. Numbers are numbers, and bytes are bytes.
fn object(
    source: &ModelSource,
    path: &Path,
    description: &Description,
    found: &Inspection,
) -> Value {
    let metadata = &description.metadata;
    let text = |key: &str| metadata.string(key).ok().flatten().map(str::to_owned);
    let stored = description.stored.iter();
    let mut object = json!({
        "model": path.display().to_string(),
        "name": text("general.name").or_else(|| weights::default_name(source)),
        "architecture": found.architecture,
        "parameters": stored.map(|tensor| parameters(&tensor.dimensions)).sum::<u64>(),
        "bytes": description.file_bytes,
        "sizes": found.sizes.as_ref().map(sizes),
        "tokenizer": {
            "model": text("tokenizer.ggml.model").unwrap_or_else(|| match source {
                ModelSource::Safetensors(_) => "tokenizer.json".to_owned(),
                _ => "none".to_owned(),
            }),
            "pre": text("tokenizer.ggml.pre"),
        },
        "chat_template": match &found.template {
            Template::Own(length) => json!({ "from": "file", "bytes": length }),
            Template::None => json!({ "from": "chatml" }),
            Template::Broken(problem) => json!({ "from": "file", "problem": problem }),
        },
        "memory": {},
    });
    if let Some(vocabulary) = &found.vocabulary {
        let tokenizer = &mut object["tokenizer"];
        tokenizer["entries"] = vocabulary.entries.into();
        tokenizer["bos"] = vocabulary.bos.clone().into();
        tokenizer["adds_bos"] = vocabulary.adds_bos.into();
        tokenizer["eos"] = vocabulary.eos.clone().into();
        tokenizer["adds_eos"] = vocabulary.adds_eos.into();
    }
    for element in Element::ALL {
        if let Some(memory) = found.memory_as(element) {
            object["memory"][element.name()] = json!({
                "weights": memory.weights,
                "kv_per_token": memory.kv_per_token,
                "kv_of_context": memory.kv_of_context,
            });
        }
    }
    object
}

fn sizes(sizes: &Sizes) -> Value {
    json!({
        "layers": sizes.layers,
        "hidden": sizes.hidden,
        "heads": sizes.heads,
        "kv_heads": sizes.kv_heads,
        "head_dim": sizes.head_dim,
        "feed_forward": sizes.feed_forward,
        "vocabulary": sizes.vocabulary,
        "context": sizes.context,
        "experts": sizes.experts.map(|(count, used)| json!({ "count": count, "used": used })),
        "window": sizes.window.map(|(positions, layers)| {
            json!({ "positions": positions, "layers": layers })
        }),
    })
}

/// For people: bytes with units, and text without control characters.
fn readable(mut object: Value) -> Value {
    let with_unit = |value: &mut Value| {
        if let Some(count) = value.as_u64() {
            *value = render::bytes(count).into();
        }
    };
    with_unit(&mut object["bytes"]);
    let memory = object["memory"].as_object_mut().map(Map::values_mut);
    for figures in memory.into_iter().flatten() {
        let figures = figures.as_object_mut().map(Map::values_mut);
        figures.into_iter().flatten().for_each(with_unit);
    }
    clean(&mut object);
    object
}

fn clean(value: &mut Value) {
    match value {
        Value::String(text) => *text = printable(text),
        Value::Object(object) => object.values_mut().for_each(clean),
        _ => {}
    }
}

fn parameters(dimensions: &[usize]) -> u64 {
    dimensions.iter().map(|&size| size as u64).product()
}

fn tensors(description: &Description) -> Value {
    let object = |tensor: &weights::Stored| {
        json!({
            "name": tensor.name,
            "dimensions": tensor.dimensions,
            "type": tensor.kind,
            "bytes": tensor.bytes,
        })
    };
    description.stored.iter().map(object).collect()
}

/// Dimensions in the file's order: the length of a row first.
fn rows_of(description: &Description) -> Vec<Vec<String>> {
    let row = |tensor: &weights::Stored| {
        let sizes: Vec<String> = tensor.dimensions.iter().map(ToString::to_string).collect();
        let name = printable(&tensor.name);
        vec![name, sizes.join(" x "), tensor.kind.to_owned()]
    };
    description.stored.iter().map(row).collect()
}

/// The tensors of one type together.
struct Type {
    name: &'static str,
    tensors: u64,
    parameters: u64,
    bytes: u64,
}

impl Type {
    fn object(&self) -> Value {
        json!({
            "type": self.name,
            "tensors": self.tensors,
            "parameters": self.parameters,
            "bytes": self.bytes,
        })
    }

    fn row(&self) -> Vec<String> {
        vec![
            self.name.to_owned(),
            self.tensors.to_string(),
            self.parameters.to_string(),
            render::bytes(self.bytes),
        ]
    }
}

fn types(description: &Description) -> Vec<Type> {
    let mut types: BTreeMap<&str, Type> = BTreeMap::new();
    for tensor in &description.stored {
        let of_kind = types.entry(tensor.kind).or_insert(Type {
            name: tensor.kind,
            tensors: 0,
            parameters: 0,
            bytes: 0,
        });
        of_kind.tensors += 1;
        of_kind.parameters += parameters(&tensor.dimensions);
        of_kind.bytes += tensor.bytes;
    }
    types.into_values().collect()
}
