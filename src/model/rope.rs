//! Rotary position embedding: the angles of each position.
//!
//! The angle of pair i at position p is `p * base^(-2i / dims) / factor[i]`, evaluated in f64 and
//! rounded once, so it is exact to the last bit of f32 at any position.

/// Frequencies of the pairs of one model.
pub(super) struct Rope {
    /// `[dims / 2]`.
    frequencies: Vec<f64>,
}

/// Cosines, then sines, of the pairs of each token of one step: `[tokens, 2, dims / 2]`.
pub(super) struct Angles {
    values: Vec<f32>,
    pairs: usize,
}

impl Rope {
    pub(super) fn new(base: f32, dims: usize, factors: Option<&[f32]>) -> Rope {
        let frequency = |i: usize| {
            let exponent = -(2.0 * i as f64) / dims as f64;
            let factor = factors.map_or(1.0, |factors| f64::from(factors[i]));
            libm::pow(f64::from(base), exponent) / factor
        };
        Rope {
            frequencies: (0..dims / 2).map(frequency).collect(),
        }
    }

    /// Writes cosines and sines of one position, `[2, dims / 2]`.
    pub(super) fn fill(&self, position: usize, out: &mut [f32]) {
        let (cos, sin) = out.split_at_mut(self.frequencies.len());
        for ((frequency, cos), sin) in self.frequencies.iter().zip(cos).zip(sin) {
            let (s, c) = libm::sincos(position as f64 * frequency);
            (*cos, *sin) = (c as f32, s as f32);
        }
    }
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
        let rope = Rope::new(100.0, 4, Some(&[1.0, 2.0]));
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
}
