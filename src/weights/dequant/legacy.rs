//! Blocks of 32 values with one scale, and a minimum where the name ends in 1. The low nibbles of the
//! bytes are the values 0..16, the high nibbles the values 16..32.
//! Source: `ggml-common.h` and `ggml-quants.c` of ggml.

use super::bytes;
use super::half::f16;

const VALUES: usize = 32;
const HALF: usize = VALUES / 2;

/// `d`, 16 bytes of nibbles: `d * (q - 8)`.
#[inline(always)]
pub(super) fn q4_0(block: &[u8; 18], out: &mut [f32; VALUES]) {
    let (d, codes) = (f16(*bytes(block, 0)), unpack(bytes(block, 2)));
    for j in 0..VALUES {
        out[j] = d * (i32::from(codes[j]) - 8) as f32;
    }
}

/// `d`, `m`, 16 bytes of nibbles: `d * q + m`.
#[inline(always)]
pub(super) fn q4_1(block: &[u8; 20], out: &mut [f32; VALUES]) {
    let (d, m) = (f16(*bytes(block, 0)), f16(*bytes(block, 2)));
    let codes = unpack(bytes(block, 4));
    for j in 0..VALUES {
        out[j] = d * f32::from(codes[j]) + m;
    }
}

/// `d`, 32 fifth bits, 16 bytes of nibbles: `d * (q - 16)`.
#[inline(always)]
pub(super) fn q5_0(block: &[u8; 22], out: &mut [f32; VALUES]) {
    let d = f16(*bytes(block, 0));
    let (fifth, nibbles) = (u32::from_le_bytes(*bytes(block, 2)), bytes(block, 6));
    for j in 0..HALF {
        let (low, high) = five_bits(nibbles, fifth, j);
        out[j] = d * (low - 16) as f32;
        out[j + HALF] = d * (high - 16) as f32;
    }
}

/// `d`, `m`, 32 fifth bits, 16 bytes of nibbles: `d * q + m`.
#[inline(always)]
pub(super) fn q5_1(block: &[u8; 24], out: &mut [f32; VALUES]) {
    let (d, m) = (f16(*bytes(block, 0)), f16(*bytes(block, 2)));
    let (fifth, nibbles) = (u32::from_le_bytes(*bytes(block, 4)), bytes(block, 8));
    for j in 0..HALF {
        let (low, high) = five_bits(nibbles, fifth, j);
        out[j] = d * low as f32 + m;
        out[j + HALF] = d * high as f32 + m;
    }
}

/// Values j and j + 16 without their offset.
#[inline(always)]
fn five_bits(nibbles: &[u8; HALF], fifth: u32, j: usize) -> (i32, i32) {
    let low = u32::from(nibbles[j] & 0x0f) | ((fifth >> j) & 1) << 4;
    let high = u32::from(nibbles[j] >> 4) | ((fifth >> (j + HALF)) & 1) << 4;
    (low.cast_signed(), high.cast_signed())
}

/// `d`, 32 signed bytes: `q * d`.
#[inline(always)]
pub(super) fn q8_0(block: &[u8; 34], out: &mut [f32; VALUES]) {
    signed_bytes(f16(*bytes(block, 0)), bytes(block, 2), out);
}

/// `d`, the sum of the values (it only helps products), 32 signed bytes: `q * d`. The `gguf` package
/// has another size for it and no values; this is ggml's definition.
#[inline(always)]
pub(super) fn q8_1(block: &[u8; 36], out: &mut [f32; VALUES]) {
    signed_bytes(f16(*bytes(block, 0)), bytes(block, 4), out);
}

#[inline(always)]
fn signed_bytes(d: f32, codes: &[u8; VALUES], out: &mut [f32; VALUES]) {
    for j in 0..VALUES {
        out[j] = f32::from(codes[j].cast_signed()) * d;
    }
}

/// The low nibbles, then the high ones: what follows becomes vectors over all 32.
#[inline(always)]
fn unpack(nibbles: &[u8; HALF]) -> [u8; VALUES] {
    let mut codes = [0; VALUES];
    for j in 0..HALF {
        codes[j] = nibbles[j] & 0x0f;
        codes[j + HALF] = nibbles[j] >> 4;
    }
    codes
}
