//! A model without weights for the engine's tests. Its logits are a hash of everything a sequence has
//! in its own KV blocks, so a wrong position, a missing one, another sequence's block or a lost token
//! changes all that follows. It also checks what the engine may ask of a model.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_channel::{Receiver, Sender};
use woolly::config::Workers;
use woolly::engine::{Pool, Shape, Stepper, Task, Vocabulary};
use woolly::job::{Event, FinishReason, JobId, SamplingParams, SequenceEvent, Token};
use woolly::model::{BatchToken, Error, KV_BLOCK_TOKENS, PerReach, Reach};

pub(crate) const VOCAB: usize = 48;
pub(crate) const CONTEXT: usize = 512;

/// Ids with a meaning; the others print as below.
pub(crate) const END: u32 = 40;
pub(crate) const OTHER_END: u32 = 41;
/// Fed to the model, this one makes it panic; the next ones make its logits NaN and infinite.
pub(crate) const PANIC: u32 = 42;
pub(crate) const NAN: u32 = 43;
pub(crate) const INFINITE: u32 = 44;

/// Ids 0..=25 are letters, then a space, words, and characters in two pieces.
pub(crate) struct FakeVocabulary;

pub(crate) const SPACE: u32 = 26;
pub(crate) const E_ACUTE: [u32; 2] = [30, 31];
pub(crate) const GRIN: [u32; 2] = [32, 33];

impl Vocabulary for FakeVocabulary {
    fn bytes(&self, id: u32) -> &[u8] {
        const LETTERS: &[u8; 26] = b"abcdefghijklmnopqrstuvwxyz";
        match id {
            0..26 => &LETTERS[id as usize..][..1],
            SPACE => b" ",
            27 => b"hello",
            28 => b"STOP",
            29 => b"\n\n",
            30 => b"\xc3",
            31 => b"\xa9",
            32 => b"\xf0\x9f",
            33 => b"\x98\x80",
            34..40 => b"xyz",
            _ => b"",
        }
    }

    fn end_tokens(&self) -> &[u32] {
        &[END, OTHER_END]
    }
}

/// What the fake did, for tests that must know that something happened at all.
#[derive(Default)]
pub(crate) struct Counts {
    pub(crate) steps: AtomicUsize,
    /// Positions computed, repeated ones included.
    pub(crate) positions: AtomicUsize,
    /// Rows of logits computed.
    pub(crate) rows: AtomicUsize,
    pub(crate) largest_batch: AtomicUsize,
    pub(crate) builds: AtomicUsize,
    /// Sequences in the fullest step.
    pub(crate) most_sequences: AtomicUsize,
    /// Threads that built a model.
    pub(crate) threads: Mutex<Vec<String>>,
}

#[derive(Clone)]
pub(crate) struct FakeModel {
    pub(crate) blocks: usize,
    /// Positions that a token sees in layers with a window, and the blocks for those.
    pub(crate) window: Option<(usize, usize)>,
    /// After a prompt of one token, greedy draws follow this list; otherwise logits are hashes.
    pub(crate) script: Option<Arc<[u32]>>,
    /// One message is taken before each step, so that a test decides when steps happen.
    pub(crate) gate: Option<Receiver<()>>,
    pub(crate) counts: Arc<Counts>,
    pub(crate) cheap_tokens: usize,
    /// After a panic there is no second model.
    pub(crate) fails_to_rebuild: bool,
}

impl FakeModel {
    pub(crate) fn new(blocks: usize) -> Self {
        let counts = Arc::default();
        FakeModel {
            blocks,
            window: None,
            script: None,
            gate: None,
            counts,
            cheap_tokens: 1,
            fails_to_rebuild: false,
        }
    }

    pub(crate) fn scripted(ids: &[u32]) -> Self {
        FakeModel {
            script: Some(ids.into()),
            ..FakeModel::new(64)
        }
    }

    pub(crate) fn build(&self, _worker: usize) -> Result<FakeStepper, Error> {
        let builds = self.counts.builds.fetch_add(1, Ordering::SeqCst);
        if self.fails_to_rebuild && builds > 0 {
            return Err(Error::Unsupported("no memory".into()));
        }
        let name = std::thread::current().name().unwrap_or_default().to_owned();
        self.counts.threads.lock().expect("not poisoned").push(name);
        Ok(FakeStepper {
            model: self.clone(),
            memory: PerReach {
                all: Memory::new(self.blocks),
                window: Memory::new(self.window.map_or(0, |(_, blocks)| blocks)),
            },
            logits: Vec::new(),
        })
    }
}

