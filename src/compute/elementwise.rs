//! Norms, gates and rotations: one source for every instruction set, vectorized by the compiler when
//! entered through [`Isa::run`].

use crate::tensor::PANEL_ROWS;

use super::isa::{Isa, Kernel};
use super::lanes::sum_tree;
use super::{Lanes, math};

/// What the norms of a token subtract, and what they multiply by.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Moments {
    mean: f32,
    scale: f32,
}

/// Moments of the RMS norm of tokens `first..`: `1 / sqrt(mean(x^2) + eps)`, with the whole-vector sum in 16 lanes
/// and a fixed tree.
pub fn rms_moments(isa: Isa, x: &Lanes, eps: f32, first: usize, out: &mut [Moments]) {
    isa.run(RmsMoments { x, eps, first, out });
}

struct RmsMoments<'a> {
    x: &'a Lanes,
    eps: f32,
    first: usize,
    out: &'a mut [Moments],
}

impl Kernel for RmsMoments<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let RmsMoments { x, eps, first, out } = self;
        for (token, out) in (first..).zip(out) {
            let squares = lane_sums(x, token, |lane, v| v.mul_add(v, lane));
            let scale = 1.0 / (sum_tree(squares) / x.width() as f32 + eps).sqrt();
            *out = Moments { mean: 0.0, scale };
        }
    }
}

/// Moments of the layer norm of tokens `first..`: the mean and `1 / sqrt(mean((x - mean)^2) + eps)`, with both
/// whole-vector sums in 16 lanes and a fixed tree.
pub fn layer_moments(isa: Isa, x: &Lanes, eps: f32, first: usize, out: &mut [Moments]) {
    isa.run(LayerMoments { x, eps, first, out });
}

struct LayerMoments<'a> {
    x: &'a Lanes,
    eps: f32,
    first: usize,
    out: &'a mut [Moments],
}

impl Kernel for LayerMoments<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let LayerMoments { x, eps, first, out } = self;
        let width = x.width() as f32;
        for (token, out) in (first..).zip(out) {
            let mean = sum_tree(lane_sums(x, token, |lane, v| lane + v)) / width;
            let squares = lane_sums(x, token, |lane, v| (v - mean).mul_add(v - mean, lane));
            let scale = 1.0 / (sum_tree(squares) / width + eps).sqrt();
            *out = Moments { mean, scale };
        }
    }
}

/// Blocks `first..` of the norm of every token, each operation rounded by itself: `x * scale * weight`, and with
/// a `bias` `(x - mean) * scale * weight + bias`. `out` is laid out as the blocks of `x`.
///
/// # Panics
/// When there are not as many moments as tokens, or the parameters have another width.
pub fn normalize(
    isa: Isa,
    x: &Lanes,
    moments: &[Moments],
    parameters: (&[f32], Option<&[f32]>),
    first: usize,
    out: &mut [f32],
) {
    let (weight, bias) = parameters;
    assert!(moments.len() == x.tokens() && weight.len() == x.width());
    assert!(bias.is_none_or(|bias| bias.len() == x.width()));
    isa.run(Normalize {
        x,
        moments,
        weight,
        bias,
        first,
        out,
    });
}

struct Normalize<'a> {
    x: &'a Lanes,
    moments: &'a [Moments],
    weight: &'a [f32],
    bias: Option<&'a [f32]>,
    first: usize,
    out: &'a mut [f32],
}

impl Kernel for Normalize<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Normalize {
            x,
            moments,
            weight,
            bias,
            first,
            out,
        } = self;
        for (block, out) in (first..).zip(out.chunks_mut(x.block_len())) {
            let start = block * PANEL_ROWS;
            let end = (start + PANEL_ROWS).min(x.width());
            let (weight, bias) = (&weight[start..end], bias.map(|bias| &bias[start..end]));
            for ((token, moments), out) in moments
                .iter()
                .enumerate()
                .zip(out.chunks_exact_mut(PANEL_ROWS))
            {
                let values = x.lane(block, token);
                match bias {
                    None => {
                        for ((out, &v), &w) in out.iter_mut().zip(values).zip(weight) {
                            *out = v * moments.scale * w;
                        }
                    }
                    Some(bias) => {
                        let parameters = weight.iter().zip(bias);
                        for ((out, &v), (&w, &b)) in out.iter_mut().zip(values).zip(parameters) {
                            *out = (v - moments.mean) * moments.scale * w + b;
                        }
                    }
                }
            }
        }
    }
}

