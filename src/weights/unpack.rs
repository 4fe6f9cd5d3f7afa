//! A cache file turned back into a file that other tools load: every matrix row by row, F32, under its own
//! name. Weights stored as BF16 become the F32 values that they are.
//!
//! The result is written front to back in pieces of one panel, so memory stays the same for any model. Each
//! tensor's checksum is compared before its values go out; a damaged cache file gives an error and no file,
//! because whoever gave the output drops it.

use std::io::{self, Write};

use safetensors::{Dtype, tensor};

use crate::cache::{self, MappedTensors};
use crate::compute::Panels;
use crate::tensor::{Layout, PANEL_ROWS, TensorSpec, Values};

use super::gguf::write;
use super::{Metadata, Progress, Work};

/// Safetensors files pad their header to this many bytes, so that the values are aligned.
const SAFETENSORS_ALIGNMENT: usize = 8;

/// The file to make.
#[derive(Clone, Copy)]
pub enum Form<'a> {
    /// `[rows, cols]` for matrices, `[n]` for vectors.
    Safetensors,
    /// With the metadata of the model that the cache file was made from.
    Gguf(&'a Metadata),
}

/// Why there is no file.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error(transparent)]
    Cache(#[from] cache::Error),
    #[error("cannot write it: {0}")]
    Write(#[from] io::Error),
}

/// Writes all of `tensors` to `out`; the number of bytes written.
pub fn unpack(
    tensors: &MappedTensors,
    form: Form,
    out: &mut dyn Write,
    progress: &dyn Progress,
) -> Result<u64, Failure> {
    let specs = tensors.specs();
    let header = match form {
        Form::Safetensors => safetensors_header(&specs),
        Form::Gguf(metadata) => gguf_header(metadata, &specs),
    };
    out.write_all(&header)?;
    let mut written = header.len() as u64;
    progress.begin(Work::Unpacking, specs.iter().map(plain_bytes).sum());
    for (index, spec) in specs.iter().enumerate() {
        if progress.is_stopped() {
            return Err(cache::Error::Stopped.into());
        }
        tensors.verify_tensor(index)?;
        let (_, values) = tensors.at(index);
        write_rows(spec, values, out, progress)?;
        let zeros = match form {
            Form::Safetensors => 0,
            Form::Gguf(_) => write::padding(plain_bytes(spec)),
        };
        out.write_all(&vec![0; zeros])?;
        written += plain_bytes(spec) + zeros as u64;
    }
    progress.finish();
    Ok(written)
}

/// Bytes of the tensor without panel padding.
fn plain_bytes(spec: &TensorSpec) -> u64 {
    (spec.rows * spec.cols * size_of::<f32>()) as u64
}

/// Rows in the order of the matrix, whatever the layout of `values`.
fn write_rows(
    spec: &TensorSpec,
    values: Values<'_>,
    out: &mut dyn Write,
    progress: &dyn Progress,
) -> io::Result<()> {
    let piece = spec.cols * PANEL_ROWS;
    let mut rows = vec![0.0; piece];
    let mut write = |rows: &[f32]| {
        let bytes: &[u8] = bytemuck::cast_slice(rows);
        progress.advance(bytes.len() as u64);
        out.write_all(bytes)
    };
    match spec.layout {
        Layout::Rows | Layout::Vector => {
            for start in (0..values.len()).step_by(piece) {
                let part = values.part(start, piece.min(values.len() - start));
                let rows = &mut rows[..part.len()];
                part.copy_to(rows);
                write(rows)?;
            }
        }
        Layout::Panels => {
            let panels = Panels::new(values, spec.rows, spec.cols);
            for first in (0..spec.rows).step_by(PANEL_ROWS) {
                let count = PANEL_ROWS.min(spec.rows - first);
                let rows = &mut rows[..count * spec.cols];
                for (row, out) in (first..).zip(rows.chunks_exact_mut(spec.cols)) {
                    panels.copy_row(row, 0, out);
                }
                write(rows)?;
            }
        }
    }
    Ok(())
}

fn safetensors_header(specs: &[TensorSpec]) -> Vec<u8> {
    let mut end = 0;
    let infos = specs.iter().map(|spec| {
        let start = end;
        end += plain_bytes(spec) as usize;
        let shape = match spec.layout {
            Layout::Vector => vec![spec.cols],
            Layout::Panels | Layout::Rows => vec![spec.rows, spec.cols],
        };
        let info = tensor::TensorInfo {
            dtype: Dtype::F32,
            shape,
            data_offsets: (start, end),
        };
        (spec.name.clone(), info)
    });
    // Names are unique and sizes do not overflow, because the tensors come out of a checked file.
    let metadata = tensor::Metadata::new(None, infos.collect()).expect("tensors without gaps");
    let mut json = serde_json::to_vec(&metadata).expect("names and integers are JSON");
    json.resize(json.len().next_multiple_of(SAFETENSORS_ALIGNMENT), b' ');
    [&(json.len() as u64).to_le_bytes(), json.as_slice()].concat()
}

fn gguf_header(metadata: &Metadata, specs: &[TensorSpec]) -> Vec<u8> {
    let infos = specs.iter().map(|spec| {
        let dimensions = match spec.layout {
            Layout::Vector => vec![spec.cols],
            Layout::Panels | Layout::Rows => vec![spec.cols, spec.rows],
        };
        (spec.name.as_str(), dimensions)
    });
    write::header(metadata, &infos.collect::<Vec<_>>())
}
