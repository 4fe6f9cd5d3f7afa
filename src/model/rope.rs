//! Rotary position embedding: the angles of each position.
//!
//! The angle of pair i at position p is `p * base^(-2i / dims) / factor[i]`, evaluated in f64 and
//! rounded once, so it is exact to the last bit of f32 at any position.

/// Frequencies of the pairs of one model.
pub(super) struct Rope {
    /// `[dims / 2]`.
    frequencies: Vec<f64>,
}

/// Cosines and sines of the tokens of one step: `[tokens, dims / 2]` each.
#[derive(Default)]
pub(super) struct Angles {
    cos: Vec<f32>,
    sin: Vec<f32>,
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

    /// Fills `angles` for these positions.
    pub(super) fn fill(&self, angles: &mut Angles, positions: impl Iterator<Item = usize>) {
        angles.pairs = self.frequencies.len();
        angles.cos.clear();
        angles.sin.clear();
        for position in positions {
            for frequency in &self.frequencies {
                let (sin, cos) = libm::sincos(position as f64 * frequency);
                angles.cos.push(cos as f32);
                angles.sin.push(sin as f32);
            }
        }
    }
}

impl Angles {
    pub(super) fn with_capacity(tokens: usize, dims: usize) -> Angles {
        let len = tokens * dims / 2;
        Angles {
            cos: Vec::with_capacity(len),
            sin: Vec::with_capacity(len),
            pairs: dims / 2,
        }
    }

    /// Cosines and sines of one token of the step.
    pub(super) fn token(&self, token: usize) -> (&[f32], &[f32]) {
        let range = token * self.pairs..(token + 1) * self.pairs;
        (&self.cos[range.clone()], &self.sin[range])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn angles_follow_the_formula() {
        let rope = Rope::new(100.0, 4, Some(&[1.0, 2.0]));
        let mut angles = Angles::default();
        rope.fill(&mut angles, [0, 3].into_iter());
        assert_eq!(angles.token(0), (&[1.0, 1.0][..], &[0.0, 0.0][..]));
        // Frequencies are 1 and 100^(-1/2) / 2 = 0.05.
        let (cos, sin) = angles.token(1);
        assert!((cos[0] - -0.989_992_5).abs() < 1e-7 && (sin[0] - 0.141_120_01).abs() < 1e-7);
        assert!((cos[1] - 0.988_771_1).abs() < 1e-7 && (sin[1] - 0.149_438_13).abs() < 1e-7);
    }
}
