//! Norms, gates and rotations: one source for every instruction set, vectorized by the compiler when
//! entered through [`Isa::run`].

use crate::tensor::PANEL_ROWS;

use super::isa::{Isa, Kernel};
use super::lanes::sum_tree;
use super::{Lanes, math};

/// RMS norm of every token: `y = x * (1 / sqrt(mean(x^2) + eps)) * weight`, with the whole-vector sum
/// in 16 lanes and a fixed tree.
///
/// # Panics
/// When the widths or token counts differ.
pub fn rms_norm(isa: Isa, x: &Lanes, weight: &[f32], eps: f32, y: &mut Lanes) {
    assert!(x.width() == weight.len() && x.width() == y.width() && x.tokens() == y.tokens());
    isa.run(RmsNorm { x, weight, eps, y });
}

struct RmsNorm<'a> {
    x: &'a Lanes,
    weight: &'a [f32],
    eps: f32,
    y: &'a mut Lanes,
}

impl Kernel for RmsNorm<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let RmsNorm { x, weight, eps, y } = self;
        let (width, block_len) = (x.width(), x.block_len());
        for token in 0..x.tokens() {
            let squares = lane_sums(x, token, |lane, v| v.mul_add(v, lane));
            let scale = 1.0 / (sum_tree(squares) / width as f32 + eps).sqrt();
            let out = y.values_mut();
            for (block, weight) in weight.chunks(PANEL_ROWS).enumerate() {
                let values = x.lane(block, token);
                let out = &mut out[block * block_len + token * PANEL_ROWS..][..weight.len()];
                for ((out, &v), &w) in out.iter_mut().zip(values).zip(weight) {
                    *out = v * scale * w;
                }
            }
        }
    }
}

/// Layer norm of every token: `y = (x - mean) * (1 / sqrt(mean((x - mean)^2) + eps)) * weight + bias`,
/// each operation rounded by itself, with both whole-vector sums in 16 lanes and a fixed tree.
///
/// # Panics
/// When the widths or token counts differ.
pub fn layer_norm(isa: Isa, x: &Lanes, weight: &[f32], bias: &[f32], eps: f32, y: &mut Lanes) {
    assert!(x.width() == weight.len() && x.width() == bias.len());
    assert!(x.width() == y.width() && x.tokens() == y.tokens());
    isa.run(LayerNorm {
        x,
        weight,
        bias,
        eps,
        y,
    });
}

struct LayerNorm<'a> {
    x: &'a Lanes,
    weight: &'a [f32],
    bias: &'a [f32],
    eps: f32,
    y: &'a mut Lanes,
}

impl Kernel for LayerNorm<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let LayerNorm {
            x,
            weight,
            bias,
            eps,
            y,
        } = self;
        let (width, block_len) = (x.width(), x.block_len());
        for token in 0..x.tokens() {
            let sum = lane_sums(x, token, |lane, v| lane + v);
            let mean = sum_tree(sum) / width as f32;
            let squares = lane_sums(x, token, |lane, v| (v - mean).mul_add(v - mean, lane));
            let scale = 1.0 / (sum_tree(squares) / width as f32 + eps).sqrt();
            let out = y.values_mut();
            let parameters = weight.chunks(PANEL_ROWS).zip(bias.chunks(PANEL_ROWS));
            for (block, (weight, bias)) in parameters.enumerate() {
                let values = x.lane(block, token);
                let out = &mut out[block * block_len + token * PANEL_ROWS..][..weight.len()];
                for (i, out) in out.iter_mut().enumerate() {
                    *out = (values[i] - mean) * scale * weight[i] + bias[i];
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
            let norm = |isa, x: &Lanes, y: &mut Lanes| rms_norm(isa, x, &weight, 1e-5, y);
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
            let norm = |isa, x: &Lanes, y: &mut Lanes| layer_norm(isa, x, &weight, &bias, 1e-5, y);
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
