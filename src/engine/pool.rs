//! The pool: a bounded channel of tasks in, a bounded channel of events out.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;

use crate::compute::Isa;
use crate::config;
use crate::job::{Event, JobId, SamplingParams, SequenceEvent};
use crate::model::{Error, KV_BLOCK_TOKENS, KvPool, Model, PerReach, Runner, ring_blocks};
use crate::text::Tokenizer;

use super::draft::MAX_DRAFT;
use super::scheduler::Limits;
use super::stepper::{Shape, Stepper, Vocabulary};
use super::worker::{Shared, lead};

/// Positions that the KV memory of a worker must hold at least, or the whole context where that is
/// shorter. Less could hardly run a prompt.
const MIN_POSITIONS: usize = 64;

/// One sequence to run.
#[derive(Clone)]
pub struct Task {
    pub job: JobId,
    /// Index in the job; also the random stream.
    pub sequence: usize,
    pub prompt: Arc<[u32]>,
    /// What an earlier run of it generated and told: it goes on behind these and does not tell them again. Never its
    /// last token.
    pub generated: Arc<[u32]>,
    /// Where memory is short, the lower ones wait; see [`Job`](crate::job).
    pub priority: i32,
    /// Whether the prompt's log-probabilities are reported; as many as `params` says for generated tokens.
    pub score_prompt: bool,
    pub params: Arc<SamplingParams>,
    /// Set by anyone to stop the sequence at the next token.
    pub cancelled: Arc<AtomicBool>,
}

impl Task {
    pub(super) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }
}

/// The decode workers. Dropping it without [`Pool::stop`] stops them as well, without waiting.
pub struct Pool {
    shared: Arc<Shared>,
    tasks: async_channel::Sender<Task>,
    failed: async_channel::Receiver<String>,
    threads: Vec<JoinHandle<()>>,
    slots: usize,
    max_positions: usize,
}

impl Pool {
    /// Starts all workers. Every task ends with exactly one `Finished`, `Failed` or `Stopped` event.
    /// `events` should be bounded: when it is full the workers wait, which slows decoding to the
    /// speed at which results are recorded and loses nothing.
    pub fn start(
        model: Arc<Model>,
        tokenizer: Arc<Tokenizer>,
        compute: &config::Compute,
        workers: &config::Workers,
        events: async_channel::Sender<SequenceEvent>,
    ) -> Result<Self, Error> {
        let shape = Shape {
            vocab: model.vocab(),
            context: model.context(),
        };
        let need = Need {
            bytes: model.kv_shape().block_bytes(),
            context: shape.context,
            window: model.hyper().window(),
        };
        let isa = Isa::by_name(compute.isa.name())?;
        let threads = workers.threads_per_worker;
        // Each running sequence may decode one token beside the prompt tokens of the step.
        let max_batch = workers.slots + workers.prefill_chunk + MAX_DRAFT;
        let blocks = kv_blocks(workers, need, max_batch)?;
        let build =
            move |worker| Runner::new(model.clone(), isa, worker, threads, blocks, max_batch);
        Self::start_with(workers, shape, tokenizer, build, events)
    }

    /// Starts the workers on anything that can run steps; `build` is called with the worker's number
    /// on its own thread, and again after a panic.
    pub fn start_with<S: Stepper + 'static>(
        workers: &config::Workers,
        shape: Shape,
        vocabulary: Arc<dyn Vocabulary>,
        build: impl Fn(usize) -> Result<S, Error> + Send + Sync + 'static,
        events: async_channel::Sender<SequenceEvent>,
    ) -> Result<Self, Error> {
        let slots = workers.count * workers.slots;
        // Full: `submit` waits. One task per slot is enough to keep every worker busy.
        let (tasks, receiver) = async_channel::bounded(slots);
        let (fail, failed) = async_channel::bounded(1);
        let shared = Arc::new(Shared {
            tasks: receiver,
            events,
            vocabulary,
            shape,
            limits: Limits {
                slots: workers.slots,
                prefill_chunk: workers.prefill_chunk,
            },
            speculation: workers.speculation,
            alive: AtomicUsize::new(workers.count),
            failed: fail,
            stopping: AtomicBool::new(false),
        });
        // One message per worker, so nobody ever waits to send.
        let (ready, started) = async_channel::bounded(workers.count);
        let build = Arc::new(build);
        let mut pool = Pool {
            shared,
            tasks,
            failed,
            threads: Vec::new(),
            slots,
            max_positions: shape.context,
        };
        for index in 0..workers.count {
            let (shared, build, ready) = (pool.shared.clone(), build.clone(), ready.clone());
            let thread = std::thread::Builder::new()
                .name(format!("woolly-w{index}-t0"))
                .spawn(move || lead(index, &shared, &*build, ready))
                .map_err(Error::Thread)?;
            pool.threads.push(thread);
        }
        drop(ready);
        for _ in 0..workers.count {
            let positions = started.recv_blocking().unwrap_or(Err(Error::WorkerDied))?;
            pool.max_positions = pool.max_positions.min(positions);
        }
        Ok(pool)
    }

    /// Hands a sequence to the next free worker; blocks while the task channel is full.
    pub fn submit(&self, task: Task) {
        if let Err(refused) = self.tasks.send_blocking(task) {
            self.shared.emit(&refused.0, Event::Stopped);
        }
    }

    /// Gets the reason when the last worker is gone, and closes with the pool. Tasks are stopped from then on.
    pub fn failed(&self) -> async_channel::Receiver<String> {
        self.failed.clone()
    }

    /// Whether tasks are only stopped any more.
    pub fn is_over(&self) -> bool {
        self.tasks.is_closed()
    }

    /// Sequences that can run at once over all workers.
    pub fn slots(&self) -> usize {
        self.slots
    }

    /// Positions that one sequence can ever get: the context, or less when the KV pool is smaller.
    pub fn max_positions(&self) -> usize {
        self.max_positions
    }

    /// Stops after the current step: running sequences and waiting tasks end with `Stopped`. Joins
    /// the threads, so events must be received elsewhere meanwhile, or fit in their channel.
    pub fn stop(mut self) {
        self.shared.stop();
        for thread in self.threads.drain(..) {
            // A leader catches panics itself; what is left could only repeat what was logged.
            let _ = thread.join();
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.stop();
    }
}

