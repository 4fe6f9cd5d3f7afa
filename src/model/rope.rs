//! Rotary position embedding: the angles of each position.
//!
//! The angle of pair i at position p is `p * base^(-2i / dims) / factor[i]`, scaled as the model says, evaluated in
//! f64 and rounded once, so it is exact to the last bit of f32 at any position.

use std::f64::consts::PI;

use super::hyper::{Rotation, Scaling, Yarn};

/// Frequencies of the pairs of one kind of layers.
pub(super) struct Rope {
    /// `[dims / 2]`.
    frequencies: Vec<f64>,
    /// Multiplies cosines and sines.
    magnitude: f64,
}

/// Cosines, then sines, of the pairs of each token of one step: `[tokens, 2, dims / 2]`.
pub(super) struct Angles {
    values: Vec<f32>,
    pairs: usize,
}

impl Rope {
    /// `factors` divide the frequencies of the pairs.
    pub(super) fn new(rotation: Rotation, dims: usize, factors: Option<&[f32]>) -> Rope {
        let base = f64::from(rotation.base);
        let frequency = |i: usize| {
            let exponent = -(2.0 * i as f64) / dims as f64;
            let factor = factors.map_or(1.0, |factors| f64::from(factors[i]));
            let plain = libm::pow(base, exponent) / factor;
            match rotation.scaling {
                Scaling::None | Scaling::Long { .. } => plain,
                Scaling::Linear { factor } => plain / f64::from(factor),
                Scaling::Yarn(yarn) => plain * yarn_share(yarn, base, dims, i),
            }
        };
        let magnitude = match rotation.scaling {
            Scaling::None | Scaling::Linear { .. } => 1.0,
            Scaling::Long { attention, .. } => f64::from(attention),
            Scaling::Yarn(yarn) => {
                let stretched = f64::from(yarn.factor).max(1.0);
                f64::from(yarn.attention) * (1.0 + 0.1 * libm::log(stretched))
            }
        };
        Rope {
            frequencies: (0..dims / 2).map(frequency).collect(),
            magnitude,
        }
    }

    /// Writes cosines and sines of one position, `[2, dims / 2]`.
    pub(super) fn fill(&self, position: usize, out: &mut [f32]) {
        let (cos, sin) = out.split_at_mut(self.frequencies.len());
        for ((frequency, cos), sin) in self.frequencies.iter().zip(cos).zip(sin) {
            let (s, c) = libm::sincos(position as f64 * frequency);
            (*cos, *sin) = ((c * self.magnitude) as f32, (s * self.magnitude) as f32);
        }
    }
}

/// What YaRN leaves of the frequency of pair `i`: all of the fast ones, a `factor`-th of the slow ones, between them a
/// mixture. ggml's `rope_yarn` with its correction dimensions.
fn yarn_share(yarn: Yarn, base: f64, dims: usize, i: usize) -> f64 {
    let dims = dims as f64;
    // The pair that turns so often over the positions of the training.
    let pair = |turns: f32| {
        let length = yarn.original as f64 / (f64::from(turns) * 2.0 * PI);
        dims * libm::log(length) / (2.0 * libm::log(base))
    };
    let low = libm::floor(pair(yarn.beta_fast)).max(0.0);
    let high = libm::ceil(pair(yarn.beta_slow)).min(dims - 1.0);
    let ramp = ((i as f64 - low) / (high - low).max(0.001)).clamp(0.0, 1.0);
    let kept = (1.0 - ramp) * f64::from(yarn.extrapolation);
    (1.0 - kept) / f64::from(yarn.factor) + kept
}

impl Angles {
    /// Room for so many tokens.
    pub(super) fn new(tokens: usize, dims: usize) -> Angles {
        let pairs = dims / 2;
        Angles {
            values: vec![0.0; tokens * 2 * pairs],
            pairs,
        }
    }

    /// Values of one token.
    pub(super) fn token_len(&self) -> usize {
        2 * self.pairs
    }

    /// The values of the first `tokens` tokens.
    pub(super) fn values_mut(&mut self, tokens: usize) -> &mut [f32] {
        let len = tokens * self.token_len();
        &mut self.values[..len]
    }

    /// Cosines and sines of one token of the step.
    pub(super) fn token(&self, token: usize) -> (&[f32], &[f32]) {
        let values = &self.values[token * self.token_len()..][..self.token_len()];
        values.split_at(self.pairs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn angles_follow_the_formula() {
        let rotation = Rotation {
            base: 100.0,
            scaling: Scaling::None,
        };
        let rope = Rope::new(rotation, 4, Some(&[1.0, 2.0]));
        let mut angles = Angles::new(2, 4);
        for (position, out) in [0, 3].into_iter().zip(angles.values_mut(2).chunks_mut(4)) {
            rope.fill(position, out);
        }
        assert_eq!(angles.token(0), (&[1.0, 1.0][..], &[0.0, 0.0][..]));
        // Frequencies are 1 and 100^(-1/2) / 2 = 0.05.
        let (cos, sin) = angles.token(1);
        assert!((cos[0] - -0.989_992_5).abs() < 1e-7 && (sin[0] - 0.141_120_01).abs() < 1e-7);
        assert!((cos[1] - 0.988_771_1).abs() < 1e-7 && (sin[1] - 0.149_438_13).abs() < 1e-7);
    }

    #[test]
    fn scaling_changes_frequencies_and_magnitude() {
        let scaled = |scaling| {
            let rotation = Rotation {
                base: 10_000.0,
                scaling,
            };
            Rope::new(rotation, 64, None)
        };
        let plain = scaled(Scaling::None);
        let linear = scaled(Scaling::Linear { factor: 8.0 });
        assert!((linear.frequencies[5] * 8.0 - plain.frequencies[5]).abs() < 1e-12);
        let yarn = scaled(Scaling::Yarn(Yarn {
            factor: 4.0,
            original: 2048,
            extrapolation: 1.0,
            attention: 1.0,
            beta_fast: 32.0,
            beta_slow: 1.0,
        }));
        let share = |i: usize| yarn.frequencies[i] / plain.frequencies[i];
        // Pairs 8 and 21 bound the ramp: 64 ln(2048 / (32 * 2 pi)) / (2 ln 10000) = 8.06, and 20.1 for one turn.
        assert!((share(8) - 1.0).abs() < 1e-12 && (share(21) - 0.25).abs() < 1e-12);
        assert!(
            (share(12) - (1.0 - 0.75 * 4.0 / 13.0)).abs() < 1e-12,
            "{}",
            share(12)
        );
        assert!((yarn.magnitude - (1.0 + 0.1 * libm::log(4.0))).abs() < 1e-12);
        let long = scaled(Scaling::Long {
            attention: 1.19,
            original: 4096,
        });
        assert_eq!(long.magnitude, f64::from(1.19f32));
    }
}
