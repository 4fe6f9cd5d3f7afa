//! Super-blocks of 256 values in groups of eight: an index into a grid of points, and signs.
//! Source: `ggml-common.h` and `ggml-quants.c` of ggml.

use super::grids::{IQ1_S, IQ2_S, IQ2_XS, IQ2_XXS, IQ3_S, IQ3_XXS};
use super::half::f16;
use super::{bytes, one_by_one};

const VALUES: usize = 256;
/// IQ1 adds or subtracts this from every point of a group.
const DELTA: f32 = 0.125;

/// 32 values of four points, or of eight halves of one.
type Points = [i8; 32];

/// `d`, eight times 8 bytes for 32 values: four indices, then four times 7 bits of signs and 4 bits of
/// scale: `(d * (0.5 + scale) * 0.25) * point`.
#[inline(always)]
pub(super) fn iq2_xxs(block: &[u8; 66], out: &mut [f32; VALUES]) {
    let d = f16(*bytes(block, 0));
    let (outs, _) = out.as_chunks_mut::<32>();
    for (group, out) in outs.iter_mut().enumerate() {
        let group = one_by_one(group);
        let indices: &[u8; 4] = bytes(block, 2 + group * 8);
        let word = u32::from_le_bytes(*bytes(block, 6 + group * 8));
        let d = d * (0.5 + (word >> 28) as f32) * 0.25;
        let points = gather(|i| IQ2_XXS[usize::from(indices[i])]);
        signed([d; 2], &points, seven_bit_signs(word), out);
    }
}

/// `d`, 32 words of 9 bits of index and 7 of signs, 8 bytes of two scales for 16 values each:
/// `(d * (0.5 + scale) * 0.25) * point`.
#[inline(always)]
pub(super) fn iq2_xs(block: &[u8; 74], out: &mut [f32; VALUES]) {
    let d = f16(*bytes(block, 0));
    let (outs, _) = out.as_chunks_mut::<32>();
    for (group, out) in outs.iter_mut().enumerate() {
        let group = one_by_one(group);
        let word = |i: usize| u16::from_le_bytes(*bytes(block, 2 + group * 8 + i * 2));
        let points = gather(|i| IQ2_XS[usize::from(word(i) & 511)]);
        let mut signs = 0;
        for i in 0..4 {
            signs |= eight_signs(u32::from(word(i) >> 9)) << (8 * i);
        }
        signed(quarter_scales(d, block[66 + group]), &points, signs, out);
    }
}

/// `d`, 32 bytes of indices, 32 bytes of signs, 8 bytes of high bit pairs of the indices, 8 bytes of two
/// scales for 16 values each: `(d * (0.5 + scale) * 0.25) * point`.
#[inline(always)]
pub(super) fn iq2_s(block: &[u8; 82], out: &mut [f32; VALUES]) {
    let d = f16(*bytes(block, 0));
    let (outs, _) = out.as_chunks_mut::<32>();
    for (group, out) in outs.iter_mut().enumerate() {
        let group = one_by_one(group);
        let low: &[u8; 4] = bytes(block, 2 + group * 4);
        let signs = u32::from_le_bytes(*bytes(block, 34 + group * 4));
        let high = usize::from(block[66 + group]);
        let points = gather(|i| IQ2_S[usize::from(low[i]) | ((high >> (2 * i)) & 3) << 8]);
        signed(quarter_scales(d, block[74 + group]), &points, signs, out);
    }
}

/// `d`, 64 bytes of indices, each for 4 values, eight words of four times 7 bits of signs and 4 bits of
/// scale: `(d * (0.5 + scale) * 0.5) * point`.
#[inline(always)]
pub(super) fn iq3_xxs(block: &[u8; 98], out: &mut [f32; VALUES]) {
    let d = f16(*bytes(block, 0));
    let (outs, _) = out.as_chunks_mut::<32>();
    for (group, out) in outs.iter_mut().enumerate() {
        let group = one_by_one(group);
        let indices: &[u8; 8] = bytes(block, 2 + group * 8);
        let word = u32::from_le_bytes(*bytes(block, 66 + group * 4));
        let d = d * (0.5 + (word >> 28) as f32) * 0.5;
        let points = gather(|i| IQ3_XXS[usize::from(indices[i])]);
        signed([d; 2], &points, seven_bit_signs(word), out);
    }
}

