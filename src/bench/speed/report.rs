//! The speed benchmark's result, in the shapes of llama-bench and llama-batched-bench and as JSON.

use std::hint::black_box;

use serde::Serialize;

use super::fifteen::{Fifteen, WANTED};
use super::workload::{Kind, Workload};
use crate::bench::machine::Machine;
use crate::bench::samples::{Spread, timed};
use crate::bench::table::{Table, millions, spread};
use crate::compute::matmul::{Product, Store};
use crate::compute::{Isa, Lanes, Panels};
use crate::tensor::{PANEL_ROWS, Values};

#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) machine: Machine,
    pub(super) threads: usize,
    pub(super) isa: &'static str,
    pub(super) model: String,
    pub(super) parameters: u64,
    pub(super) weight_bytes: u64,
    pub(super) kv_bytes: u64,
    /// Most memory that the process had, mapped files included.
    pub(super) peak_bytes: Option<u64>,
    /// From the start of loading to a model that could answer.
    pub(super) ready_seconds: f64,
    pub(super) from_cache: bool,
    pub(super) check: Check,
    /// Only measured with synthetic weights, where all workloads are.
    pub(super) fifteen: Option<Fifteen>,
    pub(super) figures: Vec<Figure>,
}

/// One workload.
#[derive(Debug, Serialize)]
pub(super) struct Figure {
    #[serde(flatten)]
    pub(super) workload: Workload,
    pub(super) name: String,
    pub(super) tokens_per_second: Spread,
    /// What reading and multiplying of the same moment would allow.
    pub(super) limit_tokens_per_second: Spread,
    pub(super) share_of_limit: Spread,
    /// Share of the threads' time outside of the team's chunks: waiting for each other, and what one thread does
    /// alone, such as drawing a token.
    pub(super) outside_share: Spread,
}

/// Whether the kernels of the instruction set really ran.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Check {
    /// One product gave the same bits as plain Rust.
    pub(super) equal_bits: bool,
    /// How many times as fast as plain Rust it was.
    pub(super) times_portable: f64,
}

/// A product that stays in the first caches.
const ROWS: usize = 64;
const COLS: usize = 256;
const TOKENS: usize = 8;
const REPEATS: usize = 20;

impl Check {
    pub(super) fn run(isa: Isa) -> Check {
        let data: Vec<f32> = (0..ROWS * COLS)
            .map(|i| (i % 97) as f32 / 50.0 - 1.0)
            .collect();
        let weights = Panels::new(Values::F32(&data), ROWS, COLS);
        let mut x = Lanes::new(COLS, TOKENS);
        x.values_mut()
            .iter_mut()
            .enumerate()
            .for_each(|(i, x)| *x = (i % 89) as f32 / 45.0 - 1.0);
        let on = |isa: Isa| -> (Vec<u32>, f64) {
            let mut out = vec![0.0; ROWS / PANEL_ROWS * TOKENS * PANEL_ROWS];
            let mut once = || {
                let product = Product {
                    isa,
                    weights,
                    x: x.view(),
                    out_block: TOKENS * PANEL_ROWS,
                    store: Store::Replace,
                };
                product.run(0, black_box(&mut out), None);
            };
            once();
            let ((), seconds) = timed(|| (0..REPEATS).for_each(|_| once()));
            (out.iter().map(|value| value.to_bits()).collect(), seconds)
        };
        let (portable, slow) = on(Isa::Portable);
        let (bits, fast) = on(isa);
        Check {
            equal_bits: bits == portable,
            times_portable: slow / fast,
        }
    }

    fn sentence(&self, isa: &str) -> String {
        let bits = match self.equal_bits {
            true => "the same bits as",
            false => "OTHER BITS than",
        };
        format!(
            "kernels: {isa}, {bits} plain Rust and {:.0} times its speed",
            self.times_portable
        )
    }
}

impl Report {
    pub(super) fn json(&self) -> String {
        format!("{}\n", serde_json::json!(self))
    }

