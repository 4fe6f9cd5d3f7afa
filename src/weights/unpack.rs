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
use super::stored::stacks;
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
    let wholes = wholes(&specs);
    let header = match form {
        Form::Safetensors => safetensors_header(&wholes),
        Form::Gguf(metadata) => gguf_header(metadata, &wholes),
    };
    out.write_all(&header)?;
    let mut written = header.len() as u64;
    progress.begin(Work::Unpacking, specs.iter().map(plain_bytes).sum());
    for whole in &wholes {
        for &index in &whole.parts {
            if progress.is_stopped() {
                return Err(cache::Error::Stopped.into());
            }
            tensors.verify_tensor(index)?;
            let (_, values) = tensors.at(index);
            write_rows(&specs[index], values, out, progress)?;
        }
        let zeros = match form {
            Form::Safetensors => 0,
            Form::Gguf(_) => write::padding(whole.bytes),
        };
        out.write_all(&vec![0; zeros])?;
        written += whole.bytes + zeros as u64;
    }
    progress.finish();
    Ok(written)
}

/// A tensor of the new file.
struct Whole<'a> {
    name: &'a str,
    /// Numbers of the tensors it is made of: one, or the matrices of a stack.
    parts: Vec<usize>,
    /// Outermost first.
    shape: Vec<usize>,
    /// Without panel padding.
    bytes: u64,
}

/// The tensors as the model has them: the experts of a mixture are stored one by one, and are one tensor there.
fn wholes(specs: &[TensorSpec]) -> Vec<Whole<'_>> {
    let names: Vec<&str> = specs.iter().map(|spec| spec.name.as_str()).collect();
    let matrix = |spec: &TensorSpec| {
        let shape = (spec.rows, spec.cols);
        (spec.layout != Layout::Vector).then_some(shape)
    };
    let same = |a: usize, b: usize| {
        let shape = matrix(&specs[a]);
        shape.is_some() && shape == matrix(&specs[b])
    };
    let whole = |(name, parts): (_, Vec<usize>)| {
        let first = &specs[parts[0]];
        let mut shape = match first.layout {
            Layout::Vector => vec![first.cols],
            Layout::Panels | Layout::Rows => vec![first.rows, first.cols],
        };
        if name != first.name {
            shape.insert(0, parts.len());
        }
        Whole {
            name,
            bytes: parts.iter().map(|&part| plain_bytes(&specs[part])).sum(),
            parts,
            shape,
        }
    };
    stacks(&names, same).into_iter().map(whole).collect()
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

fn safetensors_header(wholes: &[Whole<'_>]) -> Vec<u8> {
    let mut end = 0;
    let infos = wholes.iter().map(|whole| {
        let start = end;
        end += whole.bytes as usize;
        let info = tensor::TensorInfo {
            dtype: Dtype::F32,
            shape: whole.shape.clone(),
            data_offsets: (start, end),
        };
        (whole.name.to_owned(), info)
    });
    // Names are unique and sizes do not overflow, because the tensors come out of a checked file.
    let metadata = tensor::Metadata::new(None, infos.collect()).expect("tensors without gaps");
    let mut json = serde_json::to_vec(&metadata).expect("names and integers are JSON");
    json.resize(json.len().next_multiple_of(SAFETENSORS_ALIGNMENT), b' ');
    [&(json.len() as u64).to_le_bytes(), json.as_slice()].concat()
}

fn gguf_header(metadata: &Metadata, wholes: &[Whole<'_>]) -> Vec<u8> {
    let infos = wholes.iter().map(|whole| {
        let dimensions = whole.shape.iter().rev().copied().collect();
        (whole.name, dimensions)
    });
    write::header(metadata, &infos.collect::<Vec<_>>())
}
