//! The KV pool of one worker: blocks of 16 positions.

/// Positions in one KV block.
pub const KV_BLOCK_TOKENS: usize = 16;

/// All KV memory of one worker.
pub struct KvPool {}

/// The blocks of one sequence, in position order.
#[derive(Debug, Default)]
pub struct BlockTable {}

impl KvPool {
    pub fn free_blocks(&self) -> usize {
        todo!()
    }

    pub fn total_blocks(&self) -> usize {
        todo!()
    }

    /// Blocks that `positions` need.
    pub fn blocks_for(positions: usize) -> usize {
        positions.div_ceil(KV_BLOCK_TOKENS)
    }

    /// Grows `table` to hold `positions`; false, with nothing changed, when the pool is too empty.
    #[must_use]
    pub fn grow(&mut self, _table: &mut BlockTable, _positions: usize) -> bool {
        todo!()
    }

    /// Gives all blocks of `table` back.
    pub fn release(&mut self, _table: &mut BlockTable) {
        todo!()
    }
}

impl BlockTable {
    /// Positions that the blocks can hold.
    pub fn capacity(&self) -> usize {
        todo!()
    }
}
