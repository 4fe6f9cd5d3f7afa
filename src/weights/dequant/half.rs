//! F16 and BF16: blocks of one value, and the scales of most other blocks.
//!
//! F16 by integer arithmetic and selections instead of the processor's instruction, so that the same
//! lines become vectors on every instruction set. No subnormal FP32 number is touched: some processors
//! take a hundred cycles for one.

/// From the exponent bias of F16 to that of FP32.
const REBIAS: u32 = (127 - 15) << 23;
/// The exponent of infinities and NaNs of F16, where FP32 has its exponent.
const SPECIAL: u32 = 31 << 23;
/// The smallest normal number of F16 in FP32.
const SMALLEST: u32 = (127 - 14) << 23;

/// F16 in little-endian bytes to F32; exact.
#[inline(always)]
pub(super) fn f16(bytes: [u8; 2]) -> f32 {
    let bits = u32::from(u16::from_le_bytes(bytes));
    let sign = (bits & 0x8000) << 16;
    let magnitude = (bits & 0x7fff) << 13;
    let normal = magnitude + REBIAS;
    // A subnormal's bits are the fraction of a number in [1, 2) * SMALLEST.
    let subnormal = f32::from_bits(magnitude + SMALLEST) - f32::from_bits(SMALLEST);
    let bits = match magnitude & SPECIAL {
        SPECIAL => normal + REBIAS,
        0 => subnormal.to_bits(),
        _ => normal,
    };
    f32::from_bits(bits | sign)
}

#[inline(always)]
pub(super) fn f16_value(block: &[u8; 2], out: &mut [f32; 1]) {
    *out = [f16(*block)];
}

#[inline(always)]
pub(super) fn bf16_value(block: &[u8; 2], out: &mut [f32; 1]) {
    *out = [f32::from_bits(u32::from(u16::from_le_bytes(*block)) << 16)];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_numbers_of_16_bits_are_those_of_the_library() {
        for bits in 0..=u16::MAX {
            let bytes = bits.to_le_bytes();
            let mut wide = [0.0];
            bf16_value(&bytes, &mut wide);
            for (found, expected) in [
                (f16(bytes), half::f16::from_bits(bits).to_f32()),
                (wide[0], half::bf16::from_bits(bits).to_f32()),
            ] {
                let same = found.to_bits() == expected.to_bits();
                assert!(same || found.is_nan() && expected.is_nan(), "{bits:#06x}");
            }
        }
    }
}
