//! value = f(seed, tensor name, row * cols + column).
//!
//! A tensor's key is a hash of seed and name. SplitMix64 (Steele, Lea, Flood 2014) is a counter through
//! a mixer, so its n-th word is computed from n alone; the two halves of a word are the values of two
//! neighbours. A half's upper 24 bits are a signed integer; a value is the middle between that integer
//! and the next, scaled, so that no weight is zero and the two signs are equally likely.

use crate::cache::Part;
use crate::compute::{Isa, Kernel};
use crate::tensor::{Layout, PANEL_ROWS, TensorSpec};

use super::shapes::BIAS;

/// The step of SplitMix64's counter.
const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;
/// The weights of norms vary this much around 1, their biases around 0.
const NORM_SPREAD: f64 = 0.02;
/// Integers of 24 signed bits times this lie in [-1, 1).
const UNIT: f64 = 1.0 / (1 << 23) as f64;

/// Writes the stored values of `part` of `spec`.
pub(super) fn fill(isa: Isa, seed: u64, spec: &TensorSpec, part: &Part, out: &mut [f32]) {
    let stream = Stream::new(seed, spec);
    let (cols, first_col) = (spec.cols, part.cols.start);
    if spec.layout != Layout::Panels {
        // Whole rows follow each other, and so do the columns of one.
        return isa.run(Run {
            stream,
            start: part.first_row * cols + first_col,
            out,
        });
    }
    let panels = out.chunks_exact_mut(part.cols.len() * PANEL_ROWS);
    for (first, out) in (part.first_row..).step_by(PANEL_ROWS).zip(panels) {
        let (lines, _) = out.as_chunks_mut::<PANEL_ROWS>();
        if first + PANEL_ROWS <= spec.rows && cols.is_multiple_of(2) {
            let start = first * cols + first_col;
            isa.run(FullPanel {
                stream,
                start,
                cols,
                lines,
            });
        } else {
            stream.any_panel(first, first_col, spec, lines);
        }
    }
}

/// 16 whole rows of an even number of columns: a word is two columns of one row. Only whole words are
/// needed, so it is compiled for each instruction set: AVX-512 multiplies eight 64-bit words at once.
/// Integers, one product and one sum: the bits are the same on all.
struct FullPanel<'a> {
    stream: Stream,
    start: usize,
    cols: usize,
    lines: &'a mut [[f32; PANEL_ROWS]],
}

impl Kernel for FullPanel<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let FullPanel {
            stream,
            start,
            cols,
            lines,
        } = self;
        let mut states = [0u64; PANEL_ROWS];
        for (lane, state) in states.iter_mut().enumerate() {
            *state = stream.state(start + lane * cols);
        }
        let (pairs, _) = lines.as_chunks_mut::<2>();
        for [low, high] in pairs {
            for lane in 0..PANEL_ROWS {
                let word = mix(states[lane]);
                low[lane] = stream.value(word as u32);
                high[lane] = stream.value((word >> 32) as u32);
                states[lane] = states[lane].wrapping_add(GAMMA);
            }
        }
    }
}

/// Values at consecutive indices: whole rows.
struct Run<'a> {
    stream: Stream,
    start: usize,
    out: &'a mut [f32],
}

impl Kernel for Run<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Run { stream, start, out } = self;
        let (first, out) = out.split_at_mut(start % 2);
        first.iter_mut().for_each(|value| *value = stream.at(start));
        let start = start + first.len();
        let (pairs, last) = out.as_chunks_mut::<2>();
        for (pair, [low, high]) in pairs.iter_mut().enumerate() {
            let word = mix(stream.state(start + 2 * pair));
            *low = stream.value(word as u32);
            *high = stream.value((word >> 32) as u32);
        }
        let start = start + 2 * pairs.len();
        last.iter_mut().for_each(|value| *value = stream.at(start));
    }
}

/// The values of one tensor. Kernels own a copy: behind a reference, scale and offset might be what the
/// stores change, and would be read again for every vector, the states with them: 8 instead of 20 GB/s.
#[derive(Debug, Clone, Copy)]
struct Stream {
    key: u64,
    scale: f32,
    offset: f32,
}

impl Stream {
    fn new(seed: u64, spec: &TensorSpec) -> Self {
        let mut hash = blake3::Hasher::new();
        hash.update(&seed.to_le_bytes());
        hash.update(spec.name.as_bytes());
        let digest = *hash.finalize().as_bytes();
        let key = u64::from_le_bytes(*digest.first_chunk().expect("32 bytes begin with 8"));
        let (center, spread) = match spec.layout {
            Layout::Vector if spec.name.ends_with(BIAS) => (0.0, NORM_SPREAD),
            Layout::Vector => (1.0, NORM_SPREAD),
            // Xavier-uniform: the variance of sums of inputs, and of gradients, stays near 1.
            Layout::Panels | Layout::Rows => (0.0, (6.0 / (spec.rows + spec.cols) as f64).sqrt()),
        };
        let scale = spread * UNIT;
        Stream {
            key,
            scale: scale as f32,
            offset: (center + 0.5 * scale) as f32,
        }
    }

    /// The state whose mix is word `index / 2`.
    #[inline(always)]
    fn state(&self, index: usize) -> u64 {
        self.key
            .wrapping_add(GAMMA.wrapping_mul(index as u64 / 2 + 1))
    }

