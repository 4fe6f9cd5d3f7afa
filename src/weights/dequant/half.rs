//! F32, F16 and BF16: blocks of one value.

use ::half::slice::HalfFloatSliceExt;
use ::half::{bf16 as Bf16, f16 as F16};

/// Values of F16 that are converted by one call.
const RUN: usize = 256;

pub(super) fn f32(block: &[u8; 4], out: &mut [f32; 1]) {
    *out = [f32::from_le_bytes(*block)];
}

/// Any number of values. By slices, because the library asks for the processor's conversion instruction
/// at every call.
pub(super) fn f16(blocks: &[u8], out: &mut [f32]) {
    let mut halves = [F16::ZERO; RUN];
    let (blocks, _) = blocks.as_chunks::<2>();
    for (blocks, out) in blocks.chunks(RUN).zip(out.chunks_mut(RUN)) {
        let halves = &mut halves[..out.len()];
        for (half, bytes) in halves.iter_mut().zip(blocks) {
            *half = F16::from_le_bytes(*bytes);
        }
        halves.convert_to_f32_slice(out);
    }
}

pub(super) fn bf16(block: &[u8; 2], out: &mut [f32; 1]) {
    *out = [Bf16::from_le_bytes(*block).to_f32()];
}
