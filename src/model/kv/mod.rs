//! The KV pool of one worker: blocks of 16 positions, handed out to sequences one by one.
//!
//! Layers with a sliding window have blocks of their own (see [`Reach`]): a sequence gives those back that lie
//! behind the window, so that a long one holds a ring of them, while the layers that see all positions keep theirs.
//!
//! Invariant: a block is zeroed when it is handed out, so that positions which nobody has written
//! yet weigh exactly nothing (0 times a finite value) in attention.

mod shape;
#[cfg(test)]
mod tests;
mod window;

use memmap2::{Advice, MmapMut};

use crate::compute::attention::BLOCK;
use crate::tensor::{Element, Values};

use super::Error;
pub use shape::{KvShape, PerReach, Reach};
pub use window::{first_kept, ring_blocks};

/// Positions in one KV block.
pub const KV_BLOCK_TOKENS: usize = BLOCK;

/// All KV memory of one worker: for each kind of layers `[layer][kv head][block]` of [`HeadBlock`], on large pages
/// where the system has them. The blocks of a sequence are mostly neighbours, so that attention reads one stretch
/// of memory.
pub struct KvPool {
    shape: KvShape,
    /// What each layer of the model is, and its number among those of its kind.
    places: Vec<(Reach, usize)>,
    data: MmapMut,
    books: PerReach<Book>,
}

/// Who holds the blocks of one kind.
struct Book {
    /// Blocks nobody holds; the last is handed out next.
    free: Vec<u32>,
    /// How many hold each block.
    holders: Vec<u32>,
    /// Where the first of them lies in the memory, in values.
    start: usize,
}

