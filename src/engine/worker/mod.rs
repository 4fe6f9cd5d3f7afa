//! A decode worker: takes tasks, runs steps, reports events. One leader thread each.
//!
//! Between two steps the worker drops cancelled sequences, makes room for those that grow, and lets
//! waiting ones and new tasks join. While it has nothing to run it blocks on the task channel.
//!
//! A panic (a bug, in the model or here) is caught at the edge of the thread: every sequence of this
//! worker fails with a sentence, the model's working memory is dropped and built anew, and the worker
//! goes on. If it cannot be built, the worker leaves its tasks to the others. With the last one the pool
//! ends, and tells why: tasks that wait are stopped, because none of them is to blame.
//!
//! Invariant: a task that was taken ends with exactly one terminal event.

mod blocks;

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::job::{Event, FinishReason, SequenceEvent};
use crate::model::{BatchToken, Error, KV_BLOCK_TOKENS};

use super::Task;
use super::prefix::{BlockTokens, NodeId, PrefixIndex};
use super::sampler::Scratch;
use super::scheduler::{Limits, View, fair_part, share};
use super::sequence::Sequence;
use super::stepper::{Shape, Stepper, Vocabulary};

/// What all workers of a pool share.
pub(super) struct Shared {
    pub(super) tasks: async_channel::Receiver<Task>,
    pub(super) events: async_channel::Sender<SequenceEvent>,
    pub(super) vocabulary: Arc<dyn Vocabulary>,
    pub(super) shape: Shape,
    pub(super) limits: Limits,
    pub(super) speculation: bool,
    /// Workers that serve tasks.
    pub(super) alive: AtomicUsize,
    /// Why no worker is left. One message at most, ever.
    pub(super) failed: async_channel::Sender<String>,
    pub(super) stopping: AtomicBool,
}

impl Shared {
    /// Waits while the event channel is full. Without a receiver nobody wants results any more, and
    /// the pool stops.
    pub(super) fn emit(&self, task: &Task, event: Event) {
        let event = SequenceEvent {
            job: task.job,
            sequence: task.sequence,
            event,
        };
        if self.events.send_blocking(event).is_err() {
            self.stop();
        }
    }

    /// Lets every worker end after its current step. Tasks in the channel can still be taken, and are
    /// answered with `Stopped`.
    pub(super) fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        self.tasks.close();
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }
}

/// The body of a leader thread: runs until the task channel is closed and empty. Reports through
/// `ready` how many positions the KV memory holds, or why the worker cannot start.
pub(super) fn lead<S: Stepper>(
    index: usize,
    shared: &Shared,
    build: &dyn Fn(usize) -> Result<S, Error>,
    ready: async_channel::Sender<Result<usize, Error>>,
) {
    let mut stepper = match build(index) {
        Ok(stepper) => stepper,
        Err(error) => {
            // Nobody listens only if the pool's start was given up.
            let _ = ready.send_blocking(Err(error));
            return;
        }
    };
    let _ = ready.send_blocking(Ok(stepper.total_blocks() * KV_BLOCK_TOKENS));
    drop(ready);
    loop {
        let mut worker = Worker::new(stepper, shared);
        let Err(panic) = caught(|| worker.run()) else {
            return;
        };
        let message = format!("decode worker {index} panicked: {panic}");
        tracing::error!("{message}; it is being rebuilt");
        worker.fail_all(&message);
        drop(worker);
        match caught(|| build(index)).and_then(|built| built.map_err(|error| error.to_string())) {
            Ok(rebuilt) => stepper = rebuilt,
            Err(reason) => {
                let message = format!("{message}, and could not be rebuilt: {reason}");
                tracing::error!("{message}");
                return leave(shared, message);
            }
        }
    }
}

/// The end of a worker that cannot be rebuilt, and of the pool if it was the last one.
fn leave(shared: &Shared, message: String) {
    if shared.alive.fetch_sub(1, Ordering::SeqCst) > 1 {
        return;
    }
    // Room for one, and only the last worker gets here.
    let _ = shared.failed.try_send(message);
    shared.stop();
    while let Ok(task) = shared.tasks.recv_blocking() {
        shared.emit(&task, Event::Stopped);
    }
}

