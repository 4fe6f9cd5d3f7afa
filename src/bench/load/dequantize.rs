//! Dequantization of every type, on one core, into memory that was touched before.

use std::convert::Infallible;
use std::hint::black_box;

use crate::bench::samples::{Spread, Turns, timed_on_core};
use crate::weights::dequant::TensorType;

use super::Effort;
use super::fill::fill;
use super::report::Dequantization;

pub(super) fn measure(effort: Effort) -> Vec<Dequantization> {
    let mut out = vec![0.0f32; effort.values];
    fill(&mut out);
    let mut types: Vec<TensorType> = TensorType::all().collect();
    types.sort_by_key(|&kind| kind as u32);
    types
        .into_iter()
        .map(|kind| one(kind, &mut out, effort.turns))
        .collect()
}

fn one(kind: TensorType, out: &mut [f32], turns: usize) -> Dequantization {
    let blocks = random_bytes(out.len() / kind.block_values() * kind.block_bytes());
    let out = std::cell::RefCell::new(out);
    let dequantize = || {
        let out = &mut **out.borrow_mut();
        let ((), seconds) = timed_on_core(|| kind.dequantize(black_box(&blocks), out));
        black_box(out);
        Ok::<_, Infallible>(seconds)
    };
    let store = || {
        let out = &mut **out.borrow_mut();
        let ((), seconds) = timed_on_core(|| fill(out));
        black_box(out);
        Ok(seconds)
    };
    let Ok(turns) = Turns::take(turns, dequantize, store);
    let bytes = size_of_val(&**out.borrow());
    Dequantization {
        name: kind.name(),
        gigabytes_per_second: Spread::gigabytes_per_second(&turns.ours, bytes),
        fill_gigabytes_per_second: Spread::gigabytes_per_second(&turns.yardstick, bytes),
        times_fill: turns.ratio(),
    }
}

/// Blocks of any content: no type's time depends on its values, but all zeros would be suspicious.
fn random_bytes(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().finalize_xof().fill(&mut bytes);
    bytes
}
