//! Tensors as they are stored in model files: in GGUF's names and orders, whatever the container.
//!
//! Invariant: knows where bytes are and what they mean, not which layout they will get.

use std::collections::HashMap;
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
    let names: Vec<&str> = tensors.iter().map(|tensor| tensor.name.as_str()).collect();
    let same = |a: usize, b: usize| {
        let [a, b] = [a, b].map(|at| &tensors[at]);
        a.plain_dimensions().len() == 2
            && (a.plain_dimensions(), a.kind) == (b.plain_dimensions(), b.kind)
    };
    let of_parts = |(name, parts): (&str, Vec<usize>)| {
        let first = &tensors[parts[0]];
        let mut dimensions = first.plain_dimensions().to_vec();
        if name != first.name {
            dimensions.push(parts.len());
        }
        let bytes = parts.iter().map(|&part| tensors[part].bytes.len() as u64);
        Stored {
            name: name.to_owned(),
            dimensions,
            kind: first.kind.name(),
            bytes: bytes.sum(),
        }
    };
    stacks(&names, same).into_iter().map(of_parts).collect()
}

/// Names of files' tensors with the numbers of what they were cut into. The matrices of a stack, `X_exps.weight.0` and
/// so on, are one where all of them are there and alike (`same`), and nothing else has the name of the whole; a
/// stack stands where its first matrix stands.
pub(super) fn stacks<'a>(
    names: &[&'a str],
    same: impl Fn(usize, usize) -> bool,
) -> Vec<(&'a str, Vec<usize>)> {
    let mut members: HashMap<&str, Vec<(usize, usize)>> = HashMap::new();
    for (number, name) in names.iter().enumerate() {
        if let Some((stack, index)) = slice_of(name) {
            members.entry(stack).or_default().push((index, number));
        }
    }
    for name in names {
        members.remove(name);
    }
    members.retain(|_, members| {
        members.sort_unstable();
        let first = members[0].1;
        let mut numbered = members.iter().enumerate();
        numbered.all(|(place, &(index, number))| index == place && same(first, number))
    });
    let mut all = vec![];
    for (number, &name) in names.iter().enumerate() {
        match slice_of(name).and_then(|(stack, _)| members.get_key_value(stack)) {
            None => all.push((name, vec![number])),
            Some((stack, members)) => {
                let first = members.iter().map(|&(_, number)| number).min();
                if first == Some(number) {
                    let parts = members.iter().map(|&(_, number)| number);
                    all.push((*stack, parts.collect()));
                }
            }
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
fn slice_of(name: &str) -> Option<(&str, usize)> {
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
    fn stacks_are_whole_or_not_joined() {
        let joined = |names: &[&str], same: bool| -> Vec<(String, Vec<usize>)> {
            let all = stacks(names, |a, b| a == b || same);
            let own = all.into_iter();
            own.map(|(name, parts)| (name.to_owned(), parts)).collect()
        };
        let one = |name: &str, part| (name.to_owned(), vec![part]);
        let places = [0, 10, 11, 1, 2, 3, 4, 5, 6, 7, 8, 9];
        let mut names: Vec<String> = places.map(|place| format!("a_exps.w.{place}")).to_vec();
        names.insert(0, "b.w.0".to_owned());
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let parts = vec![1, 4, 5, 6, 7, 8, 9, 10, 11, 12, 2, 3];
        assert_eq!(
            joined(&names, true),
            [one("b.w.0", 0), ("a_exps.w".to_owned(), parts)]
        );
        assert_eq!(joined(&names, false).len(), 13);
        // One is missing, or stands twice, or something else has the name.
        assert_eq!(joined(&names[..12], true).len(), 12);
        let apart = ["a_exps.w.0", "a_exps.w"];
        assert_eq!(joined(&apart, true), [one(apart[0], 0), one(apart[1], 1)]);
        let twice = ["a_exps.w.0", "a_exps.w.00"];
        assert_eq!(joined(&twice, true).len(), 2);
    }

    #[test]
    fn pairs_come_together_within_each_head() {
        let order = RowOrder::HalvesApart { head: 6 };
        let rows: Vec<usize> = (0..12).map(|row| order.stored(row)).collect();
        assert_eq!(rows, [0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11]);
        assert_eq!(RowOrder::Natural.stored(7), 7);
    }
}
