//! `woollyctl cache warm`: converts a model ahead of time.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use crate::cli::interrupt::Interrupt;
use crate::cli::{Error, render};
use crate::tensor::Element;

use super::model;
use super::place::Place;

#[derive(Debug, Args)]
#[command(after_help = "Example:
  woollyctl cache warm models/smollm2.gguf --dir /var/cache/woolly

Ctrl-C stops the conversion and leaves nothing behind.")]
pub(in crate::cli) struct Warm {
    /// The GGUF file, the first part of a split one, or a folder with safetensors files
    #[arg(value_name = "MODEL")]
    model: PathBuf,

    /// Number type of the weights, f32 or bf16, instead of the configuration's
    #[arg(long, value_name = "TYPE")]
    weights: Option<Element>,

    #[command(flatten)]
    place: Place,
}

pub(super) fn run(args: &Warm, json: bool) -> Result<(), Error> {
    let cache = args.place.cache()?;
    let weights = match args.weights {
        Some(weights) => weights,
        None => args.place.weights()?,
    };
    let loaded = model::convert(&args.model, weights, &cache, &Interrupt::install()?)?;
    let report = &loaded.report;
    let seconds = report.elapsed.as_secs_f64();
    let (model, dir) = (args.model.display(), cache.dir.display());
    let mut out = io::stdout().lock();
    if json {
        let answer = json!({
            "model": model.to_string(),
            "dir": dir.to_string(),
            "from_cache": report.from_cache,
            "weights": weights.name(),
            "parameters": report.parameters,
            "bytes": report.bytes,
            "seconds": seconds,
            "fingerprint": loaded.fingerprint,
        });
        render::json_line(&mut out, &answer)?;
    } else {
        let size = render::bytes(report.bytes);
        let found = if report.from_cache {
            "was already there"
        } else {
            "is written"
        };
        writeln!(
            out,
            "the cache of {model} {found}: {size} in {dir} ({seconds:.2} s)"
        )?;
    }
    Ok(())
}