/// `d`, 64 bytes of indices, each for 4 values, 8 bytes of their ninth bits, 32 bytes of signs, 4 bytes
/// of two scales for 32 values each: `(d * (1 + 2 * scale)) * point`.
#[inline(always)]
pub(super) fn iq3_s(block: &[u8; 110], out: &mut [f32; VALUES]) {
    let d = f16(*bytes(block, 0));
    let (outs, _) = out.as_chunks_mut::<32>();
    for (group, out) in outs.iter_mut().enumerate() {
        let group = one_by_one(group);
        let low: &[u8; 8] = bytes(block, 2 + group * 8);
        let ninth = usize::from(block[66 + group]);
        let signs = u32::from_le_bytes(*bytes(block, 74 + group * 4));
        let scale = (block[106 + group / 2] >> (group % 2 * 4)) & 0x0f;
        let d = d * f32::from(1 + 2 * scale);
        let points = gather(|i| IQ3_S[usize::from(low[i]) | ((ninth >> i) & 1) << 8]);
        signed([d; 2], &points, signs, out);
    }
}

/// `d`, 32 bytes of indices, eight words of four times 3 high bits of index, 3 bits of scale and the sign
/// of the delta: `(d * (2 * scale + 1)) * (point + delta)`.
#[inline(always)]
pub(super) fn iq1_s(block: &[u8; 50], out: &mut [f32; VALUES]) {
    let d = f16(*bytes(block, 0));
    let (outs, _) = out.as_chunks_mut::<32>();
    for (group, out) in outs.iter_mut().enumerate() {
        let group = one_by_one(group);
        let low: &[u8; 4] = bytes(block, 2 + group * 4);
        let word = usize::from(u16::from_le_bytes(*bytes(block, 34 + group * 2)));
        let d = d * (2 * ((word >> 12) & 7) + 1) as f32;
        let delta = if word >> 15 == 0 { DELTA } else { -DELTA };
        let points = gather(|i| IQ1_S[usize::from(low[i]) | ((word >> (3 * i)) & 7) << 8]);
        for j in 0..32 {
            out[j] = d * (f32::from(points[j]) + delta);
        }
    }
}

/// 32 bytes of indices, 16 bytes of nibbles with 3 high bits of index and the sign of the delta, four
/// words of four times 3 bits of scale for 16 values and 4 bits of `d`:
/// `(d * (2 * scale + 1)) * (point + delta)`.
#[inline(always)]
pub(super) fn iq1_m(block: &[u8; 56], out: &mut [f32; VALUES]) {
    let words = u64::from_le_bytes(*bytes(block, 48));
    let mut d = 0;
    for word in 0..4 {
        d |= ((words >> (16 * word + 12)) & 0x0f) << (4 * word);
    }
    let d = f16((d as u16).to_le_bytes());
    let (outs, _) = out.as_chunks_mut::<8>();
    for (group, out) in outs.iter_mut().enumerate() {
        let group = one_by_one(group);
        let nibble = usize::from(block[32 + group / 2] >> (group % 2 * 4));
        // Two groups of eight share a scale, four scales share a word.
        let scale = words >> (group / 8 * 16 + group % 8 / 2 * 3);
        let d = d * (2 * (scale & 7) + 1) as f32;
        let delta = if nibble & 8 == 0 { DELTA } else { -DELTA };
        let point = &IQ1_S[usize::from(block[group]) | (nibble & 7) << 8];
        for j in 0..8 {
            out[j] = d * (f32::from(point[j]) + delta);
        }
    }
}

/// The scales of the two halves of a group, by the nibbles of a byte.
#[inline(always)]
fn quarter_scales(d: f32, nibbles: u8) -> [f32; 2] {
    [nibbles & 0x0f, nibbles >> 4].map(|scale| d * (0.5 + f32::from(scale)) * 0.25)
}

/// 7 bits of signs; the eighth makes the number of negative values even.
#[inline(always)]
fn eight_signs(seven: u32) -> u32 {
    seven | (seven.count_ones() & 1) << 7
}

#[inline(always)]
fn seven_bit_signs(word: u32) -> u32 {
    let mut signs = 0;
    for i in 0..4 {
        signs |= eight_signs((word >> (7 * i)) & 0x7f) << (8 * i);
    }
    signs
}

#[inline(always)]
fn gather<const N: usize>(point: impl Fn(usize) -> [i8; N]) -> Points {
    let mut points = [0; 32];
    let (parts, _) = points.as_chunks_mut::<N>();
    for (i, part) in parts.iter_mut().enumerate() {
        *part = point(i);
    }
    points
}

/// `scale * point`, negated where the bit of `signs` is set; one scale for each half.
#[inline(always)]
fn signed(scales: [f32; 2], points: &Points, signs: u32, out: &mut [f32; 32]) {
    for (half, scale) in scales.into_iter().enumerate() {
        for j in half * 16..half * 16 + 16 {
            let value = scale * f32::from(points[j]);
            out[j] = f32::from_bits(value.to_bits() ^ (signs << (31 - j) & 1 << 31));
        }
    }
}
