//! Super-blocks of 256 values with scales of their own for each group of 16 or 32.
//! Source: `ggml-common.h` and `ggml-quants.c` of ggml.

use half::f16;

const VALUES: usize = 256;

/// `d`, `dmin`, 12 bytes with eight 6-bit scales and eight 6-bit minimums, 128 bytes of nibbles:
/// `(d * scale) * q - (dmin * minimum)` for eight groups of 32. 32 bytes hold two groups, the first in
/// the low nibbles.
pub(super) fn q4_k(block: &[u8; 144], out: &mut [f32; VALUES]) {
    let d = scale(block[0], block[1]);
    let dmin = scale(block[2], block[3]);
    let (packed, nibbles) = (&block[4..16], &block[16..]);
    for group in 0..8 {
        let (scale, minimum) = scale_and_minimum(packed, group);
        let (d, m) = (d * f32::from(scale), dmin * f32::from(minimum));
        let shift = (group % 2) * 4;
        let codes = &nibbles[group / 2 * 32..][..32];
        let out = &mut out[group * 32..][..32];
        for j in 0..32 {
            out[j] = d * f32::from((codes[j] >> shift) & 0x0f) - m;
        }
    }
}

/// The 6-bit scale and minimum of a group: the first four lie whole in bytes 0..4 and 4..8, the others
/// have their low bits in bytes 8..12 and their high bits in the top of bytes 0..8.
fn scale_and_minimum(packed: &[u8], group: usize) -> (u8, u8) {
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
pub(super) fn q6_k(block: &[u8; 210], out: &mut [f32; VALUES]) {
    let (low, high, scales) = (&block[..128], &block[128..192], &block[192..208]);
    let d = scale(block[208], block[209]);
    for group in 0..16 {
        let d = d * f32::from(scales[group].cast_signed());
        let (half, within) = (group / 8, group % 8 * 16);
        let low = &low[half * 64 + within % 64..][..16];
        let low_shift = within / 64 * 4;
        let high = &high[half * 32 + within % 32..][..16];
        let high_shift = within / 32 * 2;
        let out = &mut out[group * 16..][..16];
        for j in 0..16 {
            let code = ((low[j] >> low_shift) & 0x0f) | (((high[j] >> high_shift) & 0x03) << 4);
            out[j] = d * (i32::from(code) - 32) as f32;
        }
    }
}

fn scale(low: u8, high: u8) -> f32 {
    f16::from_le_bytes([low, high]).to_f32()
}
