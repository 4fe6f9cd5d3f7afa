//! Norms of whole tokens: moments first, then every value by itself, so that both can be shared among threads.

use crate::compute::Lanes;
use crate::compute::isa::{Isa, Kernel};
use crate::compute::lanes::{inverse_root, sum_tree};
use crate::tensor::PANEL_ROWS;

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
            let scale = inverse_root(squares, x.width(), eps);
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
        for (token, out) in (first..).zip(out) {
            let mean = sum_tree(lane_sums(x, token, |lane, v| lane + v)) / x.width() as f32;
            let squares = lane_sums(x, token, |lane, v| (v - mean).mul_add(v - mean, lane));
            let scale = inverse_root(squares, x.width(), eps);
            *out = Moments { mean, scale };
        }
    }
}

/// Blocks `first..` of the norm of every token, each operation rounded by itself: `(x - mean) * scale * weight`, and
/// then `+ bias` if there is one. `out` is laid out as the blocks of `x`.
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
                            // Without a mean that is 0, and changes no bit.
                            *out = (v - moments.mean) * moments.scale * w;
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

#[cfg(test)]
mod tests {
    use super::super::values;
    use super::*;
    use crate::compute::reference;

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
}
