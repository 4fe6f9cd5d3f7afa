//! Matrix products: panels of weights times the activations of all tokens of a step.
//!
//! Tiles are formed here, once for all instruction sets; a tile kernel computes 16 or 32 rows (or 64)
//! for up to [`TILE_TOKENS`] tokens and keeps every accumulator in a register. Tile shapes cannot
//! change a bit: each output element is its own chain over k.

use crate::tensor::{Element, PANEL_ROWS, Values};

use super::lanes::LanesView;
use super::{Isa, Panels};

/// Tokens in one tile at most: 2 panels x 14 tokens are 28 accumulators, with 2 registers for the
/// weights and 1 for the broadcast that is 31 of AVX-512's 32 registers. On Zen 5 a tile of 8 tokens
/// was 13 % slower than 14, and 12 equal to it.
pub const TILE_TOKENS: usize = 14;

/// Up to so many tokens, or rows of attention, the weights, keys and values take longer to come than to multiply.
pub(super) const FEW_TOKENS: usize = 6;

/// What happens to the chain's result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Store {
    /// `out = result`.
    Replace,
    /// `out = out + result`: the residual connection, added after the chain.
    Add,
    /// The chain starts from `out` instead of 0: a sum over k that comes in pieces.
    Continue,
}

/// Panels that a kernel computes together at most.
pub(super) const MAX_GROUP: usize = 4;

/// What a kernel fetches into a cache while it computes.
#[cfg_attr(
    not(target_arch = "x86_64"),
    allow(dead_code, reason = "only AVX-512 fetches ahead")
)]
#[derive(Debug, Clone, Copy)]
pub(super) enum Fetch<'a> {
    Nothing,
    /// Its own panels, some lines ahead, and the beginnings of those that follow.
    Own(&'a [Values<'a>]),
    /// The activations of the next 16 columns: those of many tokens lie far apart.
    Input,
    /// The same, and one panel that is needed soon, line by line.
    Next(Values<'a>),
    /// One panel for each of the tile's own; for up to [`FEW_TOKENS`].
    NextEach(&'a [Values<'a>]),
    /// Two panels for each of the tile's own; for more.
    NextTwo(&'a [[Values<'a>; 2]]),
}

/// One tile: some panels times tokens `token..token + tokens` of `x`.
pub(super) struct Tile<'a> {
    /// `[cols, 16]` each, or in BF16 `[ceil(cols / 2), 16, 2]`; all of one number type.
    pub(super) panels: &'a [Values<'a>],
    pub(super) cols: usize,
    pub(super) fetch: Fetch<'a>,
    /// Activations from the tile's first token on; block b starts at `b * x_block`.
    pub(super) x: &'a [f32],
    pub(super) x_block: usize,
    /// Values between the starts of two panels' results.
    pub(super) out_block: usize,
    pub(super) tokens: usize,
    pub(super) store: Store,
}

/// No panels, for tables that are filled later.
pub(super) const NO_PANELS: [Values<'static>; MAX_GROUP] = [Values::F32(&[]); MAX_GROUP];

impl Tile<'_> {
    /// Number type of the panels.
    ///
    /// # Panics
    /// When there are none.
    pub(super) fn element(&self) -> Element {
        self.panels[0].element()
    }

    /// Checks every length that a kernel relies on.
    fn check(&self, out: &[f32]) {
        let blocks = self.cols.div_ceil(PANEL_ROWS);
        let used = self.tokens * PANEL_ROWS;
        let panels = self.panels.len();
        assert!(self.tokens >= 1 && self.tokens <= TILE_TOKENS);
        let element = self.element();
        let len = element.panel_len(self.cols).expect("a panel in memory");
        let fits = |panel: &Values<'_>| panel.element() == element && panel.len() == len;
        assert!(self.panels.iter().all(fits));
        match self.fetch {
            Fetch::NextEach(next) => assert!(next.len() == panels),
            Fetch::NextTwo(next) => assert!(next.len() == panels),
            _ => {}
        }
        assert!(blocks == 0 || self.x.len() >= (blocks - 1) * self.x_block + used);
        assert!(panels >= 1 && out.len() >= (panels - 1) * self.out_block + used);
    }
}

/// A matrix times the activations of all tokens.
#[derive(Clone, Copy)]
pub struct Product<'a> {
    pub isa: Isa,
    pub weights: Panels<'a>,
    pub x: LanesView<'a>,
    /// Values between the starts of two panels' results, each `[tokens, 16]`.
    pub out_block: usize,
    pub store: Store,
}