/// Runs `body`; a panic becomes its message. What `body` touched is dropped by the caller.
fn caught<T>(body: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(body)).map_err(|payload| {
        let text = payload.downcast_ref::<&str>().copied();
        let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        text.unwrap_or("no message").to_owned()
    })
}

/// Prompt tokens that are scored in one step at most: their logits over 262,144 tokens are 134 MB.
const MAX_SCORES: usize = 128;

struct Worker<'a, S: Stepper> {
    stepper: S,
    shared: &'a Shared,
    /// Positions that the KV memory holds.
    positions: usize,
    prefixes: PrefixIndex,
    /// The first `running` run, the others wait for KV blocks; their order is the scheduler's.
    sequences: Vec<Sequence<S::Table>>,
    running: usize,
    // Buffers that every step reuses.
    views: Vec<View>,
    claims: HashSet<(Option<NodeId>, BlockTokens)>,
    found: Vec<NodeId>,
    shares: Vec<usize>,
    batch: Vec<BatchToken>,
    scratch: Scratch,
}

impl<'a, S: Stepper> Worker<'a, S> {
    fn new(mut stepper: S, shared: &'a Shared) -> Self {
        Worker {
            positions: stepper.total_blocks() * KV_BLOCK_TOKENS,
            stepper,
            shared,
            prefixes: PrefixIndex::default(),
            sequences: Vec::new(),
            running: 0,
            views: Vec::new(),
            claims: HashSet::new(),
            found: Vec::new(),
            shares: Vec::new(),
            batch: Vec::new(),
            scratch: Scratch::default(),
        }
    }

    fn run(&mut self) {
        loop {
            if self.sequences.is_empty() {
                match self.shared.tasks.recv_blocking() {
                    Ok(task) => self.enter(task),
                    Err(_) => return,
                }
            }
            self.drop_cancelled();
            self.make_room();
            self.admit_waiting();
            self.take_tasks();
            self.step();
            self.retire();
        }
    }

    /// A new task becomes the last of the waiting sequences, or fails at once.
    fn enter(&mut self, task: Task) {
        let Shared {
            shape, vocabulary, ..
        } = self.shared;
        match Sequence::new(task, *shape, self.positions, &**vocabulary) {
            Ok(sequence) => self.sequences.push(sequence),
            Err((task, refusal)) => {
                self.shared.emit(
                    &task,
                    Event::Failed {
                        message: refusal.to_string(),
                        fault: refusal.is_fault(),
                    },
                );
            }
        }
    }

    /// Ends the sequences, running or waiting, that nobody wants any more.
    fn drop_cancelled(&mut self) {
        let stopping = self.shared.is_stopping();
        for sequence in &mut self.sequences {
            if stopping || sequence.task.is_cancelled() {
                sequence.ended = true;
                self.shared.emit(&sequence.task, Event::Stopped);
            }
        }
        self.retire();
    }

    /// Takes new tasks for free slots; none while a sequence waits, since they would only wait too,
    /// and another worker may have room.
    fn take_tasks(&mut self) {
        let free_slots = self.shared.limits.slots - self.running;
        let workers = self.shared.alive.load(Ordering::SeqCst);
        for _ in 0..fair_part(self.shared.tasks.len(), workers, free_slots) {
            if self.running < self.sequences.len() {
                return;
            }
            let Ok(task) = self.shared.tasks.try_recv() else {
                return;
            };
            self.enter(task);
            self.admit_waiting();
        }
    }

    fn look(&mut self) {
        self.views.clear();
        self.views.extend(self.sequences.iter().map(Sequence::view));
    }

    /// Drafts for the sequences that decode, in their order, while the step stays cheap.
    fn make_drafts(&mut self) {
        let tokens: usize = self.shares.iter().sum();
        let mut room = match self.shared.speculation {
            true => self.stepper.cheap_tokens().saturating_sub(tokens),
            false => 0,
        };
        let running = self.sequences[..self.running].iter_mut();
        for (sequence, view) in running.zip(&self.views) {
            sequence.forget_draft();
            if room > 0 && view.decodes() {
                room -= sequence.make_draft(room);
            }
        }
    }