    pub(super) fn markdown(&self) -> String {
        let Machine { cpus, .. } = self.machine;
        let mib = |bytes: u64| format!("{} MiB", bytes >> 20);
        let mut text = format!(
            "{}: {} parameters, weights {}, KV {}, peak memory {}\nready after {:.3} s ({}); {cpus} CPUs, {} threads\n{}\n",
            self.model,
            millions(self.parameters) + " million",
            mib(self.weight_bytes),
            mib(self.kv_bytes),
            self.peak_bytes.map_or_else(|| "unknown".to_owned(), mib),
            self.ready_seconds,
            if self.from_cache {
                "from the cache"
            } else {
                "made"
            },
            self.threads,
            self.check.sentence(self.isa),
        );
        if let Some(fifteen) = &self.fifteen {
            text += &format!(
                "largest model with {WANTED} tokens per second: {} million parameters ({:.1} t/s); the bandwidth allows {} million\n",
                millions(fifteen.parameters),
                fifteen.tokens_per_second,
                millions(fifteen.limit_parameters),
            );
        }
        let single: Vec<&Figure> = self.of(|kind| kind != Kind::Batch);
        if !single.is_empty() {
            text.push('\n');
            text += &self.single(&single).markdown();
        }
        let batches: Vec<&Figure> = self.of(|kind| kind == Kind::Batch);
        if !batches.is_empty() {
            text.push('\n');
            text += &batched(&batches).markdown();
        }
        text
    }

    fn of(&self, wanted: impl Fn(Kind) -> bool) -> Vec<&Figure> {
        self.figures
            .iter()
            .filter(|figure| wanted(figure.workload.kind))
            .collect()
    }

    /// As llama-bench prints it, with the limit behind.
    fn single(&self, figures: &[&Figure]) -> Table {
        let head = [
            "model",
            "size MiB",
            "params M",
            "backend",
            "threads",
            "test",
            "t/s",
            "limit t/s",
            "share",
            "outside",
        ];
        let mut table = Table::new("Prompts, generation, depth", &head);
        table.rows.extend(figures.iter().map(|figure| {
            vec![
                self.model.clone(),
                (self.weight_bytes >> 20).to_string(),
                millions(self.parameters),
                self.isa.to_owned(),
                self.threads.to_string(),
                figure.name.clone(),
                spread(figure.tokens_per_second),
                spread(figure.limit_tokens_per_second),
                spread(figure.share_of_limit),
                spread(figure.outside_share),
            ]
        }));
        table
    }
}

/// The generation half of llama-batched-bench's table, with the limit behind.
fn batched(figures: &[&Figure]) -> Table {
    let head = [
        "TG",
        "B",
        "N_KV",
        "T_TG s",
        "S_TG t/s",
        "limit t/s",
        "share",
        "outside",
    ];
    let mut table = Table::new("Batches", &head);
    table.rows.extend(figures.iter().map(|figure| {
        let Workload {
            sequences, steps, ..
        } = figure.workload;
        let seconds = figure.workload.tokens() as f64 / figure.tokens_per_second.median;
        vec![
            steps.to_string(),
            sequences.to_string(),
            (sequences * figure.workload.positions()).to_string(),
            format!("{seconds:.3}"),
            spread(figure.tokens_per_second),
            spread(figure.limit_tokens_per_second),
            spread(figure.share_of_limit),
            spread(figure.outside_share),
        ]
    }));
    table
}

/// `VmHWM` of this process.
pub(super) fn peak_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fastest_instruction_set_passes_its_check_and_plain_rust_is_not_faster_than_itself() {
        let isa = Isa::best();
        let check = Check::run(isa);
        assert!(check.equal_bits);
        assert!(
            check
                .sentence(isa.name())
                .contains("the same bits as plain Rust")
        );
    }

    #[test]
    fn other_bits_are_shouted() {
        let check = Check {
            equal_bits: false,
            times_portable: 20.4,
        };
        assert_eq!(
            check.sentence("avx2"),
            "kernels: avx2, OTHER BITS than plain Rust and 20 times its speed"
        );
    }
}