impl Product<'_> {
    /// Computes panels `first..`; the length of `out` says how many. `follow` is the panel that the thread
    /// probably computes after these, and its matrix: its weights come while the last of these are used.
    ///
    /// # Panics
    /// When the shapes do not fit.
    pub fn run(&self, first: usize, out: &mut [f32], follow: Option<(Panels<'_>, usize)>) {
        let Product {
            isa,
            weights,
            x,
            out_block,
            store,
        } = *self;
        assert_eq!(weights.cols(), x.width);
        if x.tokens == 0 {
            return;
        }
        let count = out.len().div_ceil(out_block);
        let several = x.tokens > TILE_TOKENS;
        let mut done = 0;
        while done < count {
            let group = group_size(isa, count - done, x.tokens);
            let mut panels = NO_PANELS;
            for (panel, place) in (first + done..).zip(&mut panels[..group]) {
                *place = weights.panel(panel);
            }
            let mut following = NO_PANELS;
            let (matrix, next) = match follow {
                Some(follow) if done + group >= count => follow,
                _ => (weights, first + done + group),
            };
            let left = matrix.count().saturating_sub(next).min(group);
            for (panel, place) in (next..).zip(&mut following[..left]) {
                *place = matrix.panel(panel);
            }
            let out = &mut out[done * out_block..];
            for (number, (token, tokens)) in tiles(x.tokens).enumerate() {
                let start = token * PANEL_ROWS;
                // The next strip comes while this one is used again and again.
                let ahead = done + group + number;
                let next = match ahead.checked_sub(count) {
                    None => Some((weights, first + ahead)),
                    Some(behind) => follow.map(|(matrix, panel)| (matrix, panel + behind)),
                };
                let fetch = match next {
                    _ if !several => Fetch::Own(&following[..left]),
                    Some((matrix, panel)) if number < group && panel < matrix.count() => {
                        Fetch::Next(matrix.panel(panel))
                    }
                    _ => Fetch::Input,
                };
                let tile = Tile {
                    panels: &panels[..group],
                    cols: x.width,
                    fetch,
                    x: &x.values[start..],
                    x_block: x.block_len,
                    out_block,
                    tokens,
                    store,
                };
                run_tile(isa, &tile, &mut out[start..]);
            }
            done += group;
        }
    }
}

/// Panels computed together for so many tokens: as many as have room for their accumulators, because each broadcast
/// is then loaded once for all their rows: 4 up to 6 tokens, 3 up to 9 (4 % faster than 2), else 2. Several tiles share
/// the work of fetching the next group, which takes 2.
pub(super) fn group_size(isa: Isa, left: usize, tokens: usize) -> usize {
    let by_tokens = match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512(_) => [4, 3, 2],
        _ => [1, 1, 1],
    };
    let most = by_tokens[usize::from(tokens > 6) + usize::from(tokens > 9)];
    match left {
        // Two and two rather than three and one.
        4 if most == 3 => 2,
        3 if most == 4 => 2,
        _ => left.min(most),
    }
}

/// `(first token, tokens)` of each tile: as few tiles as possible, of nearly equal size, because a
/// last tile of one token would cost as much weight traffic as a full one.
pub fn tiles(tokens: usize) -> impl Iterator<Item = (usize, usize)> {
    let count = tokens.div_ceil(TILE_TOKENS);
    (0..count).map(move |i| {
        let (start, end) = (i * tokens / count, (i + 1) * tokens / count);
        (start, end - start)
    })
}

pub(super) fn run_tile(isa: Isa, tile: &Tile<'_>, out: &mut [f32]) {
    tile.check(out);
    match isa {
        Isa::Portable => portable(tile, out),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2(token) => token.tile(tile, out),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512(token) => token.tile(tile, out),
        #[cfg(target_arch = "aarch64")]
        Isa::Neon(token) => token.tile(tile, out),
    }
}

