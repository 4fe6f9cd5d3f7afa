//! Tensors of a GGUF file as contents of a cache file: which layout each one gets, and the panels from
//! its blocks.

use std::collections::HashMap;
use std::path::Path;

use crate::cache::{Contents, Identity, MappedFile};
use crate::tensor::{Layout, PANEL_ROWS, TensorSpec};

use super::Error;
use super::gguf::{Header, TensorInfo};

/// Values of a row that are converted before they are transposed: the largest block of any type. 16
/// rows of them stay in the first-level cache.
const CHUNK: usize = 256;

/// A mapped GGUF file with its header read.
pub(super) struct Conversion<'a> {
    path: &'a Path,
    file: &'a MappedFile,
    /// The file when its header was read.
    identity: Identity,
    specs: Vec<TensorSpec>,
    infos: HashMap<&'a str, &'a TensorInfo>,
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
            match *info.dimensions.as_slice() {
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
        Ok(Conversion {
            path,
            file,
            identity,
            specs,
            infos,
        })
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
        match spec.layout {
            Layout::Panels => {
                for (panel, out) in out.chunks_exact_mut(spec.cols * PANEL_ROWS).enumerate() {
                    let first = first_row + panel * PANEL_ROWS;
                    let count = (spec.rows - first).min(PANEL_ROWS);
                    let rows = &blocks[first * row_bytes..(first + count) * row_bytes];
                    fill_panel(info, rows, row_bytes, out);
                }
            }
            Layout::Rows | Layout::Vector => {
                let count = out.len() / spec.cols;
                let rows = &blocks[first_row * row_bytes..(first_row + count) * row_bytes];
                info.kind.dequantize(rows, out);
            }
        }
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

/// Converts up to 16 rows into the panel `out`, zeros for the rows that are missing.
fn fill_panel(info: &TensorInfo, rows: &[u8], row_bytes: usize, out: &mut [f32]) {
    let kind = info.kind;
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
