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

    /// Tokens that a step computes in about the time of one.
    fn cheap_tokens(&self) -> usize;

    fn free_blocks(&mut self) -> usize;

    fn total_blocks(&mut self) -> usize;

    /// Grows `table` to hold `positions`; false, with nothing changed, when too few blocks are free.
    #[must_use]
    fn grow(&mut self, table: &mut Self::Table, positions: usize) -> bool;

    /// Gives all blocks of `table` back: those are free that nobody else holds.
    fn release(&mut self, table: &mut Self::Table);

    /// Number of the block of `table` that holds positions `16 * index..`.
    fn block(&self, table: &Self::Table, index: usize) -> u32;

    /// Puts a block that is held already at the end of `table`; it is not written again.
    fn share(&mut self, table: &mut Self::Table, block: u32);

    /// The same in the place of block `index`, which is given back.
    fn replace(&mut self, table: &mut Self::Table, index: usize, block: u32);

    /// One more holds the block.
    fn add_holder(&mut self, block: u32);

    /// One less does.
    fn drop_holder(&mut self, block: u32);

    /// Runs one step and returns `[tokens with logits, vocab]` in batch order. The tokens of a
    /// sequence stand in increasing position, and follow those already computed.
    fn forward(&mut self, tables: &[&Self::Table], batch: &[BatchToken]) -> &[f32];
}

impl Stepper for Runner {
    type Table = BlockTable;

    fn cheap_tokens(&self) -> usize {
        Runner::cheap_tokens(self)
    }

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

    fn block(&self, table: &BlockTable, index: usize) -> u32 {
        table.block(index)
    }

    fn share(&mut self, table: &mut BlockTable, block: u32) {
        self.kv().share(table, block);
    }

    fn replace(&mut self, table: &mut BlockTable, index: usize, block: u32) {
        self.kv().replace(table, index, block);
    }

    fn add_holder(&mut self, block: u32) {
        self.kv().add_holder(block);
    }

    fn drop_holder(&mut self, block: u32) {
        self.kv().drop_holder(block);
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