    /// Cuts the shares of sequences whose prompts are scored, the first in the list last: each of their tokens gives a
    /// row of logits, and a chunk of thousands would take gigabytes.
    fn limit_scores(&mut self) {
        let mut room = MAX_SCORES;
        let running = self.sequences[..self.running].iter();
        for (sequence, share) in running.zip(&mut self.shares) {
            if sequence.scores_next() {
                *share = (*share).min(room);
                room -= *share;
            }
        }
    }

    /// Computes one step and reports what it gave.
    fn step(&mut self) {
        if self.running == 0 {
            return;
        }
        self.wait_for_equals();
        share(&self.views, self.shared.limits, &mut self.shares);
        self.limit_scores();
        self.make_drafts();
        for index in 0..self.running {
            let end = self.sequences[index].end(self.shares[index]);
            self.extend_ring(index, end);
        }
        self.batch.clear();
        let running = &mut self.sequences[..self.running];
        for (table, (sequence, &share)) in running.iter().zip(&self.shares).enumerate() {
            sequence.append(share, table, &mut self.batch);
        }
        let tables: Vec<&S::Table> = running.iter().map(|sequence| &sequence.table).collect();
        let logits = self.stepper.forward(&tables, &self.batch);
        let mut rows = logits.chunks_exact(self.shared.shape.vocab);
        for (sequence, &share) in running.iter_mut().zip(&self.shares) {
            sequence.computed += share;
            for _ in 0..sequence.scoring_rows(share) {
                let row = rows.next().expect("one row of logits for each score");
                if sequence.ended {
                    continue;
                }
                let event = sequence.score(row, &mut self.scratch);
                let event = event.unwrap_or_else(|unusable| {
                    sequence.ended = true;
                    let message = unusable.to_string();
                    let fault = false;
                    Event::Failed { message, fault }
                });
                self.shared.emit(&sequence.task, event);
            }
            if !sequence.is_complete() {
                continue;
            }
            if sequence.generates_nothing() {
                if !sequence.ended {
                    sequence.ended = true;
                    let (reason, text) = (FinishReason::Length, String::new());
                    let end = Event::Finished { reason, text };
                    self.shared.emit(&sequence.task, end);
                }
                continue;
            }
            let mut kept = 0;
            for number in 0..sequence.rows() {
                let row = rows
                    .next()
                    .expect("one row of logits for each token that asked for them");
                // What follows a draft that was wrong is of no use.
                if kept < number || sequence.ended {
                    continue;
                }
                match sequence.advance(row, &*self.shared.vocabulary, &mut self.scratch) {
                    Ok(advance) => {
                        sequence.ended = advance.end.is_some();
                        kept += usize::from(sequence.keeps(number, advance.token.id));
                        advance
                            .into_events()
                            .for_each(|event| self.shared.emit(&sequence.task, event));
                    }
                    Err(unusable) => {
                        sequence.ended = true;
                        let message = unusable.to_string();
                        let fault = false;
                        let event = Event::Failed { message, fault };
                        self.shared.emit(&sequence.task, event);
                    }
                }
            }
            sequence.learn(kept);
        }
        for index in 0..self.running {
            self.offer_blocks(index);
        }
    }

    /// Removes the sequences that ended and gives their blocks back.
    fn retire(&mut self) {
        for index in (0..self.sequences.len()).rev() {
            if self.sequences[index].ended {
                self.give_back(index);
                self.sequences.remove(index);
                self.running -= usize::from(index < self.running);
            }
        }
    }

    /// Answers every sequence after a panic; the model is not touched any more.
    fn fail_all(&mut self, message: &str) {
        for sequence in self.sequences.iter().filter(|sequence| !sequence.ended) {
            self.shared.emit(
                &sequence.task,
                Event::Failed {
                    message: message.to_owned(),
                    fault: true,
                },
            );
        }
    }
}
