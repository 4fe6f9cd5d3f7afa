//! Tensors in anonymous memory, on large pages where the system has them.

use std::collections::HashMap;

use memmap2::{Advice, MmapMut};
use rayon::prelude::*;

use crate::tensor::{Element, TensorSpec, Values};

use super::available::{available_memory, check_memory};
use super::format::TENSOR_ALIGNMENT;
use super::strip::{Strip, strips};
use super::{Contents, Error, Progress, Work, format};

/// Values per strip: 2 MiB, one large page, so that two threads seldom fault the same page.
const STRIP_VALUES: usize = (2 << 20) / size_of::<f32>();

/// Tensors by name in memory of this process.
pub struct MemoryTensors {
    map: MmapMut,
    /// Number type of the matrices.
    element: Element,
    /// Spec and position of the first byte.
    places: Vec<(TensorSpec, usize)>,
    index: HashMap<String, usize>,
}

impl MemoryTensors {
    /// Computes all of `contents` on the threads of the current rayon pool. More than the memory that is
    /// available is refused before it is allocated: the system would grant it, and kill the process later.
    pub fn fill(
        contents: &dyn Contents,
        element: Element,
        progress: &dyn Progress,
    ) -> Result<Self, Error> {
        let mut tensors = Self::allocate(contents.specs(), element)?;
        tensors.refill(contents, progress);
        // Some strips may be missing then.
        if progress.is_stopped() {
            return Err(Error::Stopped);
        }
        Ok(tensors)
    }

    /// Zeros.
    fn allocate(specs: Vec<TensorSpec>, element: Element) -> Result<Self, Error> {
        let mut places = vec![];
        let mut bytes: usize = 0;
        for spec in specs {
            let end = format::stored_bytes(&spec, element).and_then(|stored| {
                let stored = usize::try_from(stored).ok()?;
                let stored = stored.checked_next_multiple_of(TENSOR_ALIGNMENT as usize)?;
                stored.checked_add(bytes)
            });
            let Some(end) = end else {
                let problem = "its size is zero or overflows";
                return Err(Error::Tensor {
                    name: spec.name,
                    problem,
                });
            };
            places.push((spec, bytes));
            bytes = end;
        }
        check_memory(bytes as u64, available_memory())?;
        let map = MmapMut::map_anon(bytes.max(TENSOR_ALIGNMENT as usize)).map_err(|source| {
            Error::Memory {
                bytes: bytes as u64,
                source,
            }
        })?;
        // Faulting 4 KiB pages costs more than computing the values; a kernel without large pages
        // refuses the advice, which changes nothing but the time.
        let _ = map.advise(Advice::HugePage);
        let index = places
            .iter()
            .map(|(spec, _)| spec.name.clone())
            .zip(0..)
            .collect();
        Ok(MemoryTensors {
            map,
            element,
            places,
            index,
        })
    }

    /// Computes all values anew, where they are, unless it is stopped. `contents` must have the tensors that these were made of.
    pub fn refill(&mut self, contents: &dyn Contents, progress: &dyn Progress) {
        let places = &self.places;
        progress.begin(Work::Making, self.value_bytes());
        carve(&mut self.map, places, self.element)
            .into_par_iter()
            .with_max_len(1)
            .for_each_init(Vec::new, |memory, (strip, out)| {
                if progress.is_stopped() {
                    return;
                }
                strip.make(contents, &places[strip.tensor].0, memory, out);
                progress.advance(size_of_val(out) as u64);
            });
        progress.finish();
    }

    /// Position of a tensor in storage order.
    pub fn position(&self, name: &str) -> Option<usize> {
        self.index.get(name).copied()
    }

    /// The tensor at a position that [`MemoryTensors::position`] gave: its spec and its values.
    pub fn at(&self, index: usize) -> (&TensorSpec, Values<'_>) {
        let (spec, start) = &self.places[index];
        let bytes = format::stored_bytes(spec, self.element).map_or(0, |bytes| bytes as usize);
        let bytes = &self.map[*start..start + bytes];
        (spec, Values::of(spec.element(self.element), bytes))
    }

    /// In storage order.
    pub fn specs(&self) -> Vec<TensorSpec> {
        self.places.iter().map(|(spec, _)| spec.clone()).collect()
    }

    /// Bytes of all values, panel padding included.
    pub fn value_bytes(&self) -> u64 {
        self.places
            .iter()
            .filter_map(|(spec, _)| format::stored_bytes(spec, self.element))
            .sum()
    }
}

/// Each strip with its part of the memory.
fn carve<'a>(
    mut memory: &'a mut [u8],
    places: &[(TensorSpec, usize)],
    element: Element,
) -> Vec<(Strip, &'a mut [u8])> {
    let mut taken = 0;
    let mut parts = vec![];
    for strip in strips(places.iter().map(|(spec, _)| spec), element, STRIP_VALUES) {
        let start = places[strip.tensor].1 + strip.start;
        let (_, rest) = memory.split_at_mut(start - taken);
        let (part, rest) = rest.split_at_mut(strip.bytes);
        memory = rest;
        taken = start + strip.bytes;
        parts.push((strip, part));
    }
    parts
}
