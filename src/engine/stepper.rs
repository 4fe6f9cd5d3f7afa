//! What a worker needs of a model and its vocabulary, as traits, so that scheduling, sampling and
//! streaming can be tested without weights.

use crate::model::{BatchToken, BlockTable, Runner};
use crate::text::Tokenizer;

/// Sizes of the model that all workers share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Logits per token; every id is below.
    pub vocab: usize,
    /// Positions that prompt and output of a sequence share.
    pub context: usize,
}

/// A model with the KV memory of one worker.
pub trait Stepper {
    /// The KV blocks of one sequence.
    type Table: Default;

    fn free_blocks(&mut self) -> usize;

    fn total_blocks(&mut self) -> usize;

    /// Grows `table` to hold `positions`; false, with nothing changed, when too few blocks are free.
    #[must_use]
    fn grow(&mut self, table: &mut Self::Table, positions: usize) -> bool;

    /// Gives all blocks of `table` back.
    fn release(&mut self, table: &mut Self::Table);

    /// Runs one step and returns `[tokens with logits, vocab]` in batch order. The tokens of a
    /// sequence stand in increasing position, and follow those already computed.
    fn forward(&mut self, tables: &[&Self::Table], batch: &[BatchToken]) -> &[f32];
}

impl Stepper for Runner {
    type Table = BlockTable;

    fn free_blocks(&mut self) -> usize {
        self.kv().free_blocks()
    }

    fn total_blocks(&mut self) -> usize {
        self.kv().total_blocks()
    }

    fn grow(&mut self, table: &mut BlockTable, positions: usize) -> bool {
        self.kv().grow(table, positions)
    }

    fn release(&mut self, table: &mut BlockTable) {
        self.kv().release(table);
    }

    fn forward(&mut self, tables: &[&BlockTable], batch: &[BatchToken]) -> &[f32] {
        Runner::forward(self, tables, batch)
    }
}

/// What tokens print as, and which of them end a sequence.
pub trait Vocabulary: Send + Sync {
    /// The bytes a token prints as; empty for control tokens.
    fn bytes(&self, id: u32) -> &[u8];

    /// Every end-of-generation token, ascending.
    fn end_tokens(&self) -> &[u32];
}

impl Vocabulary for Tokenizer {
    fn bytes(&self, id: u32) -> &[u8] {
        Tokenizer::bytes(self, id)
    }

    fn end_tokens(&self) -> &[u32] {
        Tokenizer::end_tokens(self)
    }
}
