//! Our own elementary functions: one fixed sequence of operations for every instruction set and build,
//! so that results never depend on the platform's math library.
//!
//! Bounds against f64 are asserted by the tests below.

/// `exp(x)` is 0 below this input on every instruction set: the smallest normal result is kept,
/// subnormal ones are not.
pub const EXP_UNDERFLOW: f32 = -87.336_54;
/// `exp(x)` is infinite above this input.
pub const EXP_OVERFLOW: f32 = 88.722_83;

/// 1.5 * 2^23: adding it rounds a small float to the nearest integer, which then stands in the low
/// bits. It vectorizes everywhere, unlike a rounding instruction.
const ROUND: f32 = 12_582_912.0;
const LOG2_E: f32 = std::f32::consts::LOG2_E;
/// ln 2 in two parts: the first has 9 trailing zero bits, so n * `LN2_HIGH` is exact for |n| < 2^9.
#[allow(clippy::excessive_precision, reason = "all digits of an exact value")]
const LN2_HIGH: f32 = 0.693_359_375;
const LN2_LOW: f32 = -2.121_944_4e-4;

/// e^x within 1.2 ulp; exactly 1 at 0. NaN gives NaN.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    // x = n ln 2 + r with |r| <= ln 2 / 2, then e^x = 2^n e^r (Cody and Waite's reduction).
    let shifted = x.mul_add(LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = (-n).mul_add(LN2_LOW, (-n).mul_add(LN2_HIGH, x));
    // Taylor terms up to r^7: the remainder is below 2^-27 on the interval.
    let mut p = 1.0 / 5040.0;
    p = r.mul_add(p, 1.0 / 720.0);
    p = r.mul_add(p, 1.0 / 120.0);
    p = r.mul_add(p, 1.0 / 24.0);
    p = r.mul_add(p, 1.0 / 6.0);
    p = r.mul_add(p, 0.5);
    p = r.mul_add(p, 1.0);
    p = r.mul_add(p, 1.0);
    // Two factors, because 2^128 is not a float while 2^128 * 0.9 is.
    let n = (shifted.to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32);
    let half = n >> 1;
    let scaled = p * power_of_two(half) * power_of_two(n.wrapping_sub(half));
    let low = if x < EXP_UNDERFLOW { 0.0 } else { scaled };
    if x > EXP_OVERFLOW { f32::INFINITY } else { low }
}

/// 2^n for -126 <= n <= 127; anything else is some float that the caller discards.
#[inline(always)]
fn power_of_two(n: i32) -> f32 {
    f32::from_bits((n.wrapping_add(127) as u32).wrapping_shl(23))
}

/// x * sigmoid(x), the gate of SwiGLU.
#[inline(always)]
pub fn silu(x: f32) -> f32 {
    x / (1.0 + exp(-x))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ulps(a: f32, exact: f64) -> f64 {
        let spacing =
            f64::from(f32::from_bits((exact as f32).to_bits() + 1)) - f64::from(exact as f32);
        ((f64::from(a) - exact) / spacing).abs()
    }

    #[test]
    fn exp_is_within_its_bound() {
        let mut worst: f64 = 0.0;
        let mut x = -87.33f32;
        while x < 88.72 {
            worst = worst.max(ulps(exp(x), libm::exp(f64::from(x))));
            x += 0.000_713;
        }
        assert!(worst < 1.2, "worst error {worst} ulp");
    }

    #[test]
    fn exp_at_its_edges() {
        assert_eq!(exp(0.0).to_bits(), 1.0f32.to_bits());
        assert_eq!(exp(-0.0).to_bits(), 1.0f32.to_bits());
        assert_eq!(exp(f32::NEG_INFINITY).to_bits(), 0);
        assert_eq!(exp(-87.4).to_bits(), 0);
        assert!(exp(EXP_UNDERFLOW) >= f32::MIN_POSITIVE);
        assert!(exp(EXP_OVERFLOW).is_finite());
        assert_eq!(exp(88.73), f32::INFINITY);
        assert_eq!(exp(f32::INFINITY), f32::INFINITY);
        assert!(exp(f32::NAN).is_nan());
    }

    #[test]
    fn silu_matches_f64() {
        for x in [-100.0f32, -20.0, -1.5, -1e-3, 0.0, 1e-3, 0.7, 3.0, 50.0] {
            let exact = f64::from(x) / (1.0 + libm::exp(-f64::from(x)));
            assert!(
                (f64::from(silu(x)) - exact).abs() <= exact.abs() * 4e-7 + 1e-38,
                "{x}"
            );
        }
    }
}
