//! Tensors of model files as contents of a cache file: which layout each one gets, and the panels from
//! its blocks.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::cache::{Contents, Identity, MappedFile, Part};
use crate::compute::Isa;
use crate::tensor::{Layout, PANEL_ROWS, TensorSpec};

use super::Error;
use super::files::{self, ModelFiles};
use super::fill::Filler;
use super::stored::{Bytes, StoredTensor};

/// The mapped files of a model with their headers read.
pub(super) struct Conversion<'a> {
    path: &'a Path,
    files: &'a [MappedFile],
    /// The files when their headers were read.
    identities: &'a [Identity],
    specs: Vec<TensorSpec>,
    tensors: HashMap<&'a str, &'a StoredTensor>,
    /// Values that were filled and are infinite or NaN.
    non_finite: HashMap<&'a str, AtomicU64>,
}

impl<'a> Conversion<'a> {
    /// Chooses the layouts. Fails on tensors that are neither vectors nor matrices.
    pub(super) fn new(model: &'a ModelFiles) -> Result<Self, Error> {
        // Only rows of the token table are looked up, unless it is the output matrix too.
        let untied = model
            .tensors
            .iter()
            .any(|tensor| tensor.name == "output.weight");
        let specs = model.tensors.iter().map(|tensor| {
            let (name, table) = (
                tensor.name.clone(),
                untied && tensor.name == "token_embd.weight",
            );
            match *tensor.plain_dimensions() {
                [cols] => Ok(TensorSpec {
                    name,
                    layout: Layout::Vector,
                    rows: 1,
                    cols,
                }),
                [cols, rows] if table => Ok(TensorSpec {
                    name,
                    layout: Layout::Rows,
                    rows,
                    cols,
                }),
                [cols, rows] => Ok(TensorSpec {
                    name,
                    layout: Layout::Panels,
                    rows,
                    cols,
                }),
                ref more => {
                    let count = more.len();
                    let problem =
                        format!("tensor {name} has {count} dimensions; 1 or 2 are supported");
                    Err(Error::File {
                        path: model.path.clone(),
                        problem,
                    })
                }
            }
        });
        let specs = specs.collect::<Result<_, _>>()?;
        let tensors = model
            .tensors
            .iter()
            .map(|tensor| (tensor.name.as_str(), tensor))
            .collect();
        let non_finite = model
            .tensors
            .iter()
            .map(|tensor| (tensor.name.as_str(), AtomicU64::new(0)))
            .collect();
        Ok(Conversion {
            path: &model.path,
            files: &model.files,
            identities: &model.identities,
            specs,
            tensors,
            non_finite,
        })
    }

    /// Tensors that held infinities or NaNs when they were filled, and how many.
    pub(super) fn non_finite(&self) -> Vec<(String, u64)> {
        let count = |spec: &TensorSpec| {
            let count = self.non_finite[spec.name.as_str()].load(Ordering::Relaxed);
            (count > 0).then(|| (spec.name.clone(), count))
        };
        self.specs.iter().filter_map(count).collect()
    }

    fn blocks(&self, tensor: &'a StoredTensor) -> &'a [u8] {
        match &tensor.bytes {
            Bytes::File { number, range } => &self.files[*number].bytes()[range.clone()],
            Bytes::Made(bytes) => bytes,
        }
    }
}

impl Contents for Conversion<'_> {
    fn specs(&self) -> Vec<TensorSpec> {
        self.specs.clone()
    }

    fn fill(&self, spec: &TensorSpec, part: &Part, out: &mut [f32]) {
        let tensor = self.tensors[spec.name.as_str()];
        let blocks = self.blocks(tensor);
        let kind = tensor.kind;
        let bytes = |values: usize| values / kind.block_values() * kind.block_bytes();
        let row = |row: usize| {
            let start = tensor.order.stored(row) * bytes(spec.cols) + bytes(part.cols.start);
            &blocks[start..start + bytes(part.cols.len())]
        };
        let mut filler = Filler::new(Isa::best());
        let mut non_finite = 0;
        match spec.layout {
            Layout::Panels => {
                let panels = out.chunks_exact_mut(part.cols.len() * PANEL_ROWS);
                for (first, out) in (part.first_row..).step_by(PANEL_ROWS).zip(panels) {
                    let rows: Vec<_> = (first..spec.rows.min(first + PANEL_ROWS))
                        .map(row)
                        .collect();
                    non_finite += filler.panel(kind, &rows, out);
                }
            }
            Layout::Rows | Layout::Vector => {
                let rows = out.chunks_exact_mut(part.cols.len());
                for (number, out) in (part.first_row..).zip(rows) {
                    non_finite += filler.rows(kind, row(number), out);
                }
            }
        }
        self.non_finite[spec.name.as_str()].fetch_add(non_finite, Ordering::Relaxed);
    }

    fn confirm(&self) -> Result<(), String> {
        if files::unchanged(self.files, self.identities) {
            return Ok(());
        }
        Err(format!(
            "model file {}: it changed while it was being read",
            self.path.display()
        ))
    }
}
