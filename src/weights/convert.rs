//! Tensors of model files as contents of a cache file: which layout each one gets, and the panels from
//! its blocks.

use std::collections::HashMap;
use std::path::Path;

use crate::cache::{Contents, Identity, MappedFile};
use crate::tensor::{Layout, PANEL_ROWS, TensorSpec};

use super::Error;
use super::dequant::TensorType;
use super::files::ModelFiles;
use super::stored::{Bytes, RowOrder, StoredTensor};

/// Values of a row that are converted before they are transposed: the largest block of any type. 16
/// rows of them stay in the first-level cache.
const CHUNK: usize = 256;

/// The mapped files of a model with their headers read.
pub(super) struct Conversion<'a> {
    path: &'a Path,
    files: &'a [MappedFile],
    /// The files when their headers were read.
    identities: &'a [Identity],
    specs: Vec<TensorSpec>,
    tensors: HashMap<&'a str, &'a StoredTensor>,
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
            match *tensor.dimensions.as_slice() {
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
        Ok(Conversion {
            path: &model.path,
            files: &model.files,
            identities: &model.identities,
            specs,
            tensors,
        })
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

    fn fill(&self, spec: &TensorSpec, first_row: usize, out: &mut [f32]) {
        let tensor = self.tensors[spec.name.as_str()];
        let blocks = self.blocks(tensor);
        let kind = tensor.kind;
        let row_bytes = spec.cols / kind.block_values() * kind.block_bytes();
        match spec.layout {
            Layout::Panels => {
                let mut gathered = Vec::new();
                for (panel, out) in out.chunks_exact_mut(spec.cols * PANEL_ROWS).enumerate() {
                    let first = first_row + panel * PANEL_ROWS;
                    let count = (spec.rows - first).min(PANEL_ROWS);
                    let rows = match tensor.order {
                        RowOrder::Natural => {
                            &blocks[first * row_bytes..(first + count) * row_bytes]
                        }
                        order => {
                            gathered.clear();
                            for row in (first..first + count).map(|row| order.stored(row)) {
                                let bytes = row * row_bytes..(row + 1) * row_bytes;
                                gathered.extend_from_slice(&blocks[bytes]);
                            }
                            &gathered
                        }
                    };
                    fill_panel(kind, rows, row_bytes, out);
                }
            }
            Layout::Rows | Layout::Vector => {
                let count = out.len() / spec.cols;
                let rows = &blocks[first_row * row_bytes..(first_row + count) * row_bytes];
                kind.dequantize(rows, out);
            }
        }
    }

    fn confirm(&self) -> Result<(), String> {
        let mut files = self.files.iter().zip(self.identities);
        let unchanged = files.all(|(file, then)| file.identity().is_ok_and(|now| now == *then));
        if unchanged {
            return Ok(());
        }
        Err(format!(
            "model file {}: it changed while it was being converted",
            self.path.display()
        ))
    }
}

/// Converts up to 16 rows into the panel `out`, zeros for the rows that are missing.
fn fill_panel(kind: TensorType, rows: &[u8], row_bytes: usize, out: &mut [f32]) {
    let mut lanes = [[0.0f32; CHUNK]; PANEL_ROWS];
    for (chunk, out) in out.chunks_mut(CHUNK * PANEL_ROWS).enumerate() {
        let values = out.len() / PANEL_ROWS;
        let start = chunk * CHUNK / kind.block_values() * kind.block_bytes();
        let bytes = values / kind.block_values() * kind.block_bytes();
        for (row, lane) in rows.chunks_exact(row_bytes).zip(&mut lanes) {
            kind.dequantize(&row[start..start + bytes], &mut lane[..values]);
        }
        let (out, _) = out.as_chunks_mut::<PANEL_ROWS>();
        for (k, line) in out.iter_mut().enumerate() {
            for lane in 0..PANEL_ROWS {
                line[lane] = lanes[lane][k];
            }
        }
    }
}