/// Of the blocks for layers that see all positions, the part for which layers with a window have one too, where
/// the slots need no more: prompts that begin alike, and conversations that go on, find it computed.
const KEPT_WINDOWS: usize = 4;

/// What a model needs of KV memory.
#[derive(Debug, Clone, Copy)]
struct Need {
    /// Bytes of one block.
    bytes: PerReach<usize>,
    context: usize,
    /// Positions that a token sees in layers with a window.
    window: Option<usize>,
}

/// KV blocks for each worker: as many as its part of `kv_bytes` holds, but no more than its slots can ever fill.
///
/// Layers with a window have blocks for the rings of all slots in a step of `max_batch` tokens, or one for each of
/// the others where those are fewer. Either way there is one whenever a sequence that runs needs it: the scheduler
/// counts the others only.
fn kv_blocks(
    workers: &config::Workers,
    need: Need,
    max_batch: usize,
) -> Result<PerReach<usize>, Error> {
    let rings = need.window.map_or(0, |window| {
        workers.slots * ring_blocks(window.min(need.context), 1)
            + max_batch.div_ceil(KV_BLOCK_TOKENS)
    });
    let windowed = |all: usize| match need.window {
        Some(_) => rings.max(all / KEPT_WINDOWS).min(all),
        None => 0,
    };
    let part = workers.kv_bytes / workers.count as u64;
    let fits = |all: usize| {
        let all_bytes = (all as u64).saturating_mul(need.bytes.all as u64);
        let bytes = (windowed(all) as u64).saturating_mul(need.bytes.window as u64);
        all_bytes.saturating_add(bytes) <= part
    };
    let useful = workers
        .slots
        .saturating_mul(KvPool::blocks_for(need.context));
    let (mut blocks, mut too_many) = (0, useful.saturating_add(1));
    while blocks + 1 < too_many {
        let middle = blocks + (too_many - blocks) / 2;
        match fits(middle) {
            true => blocks = middle,
            false => too_many = middle,
        }
    }
    let positions = MIN_POSITIONS.min(need.context);
    let least = KvPool::blocks_for(positions);
    if blocks < least {
        let needed = (need.bytes.all + need.bytes.window) * least * workers.count;
        return Err(Error::KvBudget {
            bytes: workers.kv_bytes,
            workers: workers.count,
            needed: needed as u64,
            positions,
        });
    }
    Ok(PerReach {
        all: blocks,
        window: windowed(blocks),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workers(count: usize, slots: usize, kv_bytes: u64) -> config::Workers {
        config::Workers {
            count,
            threads_per_worker: 1,
            slots,
            prefill_chunk: 8,
            speculation: true,
            kv_bytes,
        }
    }

    /// Blocks of a model without windows.
    fn plain(workers: &config::Workers, bytes: usize, context: usize) -> Result<usize, Error> {
        let need = Need {
            bytes: PerReach {
                all: bytes,
                window: 0,
            },
            context,
            window: None,
        };
        let blocks = kv_blocks(workers, need, 100)?;
        assert_eq!(blocks.window, 0);
        Ok(blocks.all)
    }

    #[test]
    fn kv_memory_is_divided_among_workers() {
        assert_eq!(plain(&workers(2, 8, 100_000), 1000, 4096).unwrap(), 50);
        assert_eq!(plain(&workers(1, 8, 100_999), 1000, 4096).unwrap(), 100);
    }

    #[test]
    fn no_more_blocks_than_the_slots_can_fill() {
        assert_eq!(plain(&workers(1, 3, u64::MAX), 1, 33).unwrap(), 9);
    }

    #[test]
    fn layers_with_a_window_have_blocks_for_the_rings_of_all_slots() {
        let blocks = |slots, kv_bytes, all| {
            let need = Need {
                bytes: PerReach { all, window: 500 },
                context: 4096,
                window: Some(512),
            };
            let blocks = kv_blocks(&workers(1, slots, kv_bytes), need, 520).unwrap();
            (blocks.all, blocks.window)
        };
        // Two rings of 34 blocks, and 33 for the tokens of a step.
        assert_eq!(blocks(2, 80_000, 100), (295, 101));
        // More of the others than four times that.
        assert_eq!(blocks(2, u64::MAX, 100), (512, 128));
        // Too little for the rings: one for each of the others.
        assert_eq!(blocks(2, 48_000, 100), (80, 80));
        // No layer without a window.
        assert_eq!(blocks(2, 64_000, 0), (512, 128));
    }

    #[test]
    fn too_little_kv_memory_is_refused_with_what_is_needed() {
        let error = plain(&workers(2, 8, 7999), 1000, 4096)
            .unwrap_err()
            .to_string();
        assert_eq!(
            error,
            "workers.kv_bytes is 7999, but 2 worker(s) need at least 8000 for 64 positions each"
        );
        assert_eq!(plain(&workers(2, 8, 8000), 1000, 4096).unwrap(), 4);
        assert_eq!(plain(&workers(1, 1, 1000), 1000, 10).unwrap(), 1);
    }
}
