//! Norms and rotations of single heads.

use crate::compute::Lanes;
use crate::compute::isa::{Isa, Kernel};
use crate::compute::lanes::{inverse_root, sum_tree};
use crate::tensor::PANEL_ROWS;

/// How one head is normalized before it is rotated.
#[derive(Debug, Clone, Copy)]
pub enum HeadNorm<'a> {
    /// By its root mean square.
    Rms { weight: &'a [f32], eps: f32 },
    /// By its mean and variance.
    Layer { weight: &'a [f32], eps: f32 },
    /// By a root mean square that was taken over more than this head.
    Known { weight: &'a [f32], scale: f32 },
}

/// Normalizes one head in place, its sums in 16 lanes and a fixed tree.
///
/// # Panics
/// When the weight has another length.
pub fn normalize_head(isa: Isa, head: &mut [f32], norm: HeadNorm<'_>) {
    isa.run(NormalizeHead { head, norm });
}

struct NormalizeHead<'a> {
    head: &'a mut [f32],
    norm: HeadNorm<'a>,
}

impl Kernel for NormalizeHead<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let NormalizeHead { head, norm } = self;
        let len = head.len();
        let (mean, scale, weight) = match norm {
            HeadNorm::Rms { weight, eps } => {
                let squares = vector_lanes(head, |lane, v| v.mul_add(v, lane));
                (0.0, inverse_root(squares, len, eps), weight)
            }
            HeadNorm::Layer { weight, eps } => {
                let mean = sum_tree(vector_lanes(head, |lane, v| lane + v)) / len as f32;
                let squares = vector_lanes(head, |lane, v| (v - mean).mul_add(v - mean, lane));
                (mean, inverse_root(squares, len, eps), weight)
            }
            HeadNorm::Known { weight, scale } => (0.0, scale, weight),
        };
        assert_eq!(weight.len(), head.len());
        for (value, &weight) in head.iter_mut().zip(weight) {
            *value = (*value - mean) * scale * weight;
        }
    }
}

/// 16 partial results over a plain vector, lane = index mod 16.
#[inline(always)]
fn vector_lanes(values: &[f32], add: impl Fn(f32, f32) -> f32) -> [f32; PANEL_ROWS] {
    let mut lanes = [0.0f32; PANEL_ROWS];
    for chunk in values.chunks(PANEL_ROWS) {
        for (lane, &v) in lanes.iter_mut().zip(chunk) {
            *lane = add(*lane, v);
        }
    }
    lanes
}

/// The inverse root mean square of `width` values of one token from number `start` on, as [`rms_moments`] takes it of
/// all.
pub fn rms_scale(
    isa: Isa,
    x: &Lanes,
    token: usize,
    (start, width): (usize, usize),
    eps: f32,
) -> f32 {
    isa.run(RmsScale {
        x,
        token,
        start,
        width,
        eps,
    })
}

struct RmsScale<'a> {
    x: &'a Lanes,
    token: usize,
    start: usize,
    width: usize,
    eps: f32,
}

impl Kernel for RmsScale<'_> {
    type Output = f32;

    #[inline(always)]
    fn run(self) -> f32 {
        let mut lanes = [0.0f32; PANEL_ROWS];
        for at in (0..self.width).step_by(PANEL_ROWS) {
            let mut values = [0.0; PANEL_ROWS];
            let values = &mut values[..PANEL_ROWS.min(self.width - at)];
            self.x.copy_token(self.token, self.start + at, values);
            for (lane, &v) in lanes.iter_mut().zip(&*values) {
                *lane = v.mul_add(v, *lane);
            }
        }
        inverse_root(lanes, self.width, self.eps)
    }
}

/// Which dimensions of a head form a rotated pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rotary {
    /// `(2i, 2i + 1)`.
    Adjacent,
    /// `(i, i + rotated / 2)`.
    Halves,
}

