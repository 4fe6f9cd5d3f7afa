//! Running workloads on a model, without queue and text; tokens are drawn, greedily, where one sequence generates.

use std::hint::black_box;
use std::sync::Arc;

use memmap2::MmapMut;
use serde::Serialize;

use super::limits::{Rates, Sizes};
use super::report::{Check, Figure};
use super::workload::{Kind, Workload};
use crate::bench::Error;
use crate::bench::roofline::readable;
use crate::bench::samples::{Spread, timed};
use crate::compute::{Isa, Team};
use crate::engine::{Sampler, Scratch};
use crate::job::{SamplingParams, Shaping};
use crate::model::{BatchToken, BlockTable, KvPool, Model, PerReach, Runner};

/// Values that are read to measure the bandwidth: 512 MiB, or what tells that it works.
const READ_VALUES: usize = 128 << 20;
const READ_VALUES_QUICK: usize = 1 << 20;
/// Rounds of multiply-adds: more than ten milliseconds, beside which the waking of a thread is little.
const ROUNDS: usize = 2_000_000;
const ROUNDS_QUICK: usize = 1000;

pub(super) struct Bench {
    model: Arc<Model>,
    isa: Isa,
    runner: Runner,
    team: Team,
    memory: MmapMut,
    rounds: usize,
    kv_blocks: usize,
    sampler: Sampler,
    scratch: Scratch,
}

/// One turn.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Turn {
    pub(super) tokens_per_second: f64,
    pub(super) limit_tokens_per_second: f64,
    pub(super) outside_share: f64,
}

impl Bench {
    /// With room for the largest of the workloads.
    pub(super) fn new(
        model: &Arc<Model>,
        isa: Isa,
        threads: usize,
        workloads: &[Workload],
        quick: bool,
    ) -> Result<Self, Error> {
        let blocks =
            |workload: &Workload| workload.sequences * KvPool::blocks_for(workload.positions());
        let kv_blocks = workloads.iter().map(blocks).max().unwrap_or(1);
        let tokens = workloads
            .iter()
            .map(Workload::step_tokens)
            .max()
            .unwrap_or(1);
        let (values, rounds) = match quick {
            true => (READ_VALUES_QUICK, ROUNDS_QUICK),
            false => (READ_VALUES, ROUNDS),
        };
        let blocks = PerReach {
            all: kv_blocks,
            window: kv_blocks,
        };
        Ok(Bench {
            runner: Runner::new(model.clone(), isa, 0, threads, blocks, tokens)?,
            team: Team::new("woolly-roofline", threads).map_err(Error::system("start a thread"))?,
            memory: readable(values)?,
            model: model.clone(),
            isa,
            rounds,
            kv_blocks,
            sampler: Sampler::new(&greedy(), 0),
            scratch: Scratch::default(),
        })
    }

    pub(super) fn kv_bytes(&self) -> u64 {
        (self.kv_blocks * self.model.kv_block_bytes()) as u64
    }

    /// Limit and workload in turns; a first turn, which touches memory, does not count.
    pub(super) fn measure(&mut self, workload: &Workload, turns: usize) -> Result<Figure, Error> {
        let demand = Sizes::of(&self.model).step(workload);
        self.run(workload);
        let mut measured: Vec<Turn> = vec![];
        for _ in 0..turns {
            // What the machine can do flips from one second to the next: looked at before and after.
            let before = self.rates();
            let busy = self.runner.busy();
            let seconds = self.run(workload);
            let busy = (self.runner.busy() - busy).as_secs_f64();
            let rates = before.or(self.rates());
            let least = rates.least(demand) * workload.steps as f64;
            measured.push(Turn {
                tokens_per_second: workload.tokens() as f64 / seconds,
                limit_tokens_per_second: workload.tokens() as f64 / least,
                outside_share: 1.0 - busy / (self.team.threads() as f64 * seconds),
            });
        }
        let of = |value: fn(&Turn) -> f64| -> Spread {
            Spread::of(&measured.iter().map(value).collect::<Vec<_>>())
        };
        Ok(Figure {
            workload: *workload,
            name: workload.to_string(),
            tokens_per_second: of(|turn| turn.tokens_per_second),
            limit_tokens_per_second: of(|turn| turn.limit_tokens_per_second),
            outside_share: of(|turn| turn.outside_share),
            share_of_limit: of(|turn| turn.tokens_per_second / turn.limit_tokens_per_second),
        })
    }

    fn rates(&mut self) -> Rates {
        Rates::now(&self.team, self.isa, &mut self.memory, self.rounds)
    }

    /// Seconds of all steps.
    fn run(&mut self, workload: &Workload) -> f64 {
        let mut tables: Vec<BlockTable> = vec![];
        for _ in 0..workload.sequences {
            let mut table = BlockTable::default();
            let grown = self.runner.kv().grow_both(&mut table, workload.positions());
            assert!(grown, "the pool has room for the largest workload");
            tables.push(table);
        }
        let borrowed: Vec<&BlockTable> = tables.iter().collect();
        let vocab = self.model.vocab();
        let mut batch = vec![];
        let ((), seconds) = timed(|| {
            for step in 0..workload.steps {
                batch.clear();
                for table in 0..workload.sequences {
                    batch.extend((0..workload.together).map(|token| {
                        let position = workload.depth + step * workload.together + token;
                        BatchToken {
                            id: ((position * 7 + table * 31) % vocab) as u32,
                            position,
                            table,
                            logits: token + 1 == workload.together,
                        }
                    }));
                }
                let logits = self.runner.forward(&borrowed, &batch);
                if workload.kind == Kind::Generate {
                    let drawn = self.sampler.draw(logits, &[], step, &mut self.scratch);
                    let _ = black_box(drawn);
                } else {
                    black_box(logits);
                }
            }
        });
        for mut table in tables {
            self.runner.kv().release(&mut table);
        }
        seconds
    }

    /// Whether the instruction set that was asked for is the one that runs: its multiply-adds are counted
    /// against those of plain Rust, which is slower by far, and their results compared.
    pub(super) fn check(&mut self) -> Check {
        Check::run(self.isa)
    }
}

/// The likeliest token, always.
fn greedy() -> SamplingParams {
    SamplingParams {
        max_tokens: 0,
        temperature: 0.0,
        top_k: 0,
        top_p: 1.0,
        seed: 0,
        stop: vec![],
        ignore_eos: true,
        logprobs: None,
        shaping: Shaping::default(),
    }
}
