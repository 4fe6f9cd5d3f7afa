//! Attention of query rows that share one key/value head, over the KV blocks of a sequence: the heads of one
//! token, or of several whose positions lie in one block. All of them are computed together, which reads keys
//! and values once.
//!
//! Positions are cut into spans of [`SPAN`], aligned to absolute positions. Inside a span: scores (a
//! chain over the head dimension, lanes are positions), their maximum, `p = exp(score - maximum)`, the
//! sum of p in 16 lanes by absolute position, and the value sum (a chain over positions). Spans are
//! merged in increasing order with one formula. So decode, chunked prefill and any split give the
//! same bits.
//!
//! A KV block is a panel: its keys are 16 rows (positions) over the head dimension, its values are
//! head dimensions over 16 positions. Both products therefore run on the tile kernels of
//! [`matmul`](super::matmul), and the scores are already laid out as the input of the second.

mod block;
mod softmax;

use std::cell::RefCell;

use crate::tensor::{Element, PANEL_ROWS, Values};

pub use block::{BLOCK, HeadBlock};
use softmax::{SoftMax, merge};

use super::Isa;
use super::matmul::{
    FEW_TOKENS, Fetch, MAX_GROUP, NO_PANELS, Store, TILE_TOKENS, Tile, group_size, run_tile,
};

/// Positions in one span.
pub const SPAN: usize = 512;
/// Largest head dimension; published models have at most this.
pub const MAX_HEAD_DIM: usize = 256;
/// Rows computed together at most: those of one tile.
pub const MAX_ROWS: usize = TILE_TOKENS;

const SPAN_BLOCKS: usize = SPAN / BLOCK;

/// Rows of queries that see the same keys and values: `heads` of one token, then the same of the next token, and
/// so on. The positions of all tokens lie in one KV block, so that every row reads the same blocks, whoever its
/// neighbours are.
pub struct Query<'a, F> {
    /// `[rows, head_dim]`, already rotated.
    pub queries: &'a [f32],
    pub heads: usize,
    pub head_dim: usize,
    /// Number type of keys and values.
    pub element: Element,
    pub scale: f32,
    /// Scaled scores are bent to `cap * tanh(score / cap)`.
    pub cap: Option<f32>,
    /// Last position that the first token sees; the next sees one more.
    pub position: usize,
    /// How many positions a token sees, its own included; `None` for all.
    pub window: Option<usize>,
    /// The head's part of the block that holds positions `16 * index..`, laid out as [`HeadBlock`].
    pub block: F,
}

impl<'b, F: Fn(usize) -> Values<'b>> Query<'_, F> {
    fn rows(&self) -> usize {
        self.queries.len() / self.head_dim
    }

    fn head(&self) -> HeadBlock {
        HeadBlock {
            head_dim: self.head_dim,
            element: self.element,
        }
    }

    /// First position that the first token sees.
    fn first_seen(&self) -> usize {
        first_seen(self.position, self.window)
    }

    fn check(&self) {
        let (rows, tokens) = (self.rows(), self.rows() / self.heads);
        assert!(self.queries.len() == rows * self.head_dim && (1..=MAX_ROWS).contains(&rows));
        assert!(rows == tokens * self.heads && self.position % BLOCK + tokens <= BLOCK);
    }
}

/// Spans up to that of `position`.
pub fn span_count(position: usize) -> usize {
    position / SPAN + 1
}

/// The first span that a token at `position` sees.
pub fn first_span(position: usize, window: Option<usize>) -> usize {
    first_seen(position, window) / SPAN
}

fn first_seen(position: usize, window: Option<usize>) -> usize {
    window.map_or(0, |window| (position + 1).saturating_sub(window))
}

/// Values of the state that `rows` rows leave of one span: the value sums `[blocks of 16][rows][16]`, then the
/// maximum of each row, then the sum of its p.
pub fn state_len(rows: usize, head_dim: usize) -> usize {
    rows * (head_dim.next_multiple_of(PANEL_ROWS) + 2)
}

thread_local! {
    /// Queries and scores of one span, and a second state: allocated once per thread.
    static MEMORY: RefCell<Memory> = const { RefCell::new(Memory { queries: Vec::new(), p: Vec::new(), state: Vec::new() }) };
}

struct Memory {
    queries: Vec<f32>,
    p: Vec<f32>,
    state: Vec<f32>,
}

/// The first `len` values, whatever they are.
fn room(values: &mut Vec<f32>, len: usize) -> &mut [f32] {
    if values.len() < len {
        values.resize(len, 0.0);
    }
    &mut values[..len]
}