/// Block numbers, in position order; `None` for those that a window left behind.
#[derive(Default)]
pub(crate) struct FakeTable(PerReach<Vec<Option<usize>>>);

pub(crate) struct FakeStepper {
    model: FakeModel,
    memory: PerReach<Memory>,
    logits: Vec<f32>,
}

/// The blocks of one kind.
#[derive(Default)]
struct Memory {
    /// The token of each position of each block; `None` until it is computed.
    tokens: Vec<[Option<u32>; KV_BLOCK_TOKENS]>,
    free: Vec<usize>,
    /// Tables, and the engine's own memory of prefixes.
    holders: Vec<usize>,
}

impl Memory {
    fn new(blocks: usize) -> Self {
        Memory {
            tokens: vec![[None; KV_BLOCK_TOKENS]; blocks],
            free: (0..blocks).collect(),
            holders: vec![0; blocks],
        }
    }

    fn drop_holder(&mut self, block: usize) {
        assert!(self.holders[block] > 0, "a block is given back twice");
        self.holders[block] -= 1;
        if self.holders[block] == 0 {
            self.free.push(block);
        }
    }
}

impl FakeStepper {
    fn token(&self, table: &FakeTable, reach: Reach, position: usize) -> u32 {
        let block = table.0.of(reach)[position / KV_BLOCK_TOKENS];
        let block = block.expect("a block that is seen was given back");
        let id = self.memory.of(reach).tokens[block][position % KV_BLOCK_TOKENS];
        id.expect("a position before this token was never computed")
    }
}

impl Stepper for FakeStepper {
    type Table = FakeTable;

    fn cheap_tokens(&self) -> usize {
        self.model.cheap_tokens
    }

    fn window(&self) -> Option<usize> {
        self.model.window.map(|(positions, _)| positions)
    }

    fn free_blocks(&mut self, reach: Reach) -> usize {
        self.memory.of(reach).free.len()
    }

    fn total_blocks(&mut self) -> usize {
        self.memory.all.tokens.len()
    }

    fn grow(&mut self, table: &mut FakeTable, reach: Reach, positions: usize) -> bool {
        let (table, memory) = (table.0.of_mut(reach), self.memory.of_mut(reach));
        let more = positions
            .div_ceil(KV_BLOCK_TOKENS)
            .saturating_sub(table.len());
        if more > memory.free.len() {
            return false;
        }
        for _ in 0..more {
            let block = memory.free.pop().expect("counted above");
            memory.tokens[block] = [None; KV_BLOCK_TOKENS];
            memory.holders[block] = 1;
            table.push(Some(block));
        }
        true
    }

    fn slide(&mut self, table: &mut FakeTable, first: usize) {
        for block in &mut table.0.window[..first] {
            if let Some(block) = block.take() {
                self.memory.window.drop_holder(block);
            }
        }
    }

    fn release(&mut self, table: &mut FakeTable) {
        for reach in [Reach::All, Reach::Window] {
            for block in std::mem::take(table.0.of_mut(reach)).into_iter().flatten() {
                self.memory.of_mut(reach).drop_holder(block);
            }
        }
    }

    fn block(&self, table: &FakeTable, reach: Reach, index: usize) -> u32 {
        table.0.of(reach)[index].expect("a block that is there") as u32
    }

    fn share(&mut self, table: &mut FakeTable, reach: Reach, block: Option<u32>) {
        if let Some(block) = block {
            self.add_holder(reach, block);
        }
        table
            .0
            .of_mut(reach)
            .push(block.map(|block| block as usize));
    }

    fn replace(&mut self, table: &mut FakeTable, reach: Reach, index: usize, block: u32) {
        self.add_holder(reach, block);
        let before = table.0.of_mut(reach)[index].replace(block as usize);
        self.drop_holder(reach, before.expect("a block that is there") as u32);
    }

    fn add_holder(&mut self, reach: Reach, block: u32) {
        let (block, memory) = (block as usize, self.memory.of_mut(reach));
        assert!(memory.holders[block] > 0, "a free block is shared");
        let full = memory.tokens[block].iter().all(Option::is_some);
        assert!(full, "a block is shared before all of it is computed");
        memory.holders[block] += 1;
    }

