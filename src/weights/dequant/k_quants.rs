//! Super-blocks of 256 values with scales of their own for each group of 16 or 32.
//! Source: `ggml-common.h` and `ggml-quants.c` of ggml.

use super::bytes;
use super::half::f16;

const VALUES: usize = 256;

/// 16 bytes of a scale and a minimum of 4 bits each, 64 bytes of bit pairs, `d`, `dmin`:
/// `(d * scale) * q - (dmin * minimum)` for sixteen groups of 16. Each half of the block has 32 bytes
/// of bit pairs; pair i belongs to its values 32i..32i+32.
#[inline(always)]
pub(super) fn q2_k(block: &[u8; 84], out: &mut [f32; VALUES]) {
    let (scales, codes) = (bytes::<16>(block, 0), bytes::<64>(block, 16));
    let (d, dmin) = (f16(*bytes(block, 80)), f16(*bytes(block, 82)));
    let (outs, _) = out.as_chunks_mut::<32>();
    for (pair, out) in outs.iter_mut().enumerate() {
        let shift = pair % 4 * 2;
        let pairs: &[u8; 32] = bytes(codes, pair / 4 * 32);
        let codes = pairs.map(|byte| (byte >> shift) & 3);
        for j in 0..32 {
            let scale = scales[pair * 2 + j / 16];
            let (d, m) = (d * f32::from(scale & 0x0f), dmin * f32::from(scale >> 4));
            out[j] = d * f32::from(codes[j]) - m;
        }
    }
}

/// 32 bytes of third bits (bit i of byte j belongs to value 32i + j), 64 bytes of bit pairs as in
/// Q2_K, sixteen 6-bit scales, `d`: `(d * (scale - 32)) * q`, q less 4 where the third bit is missing.
#[inline(always)]
pub(super) fn q3_k(block: &[u8; 110], out: &mut [f32; VALUES]) {
    let (third, codes) = (bytes::<32>(block, 0), bytes::<64>(block, 32));
    let (scales, d) = (bytes::<12>(block, 96), f16(*bytes(block, 108)));
    let (outs, _) = out.as_chunks_mut::<16>();
    for (group, out) in outs.iter_mut().enumerate() {
        // Four low bits in the nibbles of bytes 0..8, two high bits in the pairs of bytes 8..12.
        let low = (scales[group % 8] >> (group / 8 * 4)) & 0x0f;
        let high = (scales[8 + group % 4] >> (group / 4 * 2)) & 3;
        let d = d * (i32::from(low | high << 4) - 32) as f32;
        let shift = group % 8 / 2 * 2;
        let codes: &[u8; 16] = bytes(codes, group / 8 * 32 + group % 2 * 16);
        let third: &[u8; 16] = bytes(third, group % 2 * 16);
        for j in 0..16 {
            let missing = !(third[j] >> (group / 2)) & 1;
            out[j] = d * (i32::from((codes[j] >> shift) & 3) - i32::from(missing << 2)) as f32;
        }
    }
}

/// `d`, `dmin`, 12 bytes with eight 6-bit scales and eight 6-bit minimums, 128 bytes of nibbles:
/// `(d * scale) * q - (dmin * minimum)` for eight groups of 32. 32 bytes hold two groups, the first in
/// the low nibbles.
#[inline(always)]
pub(super) fn q4_k(block: &[u8; 144], out: &mut [f32; VALUES]) {
    let (d, dmin) = (f16(*bytes(block, 0)), f16(*bytes(block, 2)));
    let (packed, nibbles) = (bytes(block, 4), bytes::<128>(block, 16));
    let (outs, _) = out.as_chunks_mut::<32>();
    for (group, out) in outs.iter_mut().enumerate() {
        let (scale, minimum) = scale_and_minimum(packed, group);
        let (d, m) = (d * f32::from(scale), dmin * f32::from(minimum));
        let shift = group % 2 * 4;
        let codes: &[u8; 32] = bytes(nibbles, group / 2 * 32);
        for j in 0..32 {
            out[j] = d * f32::from((codes[j] >> shift) & 0x0f) - m;
        }
    }
}

