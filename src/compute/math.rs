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

/// The hyperbolic tangent within 3 ulp. NaN gives NaN.
#[allow(clippy::excessive_precision, reason = "the digits of the source")]
#[inline(always)]
pub fn tanh(x: f32) -> f32 {
    // Near 0 a polynomial (Cephes' tanhf), because the quotient below would cancel.
    let square = x * x;
    let mut p = -5.704_988_7e-3;
    p = square.mul_add(p, 2.063_908_9e-2);
    p = square.mul_add(p, -5.373_971_5e-2);
    p = square.mul_add(p, 1.333_144_2e-1);
    p = square.mul_add(p, -3.333_328_1e-1);
    let near = (p * square).mul_add(x, x);
    let magnitude = x.abs();
    let far = 1.0 - 2.0 / (exp(2.0 * magnitude) + 1.0);
    let size = if magnitude < 0.625 { near } else { far };
    size.copysign(x)
}

/// x * 0.5 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3))): GELU as models are trained with it. Written as
/// x * sigmoid of twice the argument, which is the same and does not cancel for negative x.
#[inline(always)]
pub fn gelu(x: f32) -> f32 {
    // 2 sqrt(2 / pi).
    const TWICE_ROOT: f32 = 1.595_769_2;
    let inner = (0.044_715 * x * x).mul_add(x, x);
    x / (1.0 + exp(-TWICE_ROOT * inner))
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
    fn tanh_is_within_its_bound() {
        let mut worst: f64 = 0.0;
        let mut x = -12.0f32;
        while x < 12.0 {
            worst = worst.max(ulps(tanh(x), libm::tanh(f64::from(x))));
            x += 0.000_713;
        }
        assert!(worst < 3.0, "worst error {worst} ulp");
        assert_eq!(tanh(f32::INFINITY), 1.0);
        assert_eq!(tanh(f32::NEG_INFINITY), -1.0);
        assert_eq!(tanh(-0.0).to_bits(), (-0.0f32).to_bits());
        assert!(tanh(f32::NAN).is_nan());
    }

    #[test]
    fn gelu_matches_f64() {
        for x in [
            -20.0f32, -9.0, -3.0, -0.7, -1e-3, 0.0, 1e-3, 0.3, 1.0, 4.0, 30.0,
        ] {
            let wide = f64::from(x);
            let inner =
                (2.0 / std::f64::consts::PI).sqrt() * (wide + 0.044_715 * wide * wide * wide);
            let exact = 0.5 * wide * (1.0 + libm::tanh(inner));
            let error = (f64::from(gelu(x)) - exact).abs();
            assert!(error <= exact.abs() * 1e-6 + 1e-7, "{x}: {error}");
        }
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
