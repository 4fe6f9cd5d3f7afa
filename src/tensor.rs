//! The words for weights in memory, shared by the cache, the weight sources and the model.
//!
//! Invariant: nothing here touches files or threads.

/// Rows in one panel: 16 FP32 values are one 64-byte cache line.
pub const PANEL_ROWS: usize = 16;

/// How the values of one tensor lie in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// A matrix as `[ceil(rows / 16), cols, 16]`: panel p holds rows 16p..16p+15, padded with zeros.
    Panels,
    /// A matrix as `[rows, cols]`, for tables of which only rows are looked up.
    Rows,
    /// `[cols]`; `rows` is 1.
    Vector,
}

/// Name, layout and size of one weight tensor; `cols` is the dimension that is summed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorSpec {
    pub name: String,
    pub layout: Layout,
    pub rows: usize,
    pub cols: usize,
}

impl TensorSpec {
    /// Stored FP32 values, panel padding included. `None` when the count overflows.
    pub fn stored_len(&self) -> Option<usize> {
        let rows = match self.layout {
            Layout::Panels => self.rows.checked_next_multiple_of(PANEL_ROWS)?,
            Layout::Rows | Layout::Vector => self.rows,
        };
        rows.checked_mul(self.cols)
    }
}
