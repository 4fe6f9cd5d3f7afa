//! The KV pool of one worker: blocks of 16 positions, handed out to sequences one by one.
//!
//! Invariant: a block is zeroed when it is handed out, so that positions which nobody has written
//! yet weigh exactly nothing (0 times a finite value) in attention.

use memmap2::{Advice, MmapMut};

use crate::compute::attention::{BLOCK, HeadBlock};
use crate::tensor::{Element, Values};

use super::Error;

/// Positions in one KV block.
pub const KV_BLOCK_TOKENS: usize = BLOCK;

/// What one position stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KvShape {
    pub layers: usize,
    pub kv_heads: usize,
    pub head_dim: usize,
    /// Number type of keys and values.
    pub element: Element,
}

impl KvShape {
    /// One layer's head in one block.
    pub(super) fn head(self) -> HeadBlock {
        HeadBlock {
            head_dim: self.head_dim,
            element: self.element,
        }
    }

    /// Bytes of one block over all layers and heads.
    pub fn block_bytes(self) -> usize {
        let values = self.layers * self.kv_heads * self.head().values_per_block();
        values * self.element.bytes()
    }
}

/// All KV memory of one worker: `[layer][kv head][block]` of [`HeadBlock`], on large pages where the system has
/// them. The blocks of a sequence are mostly neighbours, so that attention reads one stretch of memory.
pub struct KvPool {
    shape: KvShape,
    data: MmapMut,
    /// Blocks nobody holds; the last is handed out next.
    free: Vec<u32>,
    /// How many hold each block.
    holders: Vec<u32>,
    total: usize,
}