    #[inline(always)]
    fn value(&self, half: u32) -> f32 {
        (half.cast_signed() >> 8) as f32 * self.scale + self.offset
    }

    #[inline(always)]
    fn at(&self, index: usize) -> f32 {
        let word = mix(self.state(index));
        self.value((word >> (index % 2 * 32)) as u32)
    }

    /// A panel with missing rows or an odd number of columns, from column `first_col` on.
    fn any_panel(
        &self,
        first: usize,
        first_col: usize,
        spec: &TensorSpec,
        lines: &mut [[f32; PANEL_ROWS]],
    ) {
        let &TensorSpec { rows, cols, .. } = spec;
        for (k, line) in (first_col..).zip(lines) {
            for lane in 0..PANEL_ROWS {
                let row = first + lane;
                line[lane] = if row < rows {
                    self.at(row * cols + k)
                } else {
                    0.0
                };
            }
        }
    }
}

/// The output function of SplitMix64.
#[inline(always)]
fn mix(state: u64) -> u64 {
    let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::Element;

    fn spec(layout: Layout, rows: usize, cols: usize) -> TensorSpec {
        TensorSpec {
            name: "blk.0.attn_q.weight".into(),
            layout,
            rows,
            cols,
        }
    }

    fn whole(spec: &TensorSpec) -> Part {
        Part {
            first_row: 0,
            cols: 0..spec.cols,
        }
    }

    /// Rows 0..rows of a tensor from its panels.
    fn unpack(panels: &[f32], rows: usize, cols: usize) -> Vec<f32> {
        let at = |row: usize, k: usize| panels[(row / 16 * cols + k) * 16 + row % 16];
        (0..rows)
            .flat_map(|row| (0..cols).map(move |k| at(row, k)))
            .collect()
    }

    #[test]
    fn the_mixer_is_splitmix64() {
        // The first two outputs of the reference implementation for the seed 1234567.
        let state = 1_234_567u64.wrapping_add(GAMMA);
        assert_eq!(mix(state), 6_457_827_717_110_365_317);
        assert_eq!(mix(state.wrapping_add(GAMMA)), 3_203_168_211_198_807_973);
    }

    #[test]
    fn the_layout_does_not_change_the_values() {
        for (rows, cols) in [(16, 8), (37, 6), (37, 7), (1, 3)] {
            let mut by_rows = vec![0.0; rows * cols];
            let all = whole(&spec(Layout::Rows, rows, cols));
            fill(
                Isa::best(),
                42,
                &spec(Layout::Rows, rows, cols),
                &all,
                &mut by_rows,
            );
            let mut panels = vec![9.0; rows.next_multiple_of(16) * cols];
            fill(
                Isa::best(),
                42,
                &spec(Layout::Panels, rows, cols),
                &all,
                &mut panels,
            );
            assert_eq!(unpack(&panels, rows, cols), by_rows, "{rows} x {cols}");
            let padding = rows.next_multiple_of(16) * cols - rows * cols;
            assert_eq!(
                panels.iter().filter(|&&value| value == 0.0).count(),
                padding
            );
        }
    }

    #[test]
    fn strips_do_not_change_the_values() {
        for cols in [6, 7] {
            let spec = spec(Layout::Rows, 9, cols);
            let mut whole = vec![0.0; 9 * cols];
            fill(Isa::best(), 42, &spec, &self::whole(&spec), &mut whole);
            for row in 0..9 {
                let mut part = vec![0.0; cols];
                fill(
                    Isa::best(),
                    42,
                    &spec,
                    &Part {
                        first_row: row,
                        cols: 0..cols,
                    },
                    &mut part,
                );
                assert_eq!(part, whole[row * cols..][..cols]);
            }
        }
    }

    #[test]
    fn columns_cut_out_of_a_panel_or_row_have_the_values_of_the_whole() {
        for (layout, rows, cols) in [
            (Layout::Panels, 16, 700),
            (Layout::Panels, 5, 701),
            (Layout::Vector, 1, 701),
        ] {
            let spec = spec(layout, rows, cols);
            let width = spec.stored_len(Element::F32).unwrap() / cols;
            let mut all = vec![0.0; cols * width];
            fill(Isa::best(), 42, &spec, &whole(&spec), &mut all);
            for cols in [0..256, 256..512, 512..cols] {
                let mut cut = vec![9.0; cols.len() * width];
                let expected = &all[cols.start * width..cols.end * width];
                fill(
                    Isa::best(),
                    42,
                    &spec,
                    &Part { first_row: 0, cols },
                    &mut cut,
                );
                assert_eq!(cut, expected);
            }
        }
    }

    #[test]
    fn seed_and_name_both_matter() {
        let values = |seed, name: &str| {
            let spec = TensorSpec {
                name: name.into(),
                layout: Layout::Rows,
                rows: 4,
                cols: 4,
            };
            let mut out = [0.0; 16];
            fill(Isa::best(), seed, &spec, &whole(&spec), &mut out);
            out
        };
        assert_ne!(values(42, "a"), values(43, "a"));
        assert_ne!(values(42, "a"), values(42, "b"));
    }
}
