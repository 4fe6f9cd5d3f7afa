//! Nibbles that stand for sixteen uneven values: the numbers of a table, or floats of four bits. In each
//! run of bytes the low nibbles come first.
//! Source: `ggml-common.h` and `ggml-quants.c` of ggml.

use super::half::f16;
use super::{bytes, one_by_one};

/// The values of IQ4_NL and IQ4_XS (`kvalues_iq4nl`).
const UNEVEN: [i8; 16] = [
    -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113,
];

/// `d`, 16 bytes of nibbles: `d * value`.
#[inline(always)]
pub(super) fn iq4_nl(block: &[u8; 18], out: &mut [f32; 32]) {
    uneven(f16(*bytes(block, 0)), bytes::<16>(block, 2), out);
}

/// `d`, 2 bytes with the high pairs and 4 bytes with the low nibbles of eight 6-bit scales, 128 bytes
/// of nibbles: `(d * (scale - 32)) * value` for eight groups of 32.
#[inline(always)]
pub(super) fn iq4_xs(block: &[u8; 136], out: &mut [f32; 256]) {
    let (d, high) = (f16(*bytes(block, 0)), u16::from_le_bytes(*bytes(block, 2)));
    let low = u32::from_le_bytes(*bytes(block, 4));
    let (outs, _) = out.as_chunks_mut::<32>();
    for (group, out) in outs.iter_mut().enumerate() {
        let low = (low >> (4 * group)) & 0x0f;
        let high = u32::from(high >> (2 * group)) & 3;
        let d = d * ((low | high << 4).cast_signed() - 32) as f32;
        uneven(d, bytes::<16>(block, 8 + group * 16), out);
    }
}

/// An exponent, 16 bytes of nibbles: `2^(e - 127) * value`. The last exponent is not NaN.
#[inline(always)]
pub(super) fn mxfp4(block: &[u8; 17], out: &mut [f32; 32]) {
    // Half of the power, because the table has twice the values; 0 and 1 are subnormal.
    let bits = match block[0] {
        e @ 0..2 => 0x0020_0000 << e,
        e => (u32::from(e) - 1) << 23,
    };
    e2m1(f32::from_bits(bits), bytes::<16>(block, 1), out);
}

/// Four scales, 32 bytes of nibbles: `scale * value` for four groups of 16.
#[inline(always)]
pub(super) fn nvfp4(block: &[u8; 36], out: &mut [f32; 64]) {
    let (outs, _) = out.as_chunks_mut::<16>();
    for (group, out) in outs.iter_mut().enumerate() {
        let group = one_by_one(group);
        let d = half_of_e4m3(block[group]);
        e2m1(d, bytes::<8>(block, 4 + group * 8), out);
    }
}

/// Half of a float of four bits of exponent and three of fraction, the sign ignored; NaN is zero.
#[inline(always)]
fn half_of_e4m3(byte: u8) -> f32 {
    let (exponent, fraction) = (u32::from(byte >> 3) & 0x0f, u32::from(byte & 7));
    match (byte, exponent) {
        (0x7f, _) => 0.0,
        // 2^-9 is the smallest subnormal.
        (_, 0) => fraction as f32 * f32::from_bits((127 - 10) << 23),
        _ => f32::from_bits((exponent + 127 - 8) << 23 | fraction << 20),
    }
}

/// The products are made once for the table.
#[inline(always)]
fn uneven<const N: usize>(d: f32, nibbles: &[u8; N], out: &mut [f32]) {
    let products = UNEVEN.map(|value| d * f32::from(value));
    let (low, high) = out.split_at_mut(N);
    for j in 0..N {
        low[j] = products[usize::from(nibbles[j] & 0x0f)];
        high[j] = products[usize::from(nibbles[j] >> 4)];
    }
}

#[inline(always)]
fn e2m1<const N: usize>(d: f32, nibbles: &[u8; N], out: &mut [f32]) {
    let (low, high) = out.split_at_mut(N);
    for j in 0..N {
        low[j] = d * f32::from(twice_e2m1(nibbles[j] & 0x0f));
    }
    for j in 0..N {
        high[j] = d * f32::from(twice_e2m1(nibbles[j] >> 4));
    }
}

/// Twice a float of a sign, two bits of exponent and one of fraction (`kvalues_mxfp4`): 0 1 2 3 4 6 8 12,
/// a line that becomes steeper at 4 and at 6. There is no negative zero.
#[inline(always)]
fn twice_e2m1(code: u8) -> i8 {
    let line = code & 7;
    let value = line + line.saturating_sub(4) + 2 * line.saturating_sub(6);
    let value = value.cast_signed();
    if code < 8 { value } else { -value }
}