fn portable(tile: &Tile<'_>, out: &mut [f32]) {
    for (panel, weights) in tile.panels.iter().enumerate() {
        for token in 0..tile.tokens {
            let out = &mut out[panel * tile.out_block + token * PANEL_ROWS..][..PANEL_ROWS];
            let mut acc = [0.0f32; PANEL_ROWS];
            if tile.store == Store::Continue {
                acc.copy_from_slice(out);
            }
            for k in 0..tile.cols {
                let x = tile.x[k / PANEL_ROWS * tile.x_block + token * PANEL_ROWS + k % PANEL_ROWS];
                for (acc, w) in acc.iter_mut().zip(weights.column(k)) {
                    *acc = w.mul_add(x, *acc);
                }
            }
            for (out, acc) in out.iter_mut().zip(acc) {
                *out = match tile.store {
                    Store::Replace | Store::Continue => acc,
                    Store::Add => *out + acc,
                };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compute::{Lanes, panel, reference};
    use crate::tensor::{narrow, widen};

    /// Values that need rounding at every step.
    fn values(len: usize, salt: u32) -> Vec<f32> {
        let mut state = salt.wrapping_mul(2_654_435_761).wrapping_add(12345);
        (0..len)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 8) as f32 / 8_388_608.0 - 1.0
            })
            .collect()
    }

    #[test]
    fn every_isa_equals_the_plain_loop_bit_for_bit() {
        for (rows, cols) in [
            (1, 1),
            (15, 16),
            (16, 17),
            (17, 31),
            (33, 64),
            (100, 37),
            (64, 184),
        ] {
            let matrix = values(rows * cols, 1);
            let rounded: Vec<f32> = matrix.iter().map(|&v| widen(narrow(v))).collect();
            let data = panel::pack(&matrix, rows, cols);
            let pairs = panel::pack_pairs(&matrix, rows, cols);
            for (data, matrix) in [
                (Values::F32(&data), &matrix),
                (Values::Bf16(&pairs), &rounded),
            ] {
                let weights = Panels::new(data, rows, cols);
                for tokens in (1..=16).chain([29, 43]) {
                    equals_the_plain_loop(weights, matrix, tokens);
                }
            }
        }
    }

    fn equals_the_plain_loop(weights: Panels<'_>, matrix: &[f32], tokens: usize) {
        let (rows, cols) = (weights.rows(), weights.cols());
        let mut x = Lanes::new(cols, tokens);
        let inputs: Vec<Vec<f32>> = (0..tokens).map(|t| values(cols, 7 + t as u32)).collect();
        for (t, input) in inputs.iter().enumerate() {
            x.set_token(t, input);
        }
        for isa in Isa::all() {
            let mut y = Lanes::new(rows, tokens);
            let block = y.block_len();
            let product = Product {
                isa,
                weights,
                x: x.view(),
                out_block: block,
                store: Store::Replace,
            };
            product.run(0, y.values_mut(), Some((weights, 1)));
            for (t, input) in inputs.iter().enumerate() {
                let mut got = vec![0.0; rows];
                y.copy_token(t, 0, &mut got);
                let want = reference::matrix_vector(matrix, input);
                let bits = |v: &[f32]| v.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
                let element = weights.panel(0).element();
                assert_eq!(
                    bits(&got),
                    bits(&want),
                    "{isa} {element:?} {rows}x{cols} token {t} of {tokens}"
                );
            }
        }
    }

    #[test]
    fn the_residual_is_added_after_the_chain() {
        let (rows, cols) = (48, 50);
        let matrix = values(rows * cols, 3);
        let data = panel::pack(&matrix, rows, cols);
        let input = values(cols, 4);
        let before = values(rows, 5);
        for isa in Isa::all() {
            let mut x = Lanes::new(cols, 1);
            x.set_token(0, &input);
            let mut y = Lanes::new(rows, 1);
            y.set_token(0, &before);
            let panels = Panels::new(Values::F32(&data), rows, cols);
            let block = y.block_len();
            let product = Product {
                isa,
                weights: panels,
                x: x.view(),
                out_block: block,
                store: Store::Add,
            };
            product.run(0, y.values_mut(), None);
            let mut got = vec![0.0; rows];
            y.copy_token(0, 0, &mut got);
            let want: Vec<f32> = reference::matrix_vector(&matrix, &input)
                .iter()
                .zip(&before)
                .map(|(r, b)| b + r)
                .collect();
            assert_eq!(got, want, "{isa}");
        }
    }

    #[test]
    fn tiles_are_balanced_and_complete() {
        assert_eq!(tiles(14).collect::<Vec<_>>(), [(0, 14)]);
        assert_eq!(tiles(16).collect::<Vec<_>>(), [(0, 8), (8, 8)]);
        assert_eq!(tiles(29).collect::<Vec<_>>(), [(0, 9), (9, 10), (19, 10)]);
        assert_eq!(tiles(0).count(), 0);
        for tokens in 1..200 {
            assert_eq!(tiles(tokens).map(|(_, n)| n).sum::<usize>(), tokens);
            assert!(tiles(tokens).all(|(_, n)| (1..=TILE_TOKENS).contains(&n)));
        }
    }
}