    fn drop_holder(&mut self, reach: Reach, block: u32) {
        self.memory.of_mut(reach).drop_holder(block as usize);
    }

    fn forward(&mut self, tables: &[&FakeTable], batch: &[BatchToken]) -> &[f32] {
        if let Some(gate) = &self.model.gate {
            let _ = gate.recv_blocking();
        }
        assert!(!batch.is_empty(), "a step without tokens");
        let counts = self.model.counts.clone();
        counts.steps.fetch_add(1, Ordering::SeqCst);
        counts.positions.fetch_add(batch.len(), Ordering::SeqCst);
        counts
            .largest_batch
            .fetch_max(batch.len(), Ordering::SeqCst);
        counts
            .most_sequences
            .fetch_max(tables.len(), Ordering::SeqCst);
        self.logits.clear();
        for token in batch {
            assert_ne!(token.id, PANIC, "the fake model was asked to panic");
            let table = tables[token.table];
            for reach in [Reach::All, Reach::Window] {
                if reach == Reach::All || self.model.window.is_some() {
                    let block = table.0.of(reach)[token.position / KV_BLOCK_TOKENS];
                    let block = block.expect("a block that was given back is written");
                    let memory = self.memory.of_mut(reach);
                    assert_eq!(memory.holders[block], 1, "a shared block is written");
                    memory.tokens[block][token.position % KV_BLOCK_TOKENS] = Some(token.id);
                }
            }
            if let Some((window, _)) = self.model.window {
                for position in (token.position + 1).saturating_sub(window)..=token.position {
                    let [all, windowed] =
                        [Reach::All, Reach::Window].map(|reach| self.token(table, reach, position));
                    assert_eq!(all, windowed, "a window shows something else");
                }
            }
            if token.logits {
                let history =
                    (0..=token.position).map(|position| self.token(table, Reach::All, position));
                let row = row(history, self.model.script.as_deref());
                self.logits.extend(row);
                counts.rows.fetch_add(1, Ordering::SeqCst);
            }
        }
        &self.logits
    }
}

fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// The logits after a history of tokens: the oracle that knows nothing of batches and blocks.
pub(crate) fn row(history: impl Iterator<Item = u32>, script: Option<&[u32]>) -> Vec<f32> {
    let mut hash = 0x9e37_79b9_7f4a_7c15;
    let (mut last, mut length) = (0, 0);
    for id in history {
        hash = mix(hash ^ u64::from(id) ^ ((length as u64) << 32));
        (last, length) = (id, length + 1);
    }
    let next = script.map(|ids| ids.get(length - 1).copied().unwrap_or(END));
    (0..VOCAB as u32)
        .map(|id| match (last, next) {
            (NAN, _) if id == 7 => f32::NAN,
            (INFINITE, _) if id == 7 => f32::INFINITY,
            (_, Some(next)) => f32::from(u8::from(id == next)),
            _ if (PANIC..VOCAB as u32).contains(&id) => -50.0,
            // About one token in a hundred ends a greedy sequence.
            _ if id == END || id == OTHER_END => {
                (mix(hash + u64::from(id)) % 1000) as f32 / 128.0 - 1.0
            }
            _ => (mix(hash + u64::from(id)) % 1000) as f32 / 128.0,
        })
        .collect()
}

pub(crate) fn params() -> SamplingParams {
    SamplingParams {
        max_tokens: 40,
        temperature: 0.0,
        top_k: 0,
        top_p: 1.0,
        seed: 7,
        stop: Vec::new(),
        ignore_eos: false,
        logprobs: None,
        shaping: woolly::job::Shaping::default(),
    }
}

pub(crate) fn task(job: i64, prompt: &[u32], params: SamplingParams) -> Task {
    Task {
        job: JobId(job),
        sequence: 0,
        prompt: prompt.into(),
        generated: Arc::default(),
        priority: 0,
        score_prompt: false,
        params: Arc::new(params),
        cancelled: Arc::new(AtomicBool::new(false)),
    }
}

pub(crate) fn workers(count: usize, slots: usize, prefill_chunk: usize) -> Workers {
    Workers {
        count,
        threads_per_worker: 1,
        slots,
        prefill_chunk,
        speculation: true,
        kv_bytes: 0,
    }
}

pub(crate) const SHAPE: Shape = Shape {
    vocab: VOCAB,
    context: CONTEXT,
};