/// Rotates the pairs of one head by the angles whose cosines and sines are given:
/// `a' = fma(a, cos, -(b * sin))`, `b' = fma(a, sin, b * cos)`. Dimensions beyond the pairs stay.
#[inline(always)]
fn rotate(rotary: Rotary, head: &mut [f32], cos: &[f32], sin: &[f32]) {
    let turn = |a: &mut f32, b: &mut f32, cos: f32, sin: f32| {
        (*a, *b) = (a.mul_add(cos, -(*b * sin)), a.mul_add(sin, *b * cos));
    };
    match rotary {
        Rotary::Adjacent => {
            for ((pair, &cos), &sin) in head.chunks_exact_mut(2).zip(cos).zip(sin) {
                let (a, b) = pair.split_at_mut(1);
                turn(&mut a[0], &mut b[0], cos, sin);
            }
        }
        Rotary::Halves => {
            let (low, high) = head.split_at_mut(cos.len());
            for (((a, b), &cos), &sin) in low.iter_mut().zip(high).zip(cos).zip(sin) {
                turn(a, b, cos, sin);
            }
        }
    }
}

/// Rotates all heads of one token.
///
/// # Panics
/// When the pairs do not fit a head.
pub fn rotate_heads(
    isa: Isa,
    rotary: Rotary,
    heads: &mut [f32],
    head_dim: usize,
    (cos, sin): (&[f32], &[f32]),
) {
    assert!(cos.len() == sin.len() && 2 * cos.len() <= head_dim);
    isa.run(RotateHeads {
        rotary,
        heads,
        head_dim,
        cos,
        sin,
    });
}

struct RotateHeads<'a> {
    rotary: Rotary,
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
            rotate(self.rotary, head, self.cos, self.sin);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::values;
    use super::*;
    use crate::compute::reference;

    #[test]
    fn norms_of_heads_follow_the_summing_order_on_every_isa() {
        for len in [16, 20, 64] {
            let (head, weight) = (values(len, 1), values(len, 2));
            let centered = {
                let mean = reference::sum(&head) / len as f32;
                head.iter().map(|v| v - mean).collect::<Vec<f32>>()
            };
            let scale = |x: &[f32]| 1.0 / (reference::sum_of_squares(x) / len as f32 + 1e-6).sqrt();
            let (weight, eps) = (&weight[..], 1e-6);
            for isa in Isa::all() {
                // Behind three other values, so that no lane is its own.
                let mut lanes = Lanes::new(3 + len, 2);
                lanes.set_token(1, &[&[9.0; 3], &head[..]].concat());
                assert_eq!(rms_scale(isa, &lanes, 1, (3, len), eps), scale(&head));
                for (norm, input, scale) in [
                    (HeadNorm::Rms { weight, eps }, &head, scale(&head)),
                    (HeadNorm::Layer { weight, eps }, &centered, scale(&centered)),
                    (HeadNorm::Known { weight, scale: 0.7 }, &head, 0.7),
                ] {
                    let mut found = head.clone();
                    normalize_head(isa, &mut found, norm);
                    let want: Vec<f32> = input
                        .iter()
                        .zip(weight)
                        .map(|(v, w)| v * scale * w)
                        .collect();
                    assert_eq!(found, want, "{isa} {norm:?}");
                }
            }
        }
    }

    #[test]
    fn rotation_turns_pairs() {
        // A quarter turn of (1, 2) is (-2, 1); the second pair stays; the fifth value is no pair.
        for isa in Isa::all() {
            let angles: (&[f32], &[f32]) = (&[0.0, 1.0], &[1.0, 0.0]);
            let mut head = [1.0, 2.0, 3.0, 4.0, 5.0];
            rotate_heads(isa, Rotary::Adjacent, &mut head, 5, angles);
            assert_eq!(head, [-2.0, 1.0, 3.0, 4.0, 5.0]);
            let mut head = [1.0, 3.0, 2.0, 4.0, 5.0];
            rotate_heads(isa, Rotary::Halves, &mut head, 5, angles);
            assert_eq!(head, [-2.0, 3.0, 1.0, 4.0, 5.0]);
        }
    }
}
