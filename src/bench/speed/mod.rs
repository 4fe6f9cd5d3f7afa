//! The speed benchmark: prompts, generation, batches and depths on one model, each figure beside what the
//! machine could give in the same moment.
//!
//! - `workload`: what is run; `bench`: running it; `limits`: what it could take at least.
//! - `fifteen`: the largest model that reaches 15 tokens per second.
//! - `plot`: a picture; `report`: tables in the shapes of llama-bench and llama-batched-bench, and JSON.

mod bench;
mod fifteen;
mod limits;
mod plot;
mod report;
mod workload;

use std::path::PathBuf;

use clap::Args;

use super::Error;
use super::load::served;
use super::machine::Machine;
use crate::compute::Isa;
use crate::config::{self, Config, ModelSource, Preset};
use crate::model::{LoadedModel, load};
use crate::tensor::{Element, Elements};
use bench::Bench;
use report::Report;
use workload::Workload;

#[derive(Debug, Args)]
#[command(after_help = "Example:
  fast_fp32_benchmark --model models/smollm2.gguf
  woollyctl bench speed --model models/smollm2.gguf --only batch

Without a model, synthetic weights of the sizes of SmolLM2-135M. Neighbours on the machine take their part: the
limit is measured beside each figure, and the share is what can be compared.")]
pub struct Speed {
    /// A GGUF file, the first part of a split one, or a folder with safetensors files
    #[arg(long, value_name = "MODEL")]
    model: Option<PathBuf>,

    /// Where the cache file of the model is or is put; the cache directory of the configuration unless given
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,

    /// Threads; all that the process may use unless given
    #[arg(long, value_name = "N")]
    threads: Option<usize>,

    /// Instruction set: auto, avx512, avx2 or portable
    #[arg(long, value_name = "ISA", default_value = "auto")]
    isa: String,

    /// Only workloads of this kind
    #[arg(long, value_name = "KIND")]
    only: Option<workload::Kind>,

    /// Measurements of each workload
    #[arg(long, value_name = "N", default_value_t = 5)]
    turns: usize,

    /// Number type of the weights: f32 or bf16
    #[arg(long, value_name = "TYPE", default_value = "f32")]
    weights: Element,

    /// Number type of keys and values: f32 or bf16
    #[arg(long, value_name = "TYPE", default_value = "f32")]
    kv: Element,

    /// Draw throughput over batch and depth into this SVG file
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,

    /// One turn and small sizes: tells that it works, not how fast
    #[arg(long)]
    quick: bool,
}

impl Speed {
    pub(super) fn run(&self, json: bool) -> Result<String, Error> {
        let machine = Machine::this();
        let threads = self.threads.unwrap_or(machine.cpus).max(1);
        let isa = Isa::by_name(&self.isa).map_err(crate::model::Error::from)?;
        let mut cache = Config::load(None)?.cache;
        cache.dir = self.dir.clone().unwrap_or(cache.dir);
        let loaded = self.load(&cache)?;
        let workloads: Vec<Workload> = workload::all(self.quick)
            .into_iter()
            .filter(|workload| self.only.is_none_or(|kind| workload.kind == kind))
            .filter(|workload| workload.positions() <= loaded.model.context())
            .collect();
        let turns = if self.quick { 1 } else { self.turns.max(1) };
        let mut bench = Bench::new(&loaded.model, isa, threads, &workloads, self.quick)?;
        let check = bench.check();
        let mut figures = vec![];
        for workload in &workloads {
            eprintln!("measuring {workload}");
            figures.push(bench.measure(workload, turns)?);
        }
        if let Some(path) = &self.plot {
            let picture = plot::svg(&loaded.info.name, &figures);
            std::fs::write(path, picture).map_err(Error::file("write", path))?;
        }
        let fifteen = match self.model.is_none() && self.only.is_none() && !self.quick {
            true => {
                eprintln!("measuring the largest model with 15 tokens per second");
                fifteen::measure(isa, threads, &cache)?
            }
            false => None,
        };
        let report = Report {
            machine,
            threads,
            isa: isa.name(),
            model: loaded.info.name.clone(),
            parameters: loaded.report.parameters,
            weight_bytes: loaded.report.bytes,
            kv_bytes: bench.kv_bytes(),
            peak_bytes: report::peak_bytes(),
            ready_seconds: loaded.times.total.as_secs_f64(),
            from_cache: loaded.report.from_cache,
            check,
            fifteen,
            figures,
        };
        Ok(if json {
            report.json()
        } else {
            report.markdown()
        })
    }

    fn load(&self, cache: &config::Cache) -> Result<LoadedModel, Error> {
        let source = match &self.model {
            None => {
                let preset = if self.quick {
                    Preset::Tiny
                } else {
                    Preset::M135
                };
                ModelSource::Synthetic(preset.sizes())
            }
            Some(path) => ModelSource::at(path.clone()),
        };
        let elements = Elements {
            weights: self.weights,
            kv: self.kv,
        };
        Ok(load(&served(source), elements, cache, &())?)
    }
}