pub(crate) fn start(
    model: &FakeModel,
    workers: &Workers,
    events: Sender<SequenceEvent>,
) -> Result<Pool, Error> {
    let model = model.clone();
    Pool::start_with(
        workers,
        SHAPE,
        Arc::new(FakeVocabulary),
        move |w| model.build(w),
        events,
    )
}

/// All that one sequence reported.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Output {
    pub(crate) tokens: Vec<Token>,
    /// The last event.
    pub(crate) end: Option<Event>,
}

impl Output {
    pub(crate) fn ids(&self) -> Vec<u32> {
        self.tokens.iter().map(|token| token.id).collect()
    }

    pub(crate) fn texts(&self) -> Vec<&str> {
        self.tokens
            .iter()
            .map(|token| token.text.as_str())
            .collect()
    }

    #[track_caller]
    pub(crate) fn finish(&self) -> (FinishReason, &str) {
        match &self.end {
            Some(Event::Finished { reason, text }) => (*reason, text),
            other => panic!("not finished: {other:?}"),
        }
    }

    #[track_caller]
    pub(crate) fn failure(&self) -> &str {
        match &self.end {
            Some(Event::Failed { message, .. }) => message,
            other => panic!("not failed: {other:?}"),
        }
    }
}

/// Collects events until `count` sequences have ended. Tasks are told apart by their job's number.
#[track_caller]
pub(crate) fn collect(events: &Receiver<SequenceEvent>, count: usize) -> Vec<Output> {
    collect_in_order(events, count).0
}

/// The outputs by job, and the jobs in the order of their ends.
pub(crate) fn collect_in_order(
    events: &Receiver<SequenceEvent>,
    count: usize,
) -> (Vec<Output>, Vec<i64>) {
    let mut outputs: Vec<Output> = Vec::new();
    let mut order = Vec::new();
    while order.len() < count {
        let event = events
            .recv_blocking()
            .expect("the pool ended before all tasks did");
        let index = event.job.0 as usize;
        if outputs.len() <= index {
            outputs.resize(index + 1, Output::default());
        }
        let output = &mut outputs[index];
        assert!(
            output.end.is_none(),
            "an event after the last one: {event:?}"
        );
        match event.event {
            Event::Token(token) => output.tokens.push(token),
            end => {
                output.end = Some(end);
                order.push(event.job.0);
            }
        }
    }
    (outputs, order)
}

/// Runs tasks (numbered by position) on a pool of their own, from submit to stop.
#[track_caller]
pub(crate) fn run(model: &FakeModel, workers: &Workers, tasks: Vec<Task>) -> Vec<Output> {
    run_in_order(model, workers, tasks).0
}

/// The outputs by job, and the jobs in the order of their ends.
#[track_caller]
pub(crate) fn run_in_order(
    model: &FakeModel,
    workers: &Workers,
    tasks: Vec<Task>,
) -> (Vec<Output>, Vec<i64>) {
    let (sender, events) = async_channel::bounded(4);
    let pool = start(model, workers, sender).expect("the fake model starts");
    let count = tasks.len();
    let gate = model.gate.clone();
    let submitter = std::thread::spawn(move || {
        tasks.into_iter().for_each(|task| pool.submit(task));
        // Opened for good: a test with a gate wants all tasks there before the first step.
        gate.inspect(|gate| _ = gate.close());
        pool
    });
    let ended = collect_in_order(&events, count);
    submitter.join().expect("submitting does not panic").stop();
    assert_eq!(
        events.recv_blocking().ok(),
        None,
        "no event after the last one"
    );
    ended
}

/// Runs one task on one worker.
#[track_caller]
pub(crate) fn run_one(model: &FakeModel, prompt: &[u32], params: SamplingParams) -> Output {
    run(model, &workers(1, 2, 8), vec![task(0, prompt, params)]).remove(0)
}

/// Compares outputs one by one, so that a difference is named instead of printed whole.
#[track_caller]
pub(crate) fn assert_same(outputs: &[Output], expected: &[Output], case: &str) {
    assert_eq!(outputs.len(), expected.len(), "{case}");
    for (job, (output, expected)) in outputs.iter().zip(expected).enumerate() {
        assert_eq!(output.ids(), expected.ids(), "{case}: tokens of job {job}");
        assert_eq!(output.end, expected.end, "{case}: end of job {job}");
        for (index, (token, expected)) in output.tokens.iter().zip(&expected.tokens).enumerate() {
            assert_eq!(token, expected, "{case}: token {index} of job {job}");
        }
    }
}
