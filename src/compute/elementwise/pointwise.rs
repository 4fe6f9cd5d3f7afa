//! Value by value: activations, biases, sums, caps.

use crate::compute::isa::{Isa, Kernel};
use crate::compute::lanes::sum_tree;
use crate::compute::math;
use crate::tensor::PANEL_ROWS;

/// The function between the matrices of a feed-forward part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    Silu,
    Gelu,
}

impl Activation {
    #[inline(always)]
    fn of(self, x: f32) -> f32 {
        match self {
            Activation::Silu => math::silu(x),
            Activation::Gelu => math::gelu(x),
        }
    }
}

/// `gate = f(gate) * up`, element by element.
pub fn gate(isa: Isa, activation: Activation, gate: &mut [f32], up: &[f32]) {
    assert_eq!(gate.len(), up.len());
    isa.run(Gate {
        activation,
        gate,
        up,
    });
}

struct Gate<'a> {
    activation: Activation,
    gate: &'a mut [f32],
    up: &'a [f32],
}

impl Kernel for Gate<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        for (gate, &up) in self.gate.iter_mut().zip(self.up) {
            *gate = self.activation.of(*gate) * up;
        }
    }
}

/// `x = f(x)`, element by element.
pub fn activate(isa: Isa, activation: Activation, values: &mut [f32]) {
    isa.run(Activate { activation, values });
}

struct Activate<'a> {
    activation: Activation,
    values: &'a mut [f32],
}

impl Kernel for Activate<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        for value in self.values {
            *value = self.activation.of(*value);
        }
    }
}

/// Adds `bias` to blocks of activations, `[blocks][tokens][16]`, each `block_len` values, of which the first has number
/// `first`. Padding beyond the bias stays.
pub fn add_bias(block_len: usize, first: usize, bias: &[f32], out: &mut [f32]) {
    for (block, out) in (first..).zip(out.chunks_mut(block_len)) {
        let start = (block * PANEL_ROWS).min(bias.len());
        let bias = &bias[start..bias.len().min(start + PANEL_ROWS)];
        for lanes in out.chunks_exact_mut(PANEL_ROWS) {
            for (lane, &bias) in lanes.iter_mut().zip(bias) {
                *lane += bias;
            }
        }
    }
}

/// `x = x + y * factor`, element by element, each operation rounded by itself.
pub fn add_scaled(isa: Isa, x: &mut [f32], y: &[f32], factor: f32) {
    assert_eq!(x.len(), y.len());
    isa.run(AddScaled { x, y, factor });
}

struct AddScaled<'a> {
    x: &'a mut [f32],
    y: &'a [f32],
    factor: f32,
}

impl Kernel for AddScaled<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        for (x, &y) in self.x.iter_mut().zip(self.y) {
            *x += y * self.factor;
        }
    }
}

/// `x = cap * tanh(x * scale / cap)`, element by element.
pub fn cap(isa: Isa, values: &mut [f32], scale: f32, cap: f32) {
    isa.run(Cap { values, scale, cap });
}

struct Cap<'a> {
    values: &'a mut [f32],
    scale: f32,
    cap: f32,
}

impl Kernel for Cap<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        for value in self.values {
            *value = self.cap * math::tanh(*value * self.scale / self.cap);
        }
    }
}

/// `1 / (1 + e^-x)`.
pub fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + math::exp(-x))
}

/// Probabilities in the place of scores: `e^(x - max)` divided by their sum, which is taken in 16 lanes and a fixed
/// tree.
pub fn softmax(isa: Isa, scores: &mut [f32]) {
    isa.run(Softmax { scores });
}

struct Softmax<'a> {
    scores: &'a mut [f32],
}

impl Kernel for Softmax<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let scores = self.scores;
        let max = scores
            .iter()
            .fold(f32::NEG_INFINITY, |a, &b| if b > a { b } else { a });
        let mut lanes = [0.0f32; PANEL_ROWS];
        for chunk in scores.chunks_mut(PANEL_ROWS) {
            for (lane, score) in lanes.iter_mut().zip(chunk) {
                *score = math::exp(*score - max);
                *lane += *score;
            }
        }
        let sum = sum_tree(lanes);
        scores.iter_mut().for_each(|p| *p /= sum);
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

#[cfg(test)]
mod tests {
    use super::super::values;
    use super::*;

    #[test]
    fn activations_are_the_same_on_every_isa() {
        let up = values(100, 3);
        for (activation, of) in [
            (Activation::Silu, math::silu as fn(f32) -> f32),
            (Activation::Gelu, math::gelu),
        ] {
            let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
            let plain: Vec<f32> = values(100, 2).into_iter().map(of).collect();
            let gated: Vec<f32> = plain.iter().zip(&up).map(|(g, u)| g * u).collect();
            for isa in Isa::all() {
                let mut found = values(100, 2);
                gate(isa, activation, &mut found, &up);
                assert_eq!(bits(&found), bits(&gated), "{isa}");
                let mut found = values(100, 2);
                activate(isa, activation, &mut found);
                assert_eq!(bits(&found), bits(&plain), "{isa}");
            }
        }
    }

    #[test]
    fn softmax_sums_to_one_with_the_same_bits_on_every_isa() {
        let bits = |isa| {
            let mut scores = values(37, 3);
            softmax(isa, &mut scores);
            let sum: f32 = scores.iter().sum();
            assert!((sum - 1.0).abs() < 1e-6, "{sum}");
            scores.iter().map(|p| p.to_bits()).collect::<Vec<_>>()
        };
        for isa in Isa::all() {
            assert_eq!(bits(isa), bits(Isa::Portable), "{isa}");
        }
        assert_eq!(sigmoid(0.0), 0.5);
    }

    #[test]
    fn caps_and_scaled_sums_are_the_same_on_every_isa() {
        let (x, y) = (values(50, 1), values(50, 4));
        for isa in Isa::all() {
            let (mut bent, mut added) = (x.clone(), x.clone());
            cap(isa, &mut bent, 3.0, 5.0);
            add_scaled(isa, &mut added, &y, 0.3);
            for ((&x, &y), (bent, added)) in x.iter().zip(&y).zip(bent.iter().zip(&added)) {
                assert_eq!(bent.to_bits(), (5.0 * math::tanh(x * 3.0 / 5.0)).to_bits());
                assert_eq!(added.to_bits(), (x + y * 0.3).to_bits());
            }
        }
    }

    #[test]
    fn a_bias_belongs_to_its_row_in_every_token() {
        // Blocks 1 and 2 of a width of 40, two tokens: the last block has 8 rows.
        let bias: Vec<f32> = (0..40).map(|row| row as f32).collect();
        let mut out = vec![100.0; 2 * 2 * 16];
        add_bias(32, 1, &bias, &mut out);
        for token in 0..2 {
            for row in 0..16 {
                assert_eq!(out[token * 16 + row], 116.0 + row as f32);
                let last = if row < 8 { 132.0 + row as f32 } else { 100.0 };
                assert_eq!(out[32 + token * 16 + row], last);
            }
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
}
