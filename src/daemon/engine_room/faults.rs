//! Workers that panic, and jobs that are not to blame for it.

use std::sync::atomic::AtomicUsize;

use serde_json::{Value, json};

use crate::engine::{Shape, Stepper};
use crate::job::State;
use crate::model::{BatchToken, Error, KV_BLOCK_TOKENS, Reach};

use super::tests::Bench;
use super::*;

/// As a prompt, this token makes the worker panic.
const PANIC: u32 = 9;
const BLOCKS: usize = 1_000;

/// A model that answers with the first token of its vocabulary, and takes no memory.
struct Fragile {
    vocab: usize,
    logits: Vec<f32>,
    /// One message is taken before each step, until nobody sends any.
    gate: Receiver<()>,
}

impl Stepper for Fragile {
    /// How many blocks there are.
    type Table = usize;

    fn cheap_tokens(&self) -> usize {
        1
    }

    fn window(&self) -> Option<usize> {
        None
    }

    fn free_blocks(&mut self, _: Reach) -> usize {
        BLOCKS
    }

    fn total_blocks(&mut self) -> usize {
        BLOCKS
    }

    fn grow(&mut self, table: &mut usize, _: Reach, positions: usize) -> bool {
        *table = positions.div_ceil(KV_BLOCK_TOKENS).max(*table);
        true
    }

    fn slide(&mut self, _: &mut usize, _: usize) {}

    fn release(&mut self, table: &mut usize) {
        *table = 0;
    }

    fn block(&self, _: &usize, _: Reach, index: usize) -> u32 {
        index as u32
    }

    fn share(&mut self, table: &mut usize, _: Reach, _: Option<u32>) {
        *table += 1;
    }

    fn replace(&mut self, _: &mut usize, _: Reach, _: usize, _: u32) {}

    fn add_holder(&mut self, _: Reach, _: u32) {}

    fn drop_holder(&mut self, _: Reach, _: u32) {}

    fn forward(&mut self, _: &[&usize], batch: &[BatchToken]) -> &[f32] {
        let _ = self.gate.recv_blocking();
        assert!(batch.iter().all(|token| token.id != PANIC), "on purpose");
        let rows = batch.iter().filter(|token| token.logits).count();
        self.logits.resize(rows * self.vocab, 0.0);
        &self.logits
    }
}

fn start(
    bench: &Bench,
    slots: usize,
    gate: &Receiver<()>,
    build: impl Fn() -> Result<(), Error> + Send + Sync + 'static,
) -> EngineRoom {
    bench.start_with(None, |config, loaded, events| {
        let workers = config::Workers {
            slots,
            ..config.workers.clone()
        };
        let shape = Shape {
            vocab: loaded.model.vocab(),
            context: loaded.model.context(),
        };
        let gate = gate.clone();
        let build = move |_| {
            build().map(|()| Fragile {
                vocab: shape.vocab,
                logits: vec![],
                gate: gate.clone(),
            })
        };
        Pool::start_with(&workers, shape, loaded.tokenizer.clone(), build, events).unwrap()
    })
}

fn of_token(id: u32, max_tokens: u32) -> Value {
    json!({"prompt": [id], "max_tokens": max_tokens, "temperature": 0, "ignore_eos": true})
}

#[test]
fn without_workers_the_daemon_ends_and_no_job_does() {
    let bench = Bench::new();
    let panics = bench.submit_body(of_token(PANIC, 5));
    let others: Vec<JobId> = (PANIC + 1..PANIC + 21)
        .map(|id| bench.submit_body(of_token(id, 5)))
        .collect();
    let builds = AtomicUsize::new(0);
    let (_, open) = async_channel::bounded(1);
    let room = start(&bench, 1, &open, move || {
        match builds.fetch_add(1, Ordering::SeqCst) {
            0 => Ok(()),
            _ => Err(Error::Unsupported("no memory".into())),
        }
    });
    let failure = loop {
        match bench.control.recv().unwrap() {
            Control::Failed(failure) => break failure,
            Control::Idle => {}
            _ => panic!("another message"),
        }
    };
    let reason = "decode worker 0 panicked: on purpose, and could not be rebuilt: unsupported model: no memory";
    assert_eq!(failure, Failure::io(reason));
    room.stop().unwrap();
    let row = bench.row(panics);
    assert_eq!((row.state, row.attempts), (State::Queued, 1));
    for id in others {
        let row = bench.row(id);
        assert_eq!((row.state, row.attempts), (State::Queued, 0), "{id}");
    }
    bench.front.stop().unwrap();
}

#[test]
fn who_makes_workers_panic_fails_alone() {
    let bench = Bench::new();
    // Not done when the last one comes.
    let innocents: Vec<JobId> = (1..4)
        .map(|id| bench.submit_body(of_token(id, 3_000)))
        .collect();
    let panics = bench.submit_body(of_token(PANIC, 5));
    let (opens, gate) = async_channel::bounded(1);
    let room = start(&bench, 4, &gate, || Ok(()));
    for id in innocents.iter().chain([&panics]) {
        bench.reaches(*id, State::Running);
    }
    drop(opens);
    for id in innocents {
        let row = bench.ended(id);
        assert_eq!((row.state, row.error), (State::Completed, None));
    }
    let row = bench.ended(panics);
    assert_eq!((row.state, row.attempts), (State::Failed, 3));
    let error = row.error.unwrap();
    assert_eq!(error, "decode worker 0 panicked: on purpose");
    room.stop().unwrap();
    bench.front.stop().unwrap();
}
