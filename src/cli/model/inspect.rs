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
use crate::model::{self, Inspection, Sizes};
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
    let mut object = object(path, &description, &found);
    object["runs"] = problem.is_none().into();
    if json {
        object["problem"] = problem.clone().into();
        object["tensors"] = tensors(&description);
        render::json_line(&mut out, &object)?;
    } else {
        render::fields(&mut out, &readable(object))?;
        writeln!(out)?;
        let head = ["TYPE", "TENSORS", "PARAMETERS", "SIZE"];
        render::table(&mut out, &head, &types(&description))?;
        if args.tensors {
            writeln!(out)?;
            render::table(
                &mut out,
                &["TENSOR", "DIMENSIONS", "TYPE"],
                &rows(&description),
            )?;
        }
    }
    match problem {
        None => Ok(()),
        Some(problem) => Err(Error::Failed(problem)),
    }
}

/// All but the tensors. Numbers are numbers, and bytes are bytes.
fn object(path: &Path, description: &Description, found: &Inspection) -> Value {
    let metadata = &description.metadata;
    let text = |key: &str| metadata.string(key).ok().flatten();
    let mut object = json!({
        "model": path.display().to_string(),
        "name": text("general.name"),
        "architecture": found.architecture,
        "parameters": description.tensors.iter().map(|shape| parameters(&shape.dimensions)).sum::<u64>(),
        "bytes": description.stored.iter().map(|stored| stored.bytes).sum::<u64>(),
        "sizes": found.sizes.as_ref().map(sizes),
        "tokenizer": {
            "model": text("tokenizer.ggml.model"),
            "pre": text("tokenizer.ggml.pre"),
        },
        "chat_template": match found.template {
            Some(length) => format!("its own, {length} bytes"),
            None => "chatml".to_owned(),
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
    for memory in Element::ALL
        .into_iter()
        .filter_map(|element| found.memory_as(element))
    {
        let context = found.sizes.as_ref().map(|sizes| sizes.context as u64);
        object["memory"][memory.element.name()] = json!({
            "weights": memory.weights,
            "kv_per_token": memory.kv_per_token,
            "kv_of_context": context.map(|context| context * memory.kv_per_token),
        });
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
        "context": sizes.context,
        "experts": sizes.experts.map(|(count, used)| json!({ "count": count, "used": used })),
        "window": sizes.window.map(|(positions, layers)| {
            json!({ "positions": positions, "layers": layers })
        }),
    })
}

/// For people: bytes with units.
fn readable(mut object: Value) -> Value {
    let name = |value: &mut Value| {
        if let Some(count) = value.as_u64() {
            *value = render::bytes(count).into();
        }
    };
    name(&mut object["bytes"]);
    let memory = object["memory"].as_object_mut().map(Map::values_mut);
    for figures in memory.into_iter().flatten() {
        for figure in figures
            .as_object_mut()
            .map(Map::values_mut)
            .into_iter()
            .flatten()
        {
            name(figure);
        }
    }
    object
}

fn parameters(dimensions: &[usize]) -> u64 {
    dimensions.iter().map(|&size| size as u64).product()
}

/// Dimensions in the file's order: the length of a row first.
fn dimensions(dimensions: &[usize]) -> String {
    let sizes: Vec<String> = dimensions.iter().map(ToString::to_string).collect();
    sizes.join(" x ")
}

fn tensors(description: &Description) -> Value {
    let all = description.tensors.iter().zip(&description.stored);
    all.map(|(shape, stored)| {
        json!({ "name": shape.name, "dimensions": shape.dimensions, "type": stored.kind, "bytes": stored.bytes })
    })
    .collect()
}

fn rows(description: &Description) -> Vec<Vec<String>> {
    let all = description.tensors.iter().zip(&description.stored);
    all.map(|(shape, stored)| {
        vec![
            shape.name.clone(),
            dimensions(&shape.dimensions),
            stored.kind.to_owned(),
        ]
    })
    .collect()
}

/// One row for each type.
fn types(description: &Description) -> Vec<Vec<String>> {
    let mut types: BTreeMap<&str, (usize, u64, u64)> = BTreeMap::new();
    for (shape, stored) in description.tensors.iter().zip(&description.stored) {
        let (count, values, bytes) = types.entry(stored.kind).or_default();
        *count += 1;
        *values += parameters(&shape.dimensions);
        *bytes += stored.bytes;
    }
    let row = |(kind, (count, values, bytes)): (&str, (usize, u64, u64))| {
        vec![
            kind.to_owned(),
            count.to_string(),
            values.to_string(),
            render::bytes(bytes),
        ]
    };
    types.into_iter().map(row).collect()
}