/// Memory of a pool, to write to.
pub(super) enum ValuesMut<'a> {
    F32(&'a mut [f32]),
    Bf16(&'a mut [u16]),
}

/// The blocks of one sequence, in position order.
#[derive(Debug, Default)]
pub struct BlockTable {
    blocks: PerReach<Vec<u32>>,
}

/// Stands in a table for a block that the window has left behind.
const GONE: u32 = u32::MAX;

impl BlockTable {
    #[cfg(test)]
    pub(super) fn of(blocks: impl Iterator<Item = u32>) -> Self {
        let all = blocks.collect();
        let window = vec![];
        BlockTable {
            blocks: PerReach { all, window },
        }
    }

    /// Number of the block in the pool that holds positions `16 * index..`.
    pub fn block(&self, reach: Reach, index: usize) -> u32 {
        self.blocks.of(reach)[index]
    }
}

impl KvPool {
    /// A pool for the layers of a model, which have the given reaches. Memory comes from the system when a block is
    /// first used.
    pub fn new(
        shape: KvShape,
        layers: impl Iterator<Item = Reach>,
        blocks: PerReach<usize>,
    ) -> Result<KvPool, Error> {
        let each = shape.block_bytes();
        let refuse = || Error::KvMemory {
            blocks: blocks.all,
            bytes: (blocks.all as u64)
                .saturating_mul(each.all as u64)
                .saturating_add((blocks.window as u64).saturating_mul(each.window as u64)),
        };
        let all = blocks.all.checked_mul(each.all).ok_or_else(refuse)?;
        let window = blocks.window.checked_mul(each.window).ok_or_else(refuse)?;
        let bytes = all.checked_add(window).ok_or_else(refuse)?;
        let book = |count: usize, start: usize| -> Result<Book, Error> {
            // The last number means something else.
            let last = u32::try_from(count).ok().filter(|&count| count < GONE);
            Ok(Book {
                free: (0..last.ok_or_else(refuse)?).rev().collect(),
                holders: vec![0; count],
                start,
            })
        };
        let data = MmapMut::map_anon(bytes.max(1)).map_err(|_| refuse())?;
        // A kernel without large pages refuses the advice, which changes nothing but the time.
        let _ = data.advise(Advice::HugePage);
        let mut counts = PerReach::default();
        let place = |reach: Reach| {
            let count: &mut usize = counts.of_mut(reach);
            *count += 1;
            (reach, *count - 1)
        };
        let places = layers.map(place).collect();
        assert!(counts == shape.layers, "the shape counts the same layers");
        Ok(KvPool {
            shape,
            places,
            data,
            books: PerReach {
                all: book(blocks.all, 0)?,
                window: book(blocks.window, all / shape.element.bytes())?,
            },
        })
    }

    pub(super) fn shape(&self) -> KvShape {
        self.shape
    }

    /// What layer `layer` of the model is.
    pub(super) fn reach(&self, layer: usize) -> Reach {
        self.places[layer].0
    }

    pub fn free_blocks(&self, reach: Reach) -> usize {
        self.books.of(reach).free.len()
    }

    /// Blocks that there are for the layers that see all positions.
    pub fn total_blocks(&self) -> usize {
        self.books.all.holders.len()
    }

    /// Blocks that `positions` need.
    pub fn blocks_for(positions: usize) -> usize {
        positions.div_ceil(KV_BLOCK_TOKENS)
    }

    /// Grows `table` to hold `positions` in both kinds of layers, as long as it never gives one back behind a
    /// window; false when the pool is too empty.
    #[must_use]
    pub fn grow_both(&mut self, table: &mut BlockTable, positions: usize) -> bool {
        self.grow(table, Reach::All, positions)
            && (self.shape.layers.window == 0 || self.grow(table, Reach::Window, positions))
    }

    /// Grows the blocks of one kind in `table` to hold `positions`; false, with nothing changed, when the pool is
    /// too empty.
    #[must_use]
    pub fn grow(&mut self, table: &mut BlockTable, reach: Reach, positions: usize) -> bool {
        let blocks = table.blocks.of_mut(reach);
        let book = self.books.of_mut(reach);
        let missing = Self::blocks_for(positions).saturating_sub(blocks.len());
        if missing > book.free.len() {
            return false;
        }
        for block in book.free.drain(book.free.len() - missing..).rev() {
            book.holders[block as usize] = 1;
            blocks.push(block);
        }
        let first = blocks.len() - missing;
        for index in first..blocks.len() {
            for layer in 0..self.places.len() {
                if self.reach(layer) == reach {
                    for head in 0..self.shape.kv_heads {
                        let (start, len) = self.place(table, index, layer, head);
                        let bytes = self.shape.element.bytes();
                        self.data[start * bytes..(start + len) * bytes].fill(0);
                    }
                }
            }
        }
        true
    }

    /// Gives the blocks before number `first` back that belong to layers with a window.
    pub fn slide(&mut self, table: &mut BlockTable, first: usize) {
        // From the end: most of them went before.
        for block in table.blocks.window[..first].iter_mut().rev() {
            match std::mem::replace(block, GONE) {
                GONE => return,
                held => self.drop_holder(Reach::Window, held),
            }
        }
    }

    /// Gives all blocks of `table` back.
    pub fn release(&mut self, table: &mut BlockTable) {
        for reach in [Reach::All, Reach::Window] {
            for block in table.blocks.of_mut(reach).drain(..).rev() {
                if block != GONE {
                    self.drop_holder(reach, block);
                }
            }
        }
    }

    /// Puts a block that is held already at the end of `table`, or nothing that the window still shows. Its
    /// positions must be computed, and are not written again.
    pub fn share(&mut self, table: &mut BlockTable, reach: Reach, block: Option<u32>) {
        if let Some(block) = block {
            self.add_holder(reach, block);
        }
        table.blocks.of_mut(reach).push(block.unwrap_or(GONE));
    }

    /// Puts a block that is held already in the place of block `index` of `table`, which is given back.
    pub fn replace(&mut self, table: &mut BlockTable, reach: Reach, index: usize, block: u32) {
        self.add_holder(reach, block);
        let before = std::mem::replace(&mut table.blocks.of_mut(reach)[index], block);
        self.drop_holder(reach, before);
    }

    /// One more holds the block.
    ///
    /// # Panics
    /// When nobody did.
    pub fn add_holder(&mut self, reach: Reach, block: u32) {
        let holders = &mut self.books.of_mut(reach).holders[block as usize];
        assert!(*holders > 0, "a free block cannot be shared");
        *holders += 1;
    }

    /// One less; the last one gives it back.
    pub fn drop_holder(&mut self, reach: Reach, block: u32) {
        let book = self.books.of_mut(reach);
        let holders = &mut book.holders[block as usize];
        *holders -= 1;
        if *holders == 0 {
            book.free.push(block);
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
        let (reach, number) = self.places[layer];
        let book = self.books.of(reach);
        let block = table.block(reach, index) as usize;
        let part = (number * self.shape.kv_heads + head) * book.holders.len() + block;
        (book.start + part * len, len)
    }
}
