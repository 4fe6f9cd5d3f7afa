//! The limits of this machine: what a kernel can reach at most, with one thread and with all.
//!
//! - `limits`: the measurements; `report`: tables and JSON.

mod limits;
mod report;

pub(super) use limits::{multiply_rate, read_rate, readable};

use clap::Args;

use super::Error;
use super::machine::Machine;
use report::Report;

#[derive(Debug, Args)]
#[command(after_help = "Example:
  woollyctl bench roofline
  fast_fp32_benchmark roofline

Neighbours on the machine take their part of the bandwidth: compare only with what was measured in the same minute.")]
pub struct Roofline {
    /// Few turns and small sizes: tells that it works, not how fast
    #[arg(long)]
    quick: bool,
}

/// How much is measured.
#[derive(Debug, Clone, Copy)]
struct Effort {
    turns: usize,
    /// Values that are read in one turn.
    values: usize,
    /// Phases of the team in one turn.
    phases: usize,
    /// Rounds of multiply-adds in one turn.
    rounds: usize,
}

impl Effort {
    const FULL: Effort = Effort {
        turns: 9,
        // 512 MiB: no cache holds it.
        values: 128 << 20,
        phases: 200_000,
        // More than ten milliseconds, beside which the waking of a thread is little.
        rounds: 2_000_000,
    };
    const QUICK: Effort = Effort {
        turns: 1,
        values: 1 << 20,
        phases: 1000,
        rounds: 1000,
    };
}

impl Roofline {
    pub(super) fn run(&self, json: bool) -> Result<String, Error> {
        let effort = if self.quick {
            Effort::QUICK
        } else {
            Effort::FULL
        };
        let machine = Machine::this();
        let threads = match machine.cpus {
            1 => vec![1],
            all => vec![1, all],
        };
        let limits: Result<_, Error> = threads
            .into_iter()
            .map(|threads| limits::measure(threads, effort))
            .collect();
        let report = Report {
            machine,
            limits: limits?,
        };
        Ok(if json {
            report.json()
        } else {
            report.markdown()
        })
    }
}