/// 16 partial results over the values of one token, lane = index mod 16; padding does not count.
#[inline(always)]
fn lane_sums(x: &Lanes, token: usize, add: impl Fn(f32, f32) -> f32) -> [f32; PANEL_ROWS] {
    let mut lanes = [0.0f32; PANEL_ROWS];
    for block in 0..x.blocks() {
        let used = (x.width() - block * PANEL_ROWS).min(PANEL_ROWS);
        for (lane, &v) in lanes.iter_mut().zip(&x.lane(block, token)[..used]) {
            *lane = add(*lane, v);
        }
    }
    lanes
}

/// `gate = silu(gate) * up`, element by element.
pub fn swiglu(isa: Isa, gate: &mut [f32], up: &[f32]) {
    assert_eq!(gate.len(), up.len());
    isa.run(SwiGlu { gate, up });
}

struct SwiGlu<'a> {
    gate: &'a mut [f32],
    up: &'a [f32],
}

impl Kernel for SwiGlu<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        for (gate, &up) in self.gate.iter_mut().zip(self.up) {
            *gate = math::silu(*gate) * up;
        }
    }
}

/// e to the power of each value.
pub fn exp_all(isa: Isa, values: &mut [f32]) {
    isa.run(ExpAll { values });
}

struct ExpAll<'a> {
    values: &'a mut [f32],
}

impl Kernel for ExpAll<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        for value in self.values {
            *value = math::exp(*value);
        }
    }
}

/// Rotates the pairs `(2i, 2i + 1)` of one head by the angles whose cosines and sines are given:
/// `a' = fma(a, cos, -(b * sin))`, `b' = fma(a, sin, b * cos)`. Dimensions beyond the pairs stay.
#[inline(always)]
pub fn rotate_adjacent(head: &mut [f32], cos: &[f32], sin: &[f32]) {
    for ((pair, &cos), &sin) in head.chunks_exact_mut(2).zip(cos).zip(sin) {
        let (a, b) = (pair[0], pair[1]);
        pair[0] = a.mul_add(cos, -(b * sin));
        pair[1] = a.mul_add(sin, b * cos);
    }
}

/// Rotates all heads of one token; see [`rotate_adjacent`].
pub fn rotate_heads(isa: Isa, heads: &mut [f32], head_dim: usize, cos: &[f32], sin: &[f32]) {
    isa.run(RotateHeads {
        heads,
        head_dim,
        cos,
        sin,
    });
}

struct RotateHeads<'a> {
    heads: &'a mut [f32],
    head_dim: usize,
    cos: &'a [f32],
    sin: &'a [f32],
}

impl Kernel for RotateHeads<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        for head in self.heads.chunks_exact_mut(self.head_dim) {
            rotate_adjacent(head, self.cos, self.sin);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compute::reference;

    fn values(len: usize, salt: usize) -> Vec<f32> {
        (0..len)
            .map(|i| ((i * 37 + salt * 101) % 211) as f32 / 50.0 - 2.0)
            .collect()
    }

    /// Compares a norm with the oracle's answer for each token, on every instruction set.
    fn check_norm(
        norm: impl Fn(Isa, &Lanes, &mut Lanes),
        width: usize,
        tokens: usize,
        oracle: impl Fn(&[f32]) -> Vec<f32>,
    ) {
        let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        for isa in Isa::all() {
            let mut x = Lanes::new(width, tokens);
            // Padding must not count.
            x.values_mut().fill(1e30);
            (0..tokens).for_each(|t| x.set_token(t, &values(width, t)));
            let mut y = Lanes::new(width, tokens);
            norm(isa, &x, &mut y);
            for t in 0..tokens {
                let mut got = vec![0.0; width];
                y.copy_token(t, 0, &mut got);
                let want = oracle(&values(width, t));
                assert_eq!(bits(&got), bits(&want), "{isa} {width} token {t}");
            }
        }
    }