/// Writes the attention output of all rows, `[rows, head_dim]`, to `out`.
///
/// # Panics
/// When the lengths differ, or the rows are too many or of more than one block.
pub fn attend<'b, F: Fn(usize) -> Values<'b>>(isa: Isa, query: &Query<'_, F>, out: &mut [f32]) {
    query.check();
    assert!(query.queries.len() == out.len());
    let len = state_len(query.rows(), query.head_dim);
    MEMORY.with_borrow_mut(|memory| {
        let Memory { queries, p, state } = memory;
        let (total, next) = room(state, 2 * len).split_at_mut(len);
        let queries = padded(query, queries);
        let first = first_span(query.position, query.window);
        one_span(isa, query, queries, p, first, total);
        for span in first + 1..span_count(query.position) {
            one_span(isa, query, queries, p, span, next);
            merge(isa, query.rows(), total, next);
        }
        finish(total, query.rows(), query.head_dim, out);
    });
}

/// Computes one span only, and leaves its state (see [`state_len`]): for sequences so long that their spans are
/// divided among threads. [`combine`] follows.
///
/// # Panics
/// As [`attend`], and when no token sees the span.
pub fn attend_span<'b, F: Fn(usize) -> Values<'b>>(
    isa: Isa,
    query: &Query<'_, F>,
    span: usize,
    state: &mut [f32],
) {
    query.check();
    assert!(state.len() == state_len(query.rows(), query.head_dim));
    assert!(span >= first_span(query.position, query.window));
    assert!(span < span_count(query.position));
    MEMORY.with_borrow_mut(|memory| {
        let queries = padded(query, &mut memory.queries);
        one_span(isa, query, queries, &mut memory.p, span, state);
    });
}

/// Merges the states of all spans of `rows` rows from number `first` on, which begin `stride` values apart in
/// `states`, in increasing order, and writes the output `[rows, head_dim]` to the beginning of `states`.
pub fn combine(
    isa: Isa,
    rows: usize,
    head_dim: usize,
    (first, stride): (usize, usize),
    states: &mut [f32],
) {
    let len = state_len(rows, head_dim);
    states.copy_within(first * stride..first * stride + len, 0);
    let (total, rest) = states.split_at_mut(stride);
    let rest = &rest[first * stride..];
    let total = &mut total[..len];
    for next in rest.chunks(stride) {
        merge(isa, rows, total, &next[..len]);
    }
    MEMORY.with_borrow_mut(|memory| {
        let out = room(&mut memory.queries, rows * head_dim);
        finish(total, rows, head_dim, out);
        total[..out.len()].copy_from_slice(out);
    });
}

/// The queries as input of a product: `[blocks of 16][rows][16]`, padded with zeros.
fn padded<'m, F>(query: &Query<'_, F>, memory: &'m mut Vec<f32>) -> &'m [f32] {
    let rows = query.queries.len() / query.head_dim;
    let out = room(memory, rows * query.head_dim.next_multiple_of(PANEL_ROWS));
    for (row, head) in query.queries.chunks_exact(query.head_dim).enumerate() {
        for (block, values) in head.chunks(PANEL_ROWS).enumerate() {
            let place = &mut out[(block * rows + row) * PANEL_ROWS..][..PANEL_ROWS];
            place[..values.len()].copy_from_slice(values);
            place[values.len()..].fill(0.0);
        }
    }
    out
}