/// Memory of a pool, to write to.
pub(super) enum ValuesMut<'a> {
    F32(&'a mut [f32]),
    Bf16(&'a mut [u16]),
}

/// The blocks of one sequence, in position order.
#[derive(Debug, Default)]
pub struct BlockTable {
    blocks: Vec<u32>,
}

impl BlockTable {
    #[cfg(test)]
    pub(super) fn of(blocks: impl Iterator<Item = u32>) -> Self {
        BlockTable {
            blocks: blocks.collect(),
        }
    }

    /// Number of the block in the pool that holds positions `16 * index..`.
    pub fn block(&self, index: usize) -> u32 {
        self.blocks[index]
    }
}

impl KvPool {
    /// A pool of `blocks` blocks. Memory comes from the system when a block is first used.
    pub fn new(shape: KvShape, blocks: usize) -> Result<KvPool, Error> {
        let refuse = || Error::KvMemory {
            blocks,
            bytes: (blocks as u64).saturating_mul(shape.block_bytes() as u64),
        };
        let bytes = blocks.checked_mul(shape.block_bytes()).ok_or_else(refuse)?;
        let count = u32::try_from(blocks).map_err(|_| refuse())?;
        let data = MmapMut::map_anon(bytes.max(1)).map_err(|_| refuse())?;
        // A kernel without large pages refuses the advice, which changes nothing but the time.
        let _ = data.advise(Advice::HugePage);
        Ok(KvPool {
            shape,
            data,
            free: (0..count).rev().collect(),
            holders: vec![0; blocks],
            total: blocks,
        })
    }

    pub(super) fn shape(&self) -> KvShape {
        self.shape
    }

    pub fn free_blocks(&self) -> usize {
        self.free.len()
    }

    pub fn total_blocks(&self) -> usize {
        self.total
    }

    /// Blocks that `positions` need.
    pub fn blocks_for(positions: usize) -> usize {
        positions.div_ceil(KV_BLOCK_TOKENS)
    }

    /// Grows `table` to hold `positions`; false, with nothing changed, when the pool is too empty.
    #[must_use]
    pub fn grow(&mut self, table: &mut BlockTable, positions: usize) -> bool {
        let missing = Self::blocks_for(positions).saturating_sub(table.blocks.len());
        if missing > self.free.len() {
            return false;
        }
        for block in self.free.drain(self.free.len() - missing..).rev() {
            self.holders[block as usize] = 1;
            table.blocks.push(block);
        }
        let first = table.blocks.len() - missing;
        for index in first..table.blocks.len() {
            for part in 0..self.shape.layers * self.shape.kv_heads {
                let (layer, head) = (part / self.shape.kv_heads, part % self.shape.kv_heads);
                let (start, len) = self.place(table, index, layer, head);
                let bytes = self.shape.element.bytes();
                self.data[start * bytes..(start + len) * bytes].fill(0);
            }
        }
        true
    }

    /// Gives all blocks of `table` back.
    pub fn release(&mut self, table: &mut BlockTable) {
        for block in table.blocks.drain(..).rev() {
            self.drop_holder(block);
        }
    }

    /// Puts a block that is held already at the end of `table`. Its positions must be computed, and are not
    /// written again.
    pub fn share(&mut self, table: &mut BlockTable, block: u32) {
        self.add_holder(block);
        table.blocks.push(block);
    }

    /// Puts a block that is held already in the place of block `index` of `table`, which is given back.
    pub fn replace(&mut self, table: &mut BlockTable, index: usize, block: u32) {
        self.add_holder(block);
        let before = std::mem::replace(&mut table.blocks[index], block);
        self.drop_holder(before);
    }

    /// One more holds the block.
    ///
    /// # Panics
    /// When nobody did.
    pub fn add_holder(&mut self, block: u32) {
        let holders = &mut self.holders[block as usize];
        assert!(*holders > 0, "a free block cannot be shared");
        *holders += 1;
    }

    /// One less; the last one gives it back.
    pub fn drop_holder(&mut self, block: u32) {
        let holders = &mut self.holders[block as usize];
        *holders -= 1;
        if *holders == 0 {
            self.free.push(block);
        }
    }

    /// The part of the sequence's block `index` that one layer's head uses.
    pub(super) fn head(
        &self,
        table: &BlockTable,
        index: usize,
        layer: usize,
        head: usize,
    ) -> Values<'_> {
        let (start, len) = self.place(table, index, layer, head);
        let bytes = self.shape.element.bytes();
        let part = &self.data[start * bytes..(start + len) * bytes];
        Values::of(self.shape.element, part)
    }

    /// Where the part of block `index` of the sequence begins that one layer's head uses, in values.
    pub(super) fn start(
        &self,
        table: &BlockTable,
        index: usize,
        layer: usize,
        head: usize,
    ) -> usize {
        self.place(table, index, layer, head).0
    }

    /// All of the memory, to write to the parts that begin where [`KvPool::start`] says.
    pub(super) fn data_mut(&mut self) -> ValuesMut<'_> {
        match self.shape.element {
            Element::F32 => ValuesMut::F32(bytemuck::cast_slice_mut(&mut self.data)),
            Element::Bf16 => ValuesMut::Bf16(bytemuck::cast_slice_mut(&mut self.data)),
        }
    }

    fn place(&self, table: &BlockTable, index: usize, layer: usize, head: usize) -> (usize, usize) {
        let len = self.shape.head().values_per_block();
        let block = table.blocks[index] as usize;
        (
            ((layer * self.shape.kv_heads + head) * self.total + block) * len,
            len,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Positions that the blocks can hold.
    fn capacity(table: &BlockTable) -> usize {
        table.blocks.len() * KV_BLOCK_TOKENS
    }

    const SHAPE: KvShape = KvShape {
        layers: 2,
        kv_heads: 1,
        head_dim: 8,
        element: Element::F32,
    };

    #[test]
    fn narrow_blocks_take_half_the_bytes() {
        let narrow = KvShape {
            element: Element::Bf16,
            ..SHAPE
        };
        assert_eq!((SHAPE.block_bytes(), narrow.block_bytes()), (3072, 1536));
        let mut pool = KvPool::new(narrow, 2).unwrap();
        let mut table = BlockTable::default();
        assert!(pool.grow(&mut table, 17));
        assert_eq!(pool.head(&table, 1, 1, 0).len(), 16 * (8 + 16));
        assert!(matches!(pool.data_mut(), ValuesMut::Bf16(data) if data.len() == 2 * 768));
    }

    #[test]
    fn blocks_are_taken_and_given_back() {
        let mut pool = KvPool::new(SHAPE, 3).unwrap();
        let (mut a, mut b) = (BlockTable::default(), BlockTable::default());
        assert!(pool.grow(&mut a, 17));
        assert_eq!((capacity(&a), pool.free_blocks()), (32, 1));
        assert!(pool.grow(&mut a, 32));
        assert_eq!(pool.free_blocks(), 1);
        assert!(!pool.grow(&mut b, 17));
        assert_eq!((capacity(&b), pool.free_blocks()), (0, 1));
        pool.release(&mut a);
        assert_eq!((capacity(&a), pool.free_blocks()), (0, 3));
        assert!(pool.grow(&mut b, 48));
    }

    #[test]
    fn a_reused_block_is_zero() {
        let mut pool = KvPool::new(SHAPE, 1).unwrap();
        let mut table = BlockTable::default();
        assert!(pool.grow(&mut table, 1));
        let (start, len) = (pool.start(&table, 0, 1, 0), SHAPE.head().values_per_block());
        let ValuesMut::F32(data) = pool.data_mut() else {
            panic!("a pool of FP32 values");
        };
        let part = &mut data[start..start + len];
        SHAPE.head().write(part, 3, &[7.0; 8], &[9.0; 8]);
        let values = |pool: &KvPool, layer| {
            let part = pool.head(&table, 0, layer, 0);
            part.f32().unwrap().to_vec()
        };
        assert!(values(&pool, 1).contains(&9.0));
        let mut given_back = BlockTable {
            blocks: table.blocks.clone(),
        };
        pool.release(&mut given_back);
        assert!(pool.grow(&mut given_back, 1));
        assert_eq!(given_back.blocks, table.blocks);
        assert!((0..2).all(|layer| values(&pool, layer).iter().all(|&v| v == 0.0)));
    }

    #[test]
    fn a_shared_block_is_free_when_the_last_holder_goes() {
        let mut pool = KvPool::new(SHAPE, 3).unwrap();
        let (mut a, mut b) = (BlockTable::default(), BlockTable::default());
        assert!(pool.grow(&mut a, 32));
        pool.share(&mut b, a.block(0));
        assert!(pool.grow(&mut b, 32));
        assert_eq!((b.block(0), pool.free_blocks()), (a.block(0), 0));
        pool.replace(&mut b, 1, a.block(1));
        assert_eq!((b.block(1), pool.free_blocks()), (a.block(1), 1));
        pool.add_holder(a.block(0));
        let first = a.block(0);
        pool.release(&mut a);
        assert_eq!(pool.free_blocks(), 1);
        pool.release(&mut b);
        assert_eq!(pool.free_blocks(), 2);
        pool.drop_holder(first);
        assert_eq!(pool.free_blocks(), 3);
    }

    #[test]
    fn an_impossible_pool_is_refused() {
        assert!(matches!(
            KvPool::new(SHAPE, usize::MAX / 4),
            Err(Error::KvMemory { .. })
        ));
    }
}
