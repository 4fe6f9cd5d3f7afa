//! The forward pass.

use std::sync::Arc;

use crate::config;

use super::{BlockTable, KvPool};

/// Bound weights and sizes; shared by all workers.
pub struct Model {}

/// What one worker needs to run a model: thread team, scratch memory, KV pool.
pub struct Runner {}

/// One token of a step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BatchToken {
    pub id: u32,
    /// Absolute position in its sequence.
    pub position: usize,
    /// Index into the step's block tables.
    pub table: usize,
    /// Whether logits are wanted for this token.
    pub logits: bool,
}

impl Model {
    pub fn vocab(&self) -> usize {
        todo!()
    }

    pub fn context(&self) -> usize {
        todo!()
    }

    /// Bytes of one KV block over all layers.
    pub fn kv_block_bytes(&self) -> usize {
        todo!()
    }
}

impl Runner {
    /// Starts `threads - 1` helpers named `woolly-w<worker>-t<i>` and allocates `kv_blocks`.
    pub fn new(
        _model: Arc<Model>,
        _isa: config::IsaChoice,
        _worker: usize,
        _threads: usize,
        _kv_blocks: usize,
        _max_batch_tokens: usize,
    ) -> Result<Self, super::Error> {
        todo!()
    }

    pub fn kv(&mut self) -> &mut KvPool {
        todo!()
    }

    /// Runs the tokens of one step (tokens of one sequence in increasing position, its block table
    /// long enough) and returns the logits `[tokens with logits, vocab]`, in batch order.
    pub fn forward(&mut self, _tables: &[&BlockTable], _batch: &[BatchToken]) -> &[f32] {
        todo!()
    }
}