fn one_span<'b, F: Fn(usize) -> Values<'b>>(
    isa: Isa,
    query: &Query<'_, F>,
    queries: &[f32],
    p: &mut Vec<f32>,
    span: usize,
    state: &mut [f32],
) {
    let head = query.head();
    let rows = query.rows();
    let line = rows * PANEL_ROWS;
    // Blocks that no row sees are not read: masked positions would add exact zeros.
    let first = (span * SPAN_BLOCKS).max(query.first_seen() / BLOCK);
    let blocks = (query.position / BLOCK + 1).min((span + 1) * SPAN_BLOCKS) - first;
    let p = room(p, blocks * line);
    scores(isa, query, queries, first, p);

    let sums = head.panels() * line;
    let (o, ml) = state.split_at_mut(sums);
    let (m, l) = ml.split_at_mut(rows);
    // Lanes of the last block that the first token sees; the next token sees one more.
    let seen = (first + blocks > query.position / BLOCK).then_some(query.position % BLOCK + 1);
    isa.run(SoftMax {
        p,
        rows,
        heads: query.heads,
        seen,
        hidden: hidden(query, first),
        scale: query.scale,
        cap: query.cap,
        m,
        l,
    });

    o.fill(0.0);
    for (index, p) in p.chunks_exact(line).enumerate() {
        let (_, values) = head.split((query.block)(first + index));
        // Few rows fetch what comes next in both products, values during the scores, and the keys of the next span
        // here: behind 7600 positions of SmolLM2 a token took 0.79 of the time that it took when all was fetched
        // during the scores. More rows find keys and values in a cache, where the rows before them left them;
        // prompts lost 5 % by the same.
        let keys = (rows <= FEW_TOKENS).then(|| {
            let soon = ((span + 1) * SPAN_BLOCKS + index).min(query.position / BLOCK);
            head.split((query.block)(soon)).0
        });
        let mut done = 0;
        while done < head.panels() {
            let group = group_size(isa, head.panels() - done, rows);
            let (mut panels, mut next) = (NO_PANELS, NO_PANELS);
            for (number, place) in (done..done + group).zip(0..) {
                panels[place] = value_panel(values, number);
                if let Some(keys) = keys {
                    next[place] = value_panel(keys, number);
                }
            }
            let tile = Tile {
                panels: &panels[..group],
                cols: BLOCK,
                fetch: match keys {
                    Some(_) => Fetch::NextEach(&next[..group]),
                    None => Fetch::Nothing,
                },
                x: p,
                x_block: line,
                out_block: line,
                tokens: rows,
                store: Store::Continue,
            };
            run_tile(isa, &tile, &mut o[done * line..]);
            done += group;
        }
    }
}

/// The part of `all` that is as long as a panel of values and begins as far from its end as there is room.
fn value_panel(all: Values<'_>, number: usize) -> Values<'_> {
    let len = (BLOCK * PANEL_ROWS).min(all.len());
    all.part((number * len).min(all.len() - len), len)
}

/// Positions from the beginning of block `first` on that the first token does not see because of the window; less
/// than 0 while later tokens see all of them too.
fn hidden<F>(query: &Query<'_, F>, first: usize) -> isize {
    match query.window {
        None => isize::MIN / 2,
        Some(window) => (query.position + 1) as isize - window as isize - (first * BLOCK) as isize,
    }
}

/// Dot products of all rows with the keys of the blocks from `first` on: `[blocks][rows][16]`. Several blocks
/// together, because the chains of a few rows would not keep the arithmetic busy.
fn scores<'b, F: Fn(usize) -> Values<'b>>(
    isa: Isa,
    query: &Query<'_, F>,
    queries: &[f32],
    first: usize,
    out: &mut [f32],
) {
    let head = query.head();
    let rows = query.rows();
    let line = rows * PANEL_ROWS;
    let blocks = out.len() / line;
    let last = query.position / BLOCK;
    let mut done = 0;
    while done < blocks {
        let group = group_size(isa, blocks - done, rows);
        let (mut panels, mut their_values) = (NO_PANELS, NO_PANELS);
        let mut next = [[Values::F32(&[]); 2]; MAX_GROUP];
        for (index, place) in (first + done..).zip(0..group) {
            let (keys, values) = head.split((query.block)(index));
            (panels[place], their_values[place]) = (keys, values);
            // Many rows: the keys of the next blocks, and the values that follow all scores. Each lies in pages of
            // its own, where the hardware knows nothing yet. Without, reading keys and values was half as fast.
            next[place] = [(query.block)((index + group).min(last)), values];
        }
        let tile = Tile {
            panels: &panels[..group],
            cols: head.head_dim,
            fetch: match rows <= FEW_TOKENS {
                true => Fetch::NextEach(&their_values[..group]),
                false => Fetch::NextTwo(&next[..group]),
            },
            x: queries,
            x_block: line,
            out_block: line,
            tokens: rows,
            store: Store::Replace,
        };
        run_tile(isa, &tile, &mut out[done * line..]);
        done += group;
    }
}

/// Divides the value sums: `[rows, head_dim]`.
fn finish(state: &[f32], rows: usize, head_dim: usize, out: &mut [f32]) {
    let l = &state[state.len() - rows..];
    for (row, out) in out.chunks_exact_mut(head_dim).enumerate() {
        for (block, out) in out.chunks_mut(PANEL_ROWS).enumerate() {
            let sums = &state[(block * rows + row) * PANEL_ROWS..];
            for (out, &sum) in out.iter_mut().zip(sums) {
                *out = sum / l[row];
            }
        }
    }
}

#[cfg(test)]
mod tests;