    const NORM_SIZES: [(usize, usize); 5] = [(16, 1), (15, 2), (37, 1), (96, 5), (576, 17)];

    #[test]
    fn rms_norms_follow_the_summing_order_on_every_isa() {
        for (width, tokens) in NORM_SIZES {
            let weight = values(width, 9);
            let norm = |isa, x: &Lanes, y: &mut Lanes| {
                let mut moments = vec![Moments::default(); x.tokens()];
                let (first, second) = moments.split_at_mut(1);
                rms_moments(isa, x, 1e-5, 0, first);
                rms_moments(isa, x, 1e-5, 1, second);
                normalize(isa, x, &moments, (&weight, None), 0, y.values_mut());
            };
            check_norm(norm, width, tokens, |x| {
                let scale = 1.0 / (reference::sum_of_squares(x) / width as f32 + 1e-5).sqrt();
                let terms = x.iter().zip(&weight);
                terms.map(|(v, w)| v * scale * w).collect()
            });
        }
    }

    #[test]
    fn layer_norms_follow_the_summing_order_on_every_isa() {
        for (width, tokens) in NORM_SIZES {
            let (weight, bias) = (values(width, 9), values(width, 5));
            let norm = |isa, x: &Lanes, y: &mut Lanes| {
                let mut moments = vec![Moments::default(); x.tokens()];
                layer_moments(isa, x, 1e-5, 0, &mut moments);
                let (middle, len) = (x.blocks() / 2, x.block_len());
                let parameters = (&weight[..], Some(&bias[..]));
                let (low, high) = y.values_mut().split_at_mut(middle * len);
                normalize(isa, x, &moments, parameters, 0, low);
                normalize(isa, x, &moments, parameters, middle, high);
            };
            check_norm(norm, width, tokens, |x| {
                let mean = reference::sum(x) / width as f32;
                let centered: Vec<f32> = x.iter().map(|v| v - mean).collect();
                let variance = reference::sum_of_squares(&centered) / width as f32;
                let scale = 1.0 / (variance + 1e-5).sqrt();
                let parameters = weight.iter().zip(&bias);
                let terms = centered.iter().zip(parameters);
                terms.map(|(v, (w, b))| v * scale * w + b).collect()
            });
        }
    }

    #[test]
    fn swiglu_is_the_same_on_every_isa() {
        let up = values(100, 3);
        let want: Vec<u32> = values(100, 2)
            .iter()
            .zip(&up)
            .map(|(&g, &u)| (math::silu(g) * u).to_bits())
            .collect();
        for isa in Isa::all() {
            let mut gate = values(100, 2);
            swiglu(isa, &mut gate, &up);
            assert_eq!(
                gate.iter().map(|v| v.to_bits()).collect::<Vec<_>>(),
                want,
                "{isa}"
            );
        }
    }

    #[test]
    fn exponentials_are_the_same_on_every_isa() {
        let inputs: Vec<f32> = (-2000..2000).map(|i| i as f32 / 19.0).collect();
        let want: Vec<u32> = inputs.iter().map(|&v| math::exp(v).to_bits()).collect();
        for isa in Isa::all() {
            let mut values = inputs.clone();
            exp_all(isa, &mut values);
            let got: Vec<u32> = values.iter().map(|v| v.to_bits()).collect();
            assert_eq!(got, want, "{isa}");
        }
    }

    #[test]
    fn rotation_turns_adjacent_pairs() {
        // A quarter turn of (1, 2) is (-2, 1); the second pair stays; the fifth value is no pair.
        let mut head = [1.0, 2.0, 3.0, 4.0, 5.0];
        rotate_adjacent(&mut head, &[0.0, 1.0], &[1.0, 0.0]);
        assert_eq!(head, [-2.0, 1.0, 3.0, 4.0, 5.0]);
    }
}
