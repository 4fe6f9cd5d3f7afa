//! The load benchmark: everything between a model's file and a model that could answer.
//!
//! - `dequantize`: blocks of every type into memory that was touched before.
//! - `convert`: a model into its cache file against a copy of that file, and the memory it takes;
//!   `resident`: how that memory is told from the mapped source.
//! - `warm`: a start that finds its cache file.
//! - `synthetic`: random weights against writing as many bytes; `largest`: how many there can be before
//!   100 ms have passed.
//! - `report`: all of it, for people and for programs.

mod convert;
mod dequantize;
mod fill;
mod largest;
mod report;
mod resident;
mod synthetic;
mod warm;

use std::path::PathBuf;

use clap::Args;

pub(super) use convert::Convert;
pub(super) use warm::served;

use crate::cache::Directory;
use crate::config::{Config, ModelSource};

use super::Error;
use super::machine::Machine;
use super::scratch::Scratch;
use report::Report;

#[derive(Debug, Args)]
#[command(after_help = "Example:
  woollyctl bench load --model models/smollm2.gguf
  fast_fp32_benchmark load --model models/smollm2.gguf

Other programs on the machine change every figure but the ratios. Files are written below DIR and removed.")]
pub struct Load {
    /// Also measure the conversion and the start of this model: a GGUF file, the first part of a split one, or
    /// a folder with safetensors files
    #[arg(long, value_name = "MODEL")]
    model: Option<PathBuf>,

    /// Where files are written meanwhile; the cache directory of the configuration unless given
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,

    /// Few turns and small sizes: tells that it works, not how fast
    #[arg(long)]
    quick: bool,
}

/// How much is measured.
#[derive(Debug, Clone, Copy)]
struct Effort {
    /// Measurements of each kind.
    turns: usize,
    /// Values that dequantization gives per measurement.
    values: usize,
    /// Layers of the synthetic model that is compared with a fill; `None`: all of its preset.
    layers: Option<usize>,
    /// Bytes of the largest synthetic model that is tried.
    room: u64,
}

impl Effort {
    const FULL: Effort = Effort {
        turns: 5,
        // 64 MiB: more than the caches of one core hold.
        values: 16 << 20,
        layers: None,
        room: u64::MAX,
    };
    const QUICK: Effort = Effort {
        turns: 1,
        values: 16 << 10,
        layers: Some(1),
        room: 160 << 20,
    };
}

impl Load {
    pub(super) fn run(&self, words: &[&str], json: bool) -> Result<String, Error> {
        let effort = if self.quick {
            Effort::QUICK
        } else {
            Effort::FULL
        };
        let dir = match &self.dir {
            Some(dir) => dir.clone(),
            None => Config::load(None)?.cache.dir,
        };
        let model = self.model.as_deref().map(|model| {
            let path = model.canonicalize();
            path.map_err(Error::file("read", model))
        });
        let model = model.transpose()?;
        let directory = Directory::open(&dir)?;
        let scratch = Scratch::create(directory.path())?;

        let say = |what: &str| eprintln!("measuring {what}");
        say("dequantization");
        let dequantization = dequantize::measure(effort);
        let (conversion, start, refused) = match &model {
            None => (None, None, None),
            Some(model) => {
                say("conversion");
                let (conversion, cache_dir) = convert::measure(model, words, &scratch, effort)?;
                say("start");
                let source = ModelSource::at(model.clone());
                let start = warm::measure(source, &scratch.join(&cache_dir), effort);
                scratch.remove(&cache_dir);
                // What this version cannot run can still be converted.
                let (start, refused) = match start {
                    Ok(start) => (Some(start), None),
                    Err(Error::Model(reason)) => (None, Some(reason.to_string())),
                    Err(other) => return Err(other),
                };
                (Some(conversion), start, refused)
            }
        };
        say("synthetic weights");
        let generation = synthetic::measure(effort)?;
        say("the largest synthetic model");
        let largest = largest::measure(&scratch, effort)?;
        let report = Report {
            machine: Machine::this(),
            dequantization,
            conversion,
            start,
            refused,
            generation,
            largest,
        };
        Ok(if json {
            report.json()
        } else {
            report.markdown()
        })
    }
}
