//! Tensors as they are stored in model files: in GGUF's names and orders, whatever the container.
//!
//! Invariant: knows where bytes are and what they mean, not which layout they will get.

use std::ops::Range;

use super::dequant::TensorType;

/// One tensor before its conversion.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct StoredTensor {
    pub(super) name: String,
    /// The first is the length of a row, the one that is summed over.
    pub(super) dimensions: Vec<usize>,
    pub(super) kind: TensorType,
    pub(super) bytes: Bytes,
    pub(super) order: RowOrder,
}

/// A tensor as it stands in a file: the experts of a mixture together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    pub name: String,
    /// The first is the length of a row.
    pub dimensions: Vec<usize>,
    /// The type as ggml names it.
    pub kind: &'static str,
    pub bytes: u64,
}

/// The tensors of the files, in their order.
pub(super) fn stored(tensors: &[StoredTensor]) -> Vec<Stored> {
    let mut all: Vec<Stored> = vec![];
    for tensor in tensors {
        let dimensions = tensor.plain_dimensions().to_vec();
        let stack = slice_of(&tensor.name).map(|(stack, _)| stack);
        match all.last_mut() {
            // The matrices of a stack follow each other.
            Some(last) if Some(last.name.as_str()) == stack => {
                last.bytes += tensor.bytes.len() as u64;
                last.dimensions[2] += 1;
            }
            _ => all.push(Stored {
                name: stack.unwrap_or(&tensor.name).to_owned(),
                dimensions: match stack {
                    Some(_) => [&dimensions[..], &[1]].concat(),
                    None => dimensions,
                },
                kind: tensor.kind.name(),
                bytes: tensor.bytes.len() as u64,
            }),
        }
    }
    all
}

/// What a file says of one tensor that matters to whoever computes with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape {
    pub name: String,
    /// The first is the length of a row; no 1 beyond the second.
    pub dimensions: Vec<usize>,
}

impl Shape {
    pub fn new(name: &str, dimensions: &[usize]) -> Self {
        Shape {
            name: name.to_owned(),
            dimensions: plain(dimensions).to_vec(),
        }
    }
}

/// The name of one matrix of a stack of `count`.
pub fn slice_name(name: &str, index: usize, count: usize) -> String {
    match count {
        1 => name.to_owned(),
        _ => format!("{name}.{index}"),
    }
}

/// The stack that a matrix of it names, and its place there: the inverse of [`slice_name`].
pub(super) fn slice_of(name: &str) -> Option<(&str, usize)> {
    let (stack, index) = name.rsplit_once('.')?;
    let index = index.parse().ok()?;
    stack.contains(STACK).then_some((stack, index))
}

/// What names of stacks of matrices, the experts of a mixture, have in GGUF files.
const STACK: &str = "_exps.";

impl StoredTensor {
    /// A stack of matrices as one tensor each; anything else as it is.
    pub(super) fn slices(self) -> Vec<StoredTensor> {
        let (&[cols, rows, count], Bytes::File { number, range }) =
            (self.plain_dimensions(), &self.bytes)
        else {
            return vec![self];
        };
        if !self.name.contains(STACK) {
            return vec![self];
        }
        let bytes = range.len() / count;
        let slice = |index: usize| StoredTensor {
            name: slice_name(&self.name, index, count),
            dimensions: vec![cols, rows],
            kind: self.kind,
            bytes: Bytes::File {
                number: *number,
                range: range.start + index * bytes..range.start + (index + 1) * bytes,
            },
            order: self.order,
        };
        (0..count).map(slice).collect()
    }

    pub(super) fn shape(&self) -> Shape {
        Shape::new(&self.name, &self.dimensions)
    }

    pub(super) fn plain_dimensions(&self) -> &[usize] {
        plain(&self.dimensions)
    }
}

/// The dimensions without those that are 1 and beyond the second.
fn plain(mut dimensions: &[usize]) -> &[usize] {
    while let [shorter @ .., 1] = dimensions
        && shorter.len() >= 2
    {
        dimensions = shorter;
    }
    dimensions
}

/// Where the bytes of a tensor are.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Bytes {
    /// Within one of the model's files.
    File { number: usize, range: Range<usize> },
    /// In no file: computed from the model's description.
    Made(Vec<u8>),
}

impl Bytes {
    fn len(&self) -> usize {
        match self {
            Bytes::File { range, .. } => range.len(),
            Bytes::Made(bytes) => bytes.len(),
        }
    }
}

/// Which stored row is which row of the matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RowOrder {
    Natural,
    /// Heads of this many rows hold the first halves of their rotated pairs, then the second halves.
    /// GGUF files of the llama architecture have the two of each pair side by side.
    HalvesApart {
        head: usize,
    },
}

impl RowOrder {
    /// The stored row that is row `row` of the matrix.
    pub(super) fn stored(self, row: usize) -> usize {
        match self {
            RowOrder::Natural => row,
            RowOrder::HalvesApart { head } => {
                let (start, within) = (row / head * head, row % head);
                start + within % 2 * (head / 2) + within / 2
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_come_together_within_each_head() {
        let order = RowOrder::HalvesApart { head: 6 };
        let rows: Vec<usize> = (0..12).map(|row| order.stored(row)).collect();
        assert_eq!(rows, [0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11]);
        assert_eq!(RowOrder::Natural.stored(7), 7);
    }
}
