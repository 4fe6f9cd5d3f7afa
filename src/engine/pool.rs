//! The pool: a bounded channel of tasks in, a bounded channel of events out.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::config;
use crate::job::{JobId, SamplingParams, SequenceEvent};
use crate::model::{Error, Model};
use crate::text::Tokenizer;

/// One sequence to run.
#[derive(Clone)]
pub struct Task {
    pub job: JobId,
    /// Index in the job; also the random stream.
    pub sequence: usize,
    pub prompt: Arc<[u32]>,
    pub params: Arc<SamplingParams>,
    /// Set by anyone to stop the sequence at the next token.
    pub cancelled: Arc<AtomicBool>,
}

/// The decode workers. Dropping it without [`Pool::stop`] stops them as well.
pub struct Pool {}

impl Pool {
    /// Starts all workers. Every task ends with exactly one `Finished`, `Failed` or `Stopped` event.
    /// `events` should be bounded: when it is full the workers wait, which slows decoding to the
    /// speed at which results are recorded and loses nothing.
    pub fn start(
        _model: Arc<Model>,
        _tokenizer: Arc<Tokenizer>,
        _compute: &config::Compute,
        _workers: &config::Workers,
        _events: async_channel::Sender<SequenceEvent>,
    ) -> Result<Self, Error> {
        todo!()
    }

    /// Hands a sequence to the next free worker; blocks while the task channel is full.
    pub fn submit(&self, _task: Task) {
        todo!()
    }

    /// Sequences that can run at once over all workers.
    pub fn slots(&self) -> usize {
        todo!()
    }

    /// Positions that one sequence can ever get: the context, or less when the KV pool is smaller.
    pub fn max_positions(&self) -> usize {
        todo!()
    }

    /// Stops after the current step: running sequences end with `Stopped`. Joins the threads.
    pub fn stop(self) {
        todo!()
    }
}
