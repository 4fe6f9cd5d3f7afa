//! Values of one or two bits, or of three states, with one scale for the block.
//! Source: `ggml-common.h` and `ggml-quants.c` of ggml. The `gguf` package has no values for Q1_0 and
//! Q2_0; for these two ggml itself is the reference.

use super::half::f16;
use super::{bytes, one_by_one};

/// 48 bytes of five states each, 4 bytes of four states, `d`: `d * (q - 1)`. A byte is a fraction in
/// base three, 256 being one: state n is the digit before the point after n multiplications by three.
/// The states n of 32 bytes are neighbours, then those of 16 bytes, then those of the last 4.
#[inline(always)]
pub(super) fn tq1_0(block: &[u8; 54], out: &mut [f32; 256]) {
    let d = f16(*bytes(block, 52));
    let (first, rest) = out.split_at_mut(160);
    let (second, third) = rest.split_at_mut(80);
    states::<32>(d, bytes(block, 0), first);
    states::<16>(d, bytes(block, 32), second);
    states::<4>(d, bytes(block, 48), third);
}

#[inline(always)]
fn states<const N: usize>(d: f32, codes: &[u8; N], out: &mut [f32]) {
    let (outs, _) = out.as_chunks_mut::<N>();
    let mut power = 1u8;
    for out in outs {
        for j in 0..N {
            let fraction = codes[j].wrapping_mul(power);
            let state = (u16::from(fraction) * 3) >> 8;
            out[j] = d * (i32::from(state) - 1) as f32;
        }
        power = power.wrapping_mul(3);
    }
}

/// 64 bytes of bit pairs, `d`: `d * (q - 1)`. Each half of the block has 32 bytes; pair i belongs to its
/// values 32i..32i+32.
#[inline(always)]
pub(super) fn tq2_0(block: &[u8; 66], out: &mut [f32; 256]) {
    let (codes, d) = (bytes::<64>(block, 0), f16(*bytes(block, 64)));
    let (outs, _) = out.as_chunks_mut::<32>();
    for (group, out) in outs.iter_mut().enumerate() {
        let codes: &[u8; 32] = bytes(codes, group / 4 * 32);
        for j in 0..32 {
            let code = (codes[j] >> (group % 4 * 2)) & 3;
            out[j] = d * (i32::from(code) - 1) as f32;
        }
    }
}

/// `d`, 128 bits, the lowest first: `d` where the bit is set, else `-d`.
#[inline(always)]
pub(super) fn q1_0(block: &[u8; 18], out: &mut [f32; 128]) {
    let d = f16(*bytes(block, 0));
    let (outs, _) = out.as_chunks_mut::<32>();
    for (group, out) in outs.iter_mut().enumerate() {
        let word = one_by_one(u32::from_le_bytes(*bytes(block, 2 + group * 4)));
        for j in 0..32 {
            out[j] = f32::from_bits(d.to_bits() ^ (!word << (31 - j) & 1 << 31));
        }
    }
}

/// `d`, 64 bit pairs, the lowest first: `d * (q - 1)`.
#[inline(always)]
pub(super) fn q2_0(block: &[u8; 18], out: &mut [f32; 64]) {
    let d = f16(*bytes(block, 0));
    let (outs, _) = out.as_chunks_mut::<16>();
    for (group, out) in outs.iter_mut().enumerate() {
        let word = one_by_one(u32::from_le_bytes(*bytes(block, 2 + group * 4)));
        for j in 0..16 {
            let code = (word >> (2 * j)) & 3;
            out[j] = d * (code.cast_signed() - 1) as f32;
        }
    }
}
