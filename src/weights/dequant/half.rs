//! F32, F16 and BF16: blocks of one value.

use half::{bf16 as Bf16, f16 as F16};

pub(super) fn f32(block: &[u8; 4], out: &mut [f32; 1]) {
    *out = [f32::from_le_bytes(*block)];
}

pub(super) fn f16(block: &[u8; 2], out: &mut [f32; 1]) {
    *out = [F16::from_le_bytes(*block).to_f32()];
}

pub(super) fn bf16(block: &[u8; 2], out: &mut [f32; 1]) {
    *out = [Bf16::from_le_bytes(*block).to_f32()];
}
