//! What a worker needs of a model and its vocabulary, as traits, so that scheduling, sampling and
//! streaming can be tested without weights.

use crate::model::{BatchToken, BlockTable, Reach, Runner};
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

    /// Positions that a token sees in layers with a window. Without such layers no blocks for them are asked for.
    fn window(&self) -> Option<usize>;

    fn free_blocks(&mut self, reach: Reach) -> usize;

    /// Blocks for the layers that see all positions.
    fn total_blocks(&mut self) -> usize;

    /// Grows the blocks of one kind in `table` to hold `positions`; false, with nothing changed, when too few are
    /// free.
    #[must_use]
    fn grow(&mut self, table: &mut Self::Table, reach: Reach, positions: usize) -> bool;

    /// Gives the blocks before number `first` back that belong to layers with a window.
    fn slide(&mut self, table: &mut Self::Table, first: usize);

    /// Gives all blocks of `table` back: those are free that nobody else holds.
    fn release(&mut self, table: &mut Self::Table);

    /// Number of the block of `table` that holds positions `16 * index..`.
    fn block(&self, table: &Self::Table, reach: Reach, index: usize) -> u32;

    /// Puts a block that is held already at the end of `table`, or nothing that a window still shows; it is not
    /// written again.
    fn share(&mut self, table: &mut Self::Table, reach: Reach, block: Option<u32>);

    /// Puts a block that is held already in the place of block `index`, which is given back.
    fn replace(&mut self, table: &mut Self::Table, reach: Reach, index: usize, block: u32);

    /// One more holds the block.
    fn add_holder(&mut self, reach: Reach, block: u32);

    /// One less does.
    fn drop_holder(&mut self, reach: Reach, block: u32);

    /// Runs one step and returns `[tokens with logits, vocab]` in batch order. The tokens of a
    /// sequence stand in increasing position, and follow those already computed.
    fn forward(&mut self, tables: &[&Self::Table], batch: &[BatchToken]) -> &[f32];
}

impl Stepper for Runner {
    type Table = BlockTable;

    fn cheap_tokens(&self) -> usize {
        Runner::cheap_tokens(self)
    }

    fn window(&self) -> Option<usize> {
        Runner::window(self)
    }

    fn free_blocks(&mut self, reach: Reach) -> usize {
        self.kv().free_blocks(reach)
    }

    fn total_blocks(&mut self) -> usize {
        self.kv().total_blocks()
    }

    fn grow(&mut self, table: &mut BlockTable, reach: Reach, positions: usize) -> bool {
        self.kv().grow(table, reach, positions)
    }

    fn slide(&mut self, table: &mut BlockTable, first: usize) {
        self.kv().slide(table, first);
    }

    fn release(&mut self, table: &mut BlockTable) {
        self.kv().release(table);
    }

    fn block(&self, table: &BlockTable, reach: Reach, index: usize) -> u32 {
        table.block(reach, index)
    }

    fn share(&mut self, table: &mut BlockTable, reach: Reach, block: Option<u32>) {
        self.kv().share(table, reach, block);
    }

    fn replace(&mut self, table: &mut BlockTable, reach: Reach, index: usize, block: u32) {
        self.kv().replace(table, reach, index, block);
    }

    fn add_holder(&mut self, reach: Reach, block: u32) {
        self.kv().add_holder(reach, block);
    }

    fn drop_holder(&mut self, reach: Reach, block: u32) {
        self.kv().drop_holder(reach, block);
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
