//! Tensors of a GGUF file as contents of a cache file: which layout each one gets, and the panels from
//! its blocks.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::cache::{Contents, Identity, MappedFile};
use crate::compute::Isa;
use crate::tensor::{Layout, PANEL_ROWS, TensorSpec};

use super::Error;
use super::fill::Filler;
use super::gguf::{Header, TensorInfo};

/// A mapped GGUF file with its header read.
pub(super) struct Conversion<'a> {
    path: &'a Path,
    file: &'a MappedFile,
    /// The file when its header was read.
    identity: Identity,
    specs: Vec<TensorSpec>,
    infos: HashMap<&'a str, &'a TensorInfo>,
    /// Values that were filled and are infinite or NaN.
    non_finite: HashMap<&'a str, AtomicU64>,
}

impl<'a> Conversion<'a> {
    /// Chooses the layouts. Fails on tensors that are neither vectors nor matrices.
    pub(super) fn new(
        path: &'a Path,
        file: &'a MappedFile,
        identity: Identity,
        header: &'a Header,
    ) -> Result<Self, Error> {
        // Only rows of the token table are looked up, unless it is the output matrix too.
        let untied = header
            .tensors
            .iter()
            .any(|info| info.name == "output.weight");
        let specs = header.tensors.iter().map(|info| {
            let (name, table) = (
                info.name.clone(),
                untied && info.name == "token_embd.weight",
            );
            match *shape(&info.dimensions) {
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
                        path: path.to_path_buf(),
                        problem,
                    })
                }
            }
        });
        let specs = specs.collect::<Result<_, _>>()?;
        let infos = header
            .tensors
            .iter()
            .map(|info| (info.name.as_str(), info))
            .collect();
        let non_finite = header
            .tensors
            .iter()
            .map(|info| (info.name.as_str(), AtomicU64::new(0)))
            .collect();
        Ok(Conversion {
            path,
            file,
            identity,
            specs,
            infos,
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
}

impl Contents for Conversion<'_> {
    fn specs(&self) -> Vec<TensorSpec> {
        self.specs.clone()
    }

    fn fill(&self, spec: &TensorSpec, first_row: usize, out: &mut [f32]) {
        let info = self.infos[spec.name.as_str()];
        let blocks = &self.file.bytes()[info.bytes.clone()];
        let row_bytes = spec.cols / info.kind.block_values() * info.kind.block_bytes();
        let mut filler = Filler::new(Isa::best());
        let mut non_finite = 0;
        match spec.layout {
            Layout::Panels => {
                for (panel, out) in out.chunks_exact_mut(spec.cols * PANEL_ROWS).enumerate() {
                    let first = first_row + panel * PANEL_ROWS;
                    let rows = &blocks[first * row_bytes..];
                    let rows: Vec<_> = rows.chunks(row_bytes).take(PANEL_ROWS).collect();
                    non_finite += filler.panel(info.kind, &rows, out);
                }
            }
            Layout::Rows | Layout::Vector => {
                let count = out.len() / spec.cols;
                let rows = &blocks[first_row * row_bytes..(first_row + count) * row_bytes];
                non_finite += filler.rows(info.kind, rows, out);
            }
        }
        self.non_finite[spec.name.as_str()].fetch_add(non_finite, Ordering::Relaxed);
    }

    fn confirm(&self) -> Result<(), String> {
        match self.file.identity() {
            Ok(now) if now == self.identity => Ok(()),
            _ => Err(format!(
                "model file {}: it changed while it was being converted",
                self.path.display()
            )),
        }
    }
}

/// The dimensions without those that are 1 and beyond the second.
fn shape(mut dimensions: &[usize]) -> &[usize] {
    while let [shorter @ .., 1] = dimensions
        && shorter.len() >= 2
    {
        dimensions = shorter;
    }
    dimensions
}