/// As Q4_K, with 32 bytes of fifth bits before the nibbles: bit i of byte j belongs to value 32i + j.
#[inline(always)]
pub(super) fn q5_k(block: &[u8; 176], out: &mut [f32; VALUES]) {
    let (d, dmin) = (f16(*bytes(block, 0)), f16(*bytes(block, 2)));
    let (packed, fifth) = (bytes(block, 4), bytes::<32>(block, 16));
    let nibbles = bytes::<128>(block, 48);
    let (outs, _) = out.as_chunks_mut::<32>();
    for (group, out) in outs.iter_mut().enumerate() {
        let (scale, minimum) = scale_and_minimum(packed, group);
        let (d, m) = (d * f32::from(scale), dmin * f32::from(minimum));
        let shift = group % 2 * 4;
        let codes: &[u8; 32] = bytes(nibbles, group / 2 * 32);
        for j in 0..32 {
            let high = (fifth[j] >> group) & 1;
            out[j] = d * f32::from(((codes[j] >> shift) & 0x0f) | high << 4) - m;
        }
    }
}

/// The 6-bit scale and minimum of a group: the first four lie whole in bytes 0..4 and 4..8, the others
/// have their low bits in bytes 8..12 and their high bits in the top of bytes 0..8.
#[inline(always)]
fn scale_and_minimum(packed: &[u8; 12], group: usize) -> (u8, u8) {
    if group < 4 {
        (packed[group] & 0x3f, packed[group + 4] & 0x3f)
    } else {
        let low = packed[group + 4];
        let scale = (low & 0x0f) | ((packed[group - 4] >> 2) & 0x30);
        let minimum = (low >> 4) | ((packed[group] >> 2) & 0x30);
        (scale, minimum)
    }
}

/// 128 bytes of low nibbles, 64 bytes of high bit pairs, 16 signed scales, `d`: `(d * scale) * (q - 32)`
/// for sixteen groups of 16. Each half of the block has 64 bytes of nibbles (the low ones are values
/// 0..64, the high ones 64..128) and 32 bytes of bit pairs (pair i belongs to values 32i..32i+32).
#[inline(always)]
pub(super) fn q6_k(block: &[u8; 210], out: &mut [f32; VALUES]) {
    let (low, high) = (bytes::<128>(block, 0), bytes::<64>(block, 128));
    let (scales, d) = (bytes::<16>(block, 192), f16(*bytes(block, 208)));
    let (outs, _) = out.as_chunks_mut::<32>();
    for (pair, out) in outs.iter_mut().enumerate() {
        let (half, within) = (pair / 4, pair % 4 * 32);
        let low: &[u8; 32] = bytes(low, half * 64 + within % 64);
        let high: &[u8; 32] = bytes(high, half * 32);
        let mut codes = [0; 32];
        for j in 0..32 {
            let low = (low[j] >> (within / 64 * 4)) & 0x0f;
            let high = (high[j] >> (within / 32 * 2)) & 3;
            codes[j] = (low | high << 4).cast_signed() - 32;
        }
        for j in 0..32 {
            let d = d * f32::from(scales[pair * 2 + j / 16].cast_signed());
            out[j] = d * f32::from(codes[j]);
        }
    }
}

/// `d` in FP32, 256 signed bytes, 16 sums (they only help products): `d * q`. The `gguf` package has no
/// values for it; this is `dequantize_row_q8_K` of ggml.
#[inline(always)]
pub(super) fn q8_k(block: &[u8; 292], out: &mut [f32; VALUES]) {
    let (d, codes) = (
        f32::from_le_bytes(*bytes(block, 0)),
        bytes::<VALUES>(block, 4),
    );
    for j in 0..VALUES {
        out[j] = d * f32::from(codes[j].cast_signed());
    }
}
