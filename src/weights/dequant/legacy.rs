//! Blocks of 32 values with one scale, and a minimum where the name ends in 1. The low nibbles of the
//! bytes are the values 0..16, the high nibbles the values 16..32.
//! Source: `ggml-common.h` and `ggml-quants.c` of ggml.

use half::f16;

const VALUES: usize = 32;
const HALF: usize = VALUES / 2;

/// `d`, 16 bytes of nibbles: `d * (q - 8)`.
pub(super) fn q4_0(block: &[u8; 18], out: &mut [f32; VALUES]) {
    let (head, nibbles) = split::<2, HALF>(block);
    let d = scale(head);
    for j in 0..HALF {
        out[j] = d * (i32::from(nibbles[j] & 0x0f) - 8) as f32;
        out[j + HALF] = d * (i32::from(nibbles[j] >> 4) - 8) as f32;
    }
}

/// `d`, `m`, 16 bytes of nibbles: `d * q + m`.
pub(super) fn q4_1(block: &[u8; 20], out: &mut [f32; VALUES]) {
    let (head, nibbles) = split::<4, HALF>(block);
    let (d, m) = scale_and_minimum(head);
    for j in 0..HALF {
        out[j] = d * f32::from(nibbles[j] & 0x0f) + m;
        out[j + HALF] = d * f32::from(nibbles[j] >> 4) + m;
    }
}

/// `d`, 32 fifth bits, 16 bytes of nibbles: `d * (q - 16)`.
pub(super) fn q5_0(block: &[u8; 22], out: &mut [f32; VALUES]) {
    let (head, nibbles) = split::<6, HALF>(block);
    let d = scale(&[head[0], head[1]]);
    let fifth = u32::from_le_bytes([head[2], head[3], head[4], head[5]]);
    for j in 0..HALF {
        let (low, high) = five_bits(nibbles[j], fifth, j);
        out[j] = d * (low - 16) as f32;
        out[j + HALF] = d * (high - 16) as f32;
    }
}

/// `d`, `m`, 32 fifth bits, 16 bytes of nibbles: `d * q + m`.
pub(super) fn q5_1(block: &[u8; 24], out: &mut [f32; VALUES]) {
    let (head, nibbles) = split::<8, HALF>(block);
    let (d, m) = scale_and_minimum(&[head[0], head[1], head[2], head[3]]);
    let fifth = u32::from_le_bytes([head[4], head[5], head[6], head[7]]);
    for j in 0..HALF {
        let (low, high) = five_bits(nibbles[j], fifth, j);
        out[j] = d * low as f32 + m;
        out[j + HALF] = d * high as f32 + m;
    }
}

/// `d`, 32 signed bytes: `q * d`.
pub(super) fn q8_0(block: &[u8; 34], out: &mut [f32; VALUES]) {
    let (head, bytes) = split::<2, VALUES>(block);
    let d = scale(head);
    for j in 0..VALUES {
        out[j] = f32::from(bytes[j].cast_signed()) * d;
    }
}

fn five_bits(nibbles: u8, fifth: u32, j: usize) -> (i32, i32) {
    let low = u32::from(nibbles & 0x0f) | ((fifth >> j) & 1) << 4;
    let high = u32::from(nibbles >> 4) | ((fifth >> (j + HALF)) & 1) << 4;
    (low.cast_signed(), high.cast_signed())
}

/// A block of A + B bytes as its head and its tail.
fn split<const A: usize, const B: usize>(block: &[u8]) -> (&[u8; A], &[u8; B]) {
    let parts = block
        .split_first_chunk()
        .and_then(|(a, b)| Some((a, b.first_chunk()?)));
    parts.expect("the parts add up to the block")
}

fn scale(bytes: &[u8; 2]) -> f32 {
    f16::from_le_bytes(*bytes).to_f32()
}

fn scale_and_minimum(bytes: &[u8; 4]) -> (f32, f32) {
    (scale(&[bytes[0], bytes[1]]), scale(&[bytes[2], bytes[3]]))
}
