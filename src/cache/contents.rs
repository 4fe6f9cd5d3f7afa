//! What a builder of tensors provides, and how its progress is watched.

use std::ops::Range;

use crate::tensor::TensorSpec;

/// Where columns may be cut: sources that store values in blocks have blocks of at most this many, and
/// of a power of two.
pub const COLUMN_STEP: usize = 256;

/// A piece of a tensor: whole panels or rows, or some columns of a single panel or row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// A multiple of 16 for panels.
    pub first_row: usize,
    /// All columns, or columns of one panel or row that begin at a multiple of [`COLUMN_STEP`].
    pub cols: Range<usize>,
}

/// Tensors that can be computed piece by piece, in any order, on any thread.
pub trait Contents: Sync {
    /// Every tensor, each name once.
    fn specs(&self) -> Vec<TensorSpec>;

    /// Writes all of `out`: the stored values of `part` of `spec`, as many rows or panels as fit. Padded
    /// rows become zeros.
    fn fill(&self, spec: &TensorSpec, part: &Part, out: &mut [f32]);

    /// Called after the last `fill` and before anything is published; a sentence refuses the result.
    fn confirm(&self) -> Result<(), String> {
        Ok(())
    }
}

/// What takes long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// A model is read, to know which one it is.
    Reading,
    /// Tensors are computed, into a cache file or memory.
    Making,
    /// The values of a cache file are compared with their checksums.
    Verifying,
    /// The tensors of a cache file are written as rows.
    Unpacking,
}

/// Watches the long works on the way to weights, one after the other. Methods are called from several threads;
/// none is called when a valid file is found that needs no look at its values.
pub trait Progress: Sync {
    /// A work over this many bytes begins.
    fn begin(&self, work: Work, total_bytes: u64);
    fn advance(&self, bytes: u64);
    /// The work succeeded. Not called when it fails.
    fn finish(&self);

    /// Asked before each piece of work: once it is true, it fails with
    /// [`Error::Stopped`](super::Error::Stopped) and leaves nothing behind.
    fn is_stopped(&self) -> bool {
        false
    }
}

/// Nobody watches.
impl Progress for () {
    fn begin(&self, _work: Work, _total_bytes: u64) {}
    fn advance(&self, _bytes: u64) {}
    fn finish(&self) {}
}
