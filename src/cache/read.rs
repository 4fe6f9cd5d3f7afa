//! Reading a header back, as if an enemy wrote the file. Stricter than the safetensors library, which
//! lets a repeated name win silently.
//!
//! Invariant: looks at the header only; no tensor's page is touched.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::ops::Range;

use safetensors::{Dtype, tensor::TensorInfo};

use crate::tensor::{Element, Layout, PANEL_ROWS, TensorSpec};

use super::Problem;
use super::format::{self, Header, Key, Pad, Place, header_checksum};
use super::members::Members;

/// The longest header that is read: a tensor takes 400 bytes of it, and a model has up to 65,536.
const MAX_HEADER: u64 = 64 << 20;

/// Reads and checks the header at the beginning of `file`, which is the whole file.
pub(super) fn header(file: &[u8]) -> Result<Header, Problem> {
    let bytes = header_bytes(file)?;
    let (_, text) = bytes
        .split_at_checked(format::LENGTH_BYTES)
        .ok_or(Problem::TooShort)?;
    let members = Members::parse(text)?;
    let metadata = Metadata(members.metadata);

    metadata.expect(format::KEY_FORMAT, &format::FORMAT_VERSION.to_string())?;
    let layout = metadata.get(format::KEY_LAYOUT)?;
    let element = Element::ALL
        .into_iter()
        .find(|element| format::layout_name(*element) == layout)
        .ok_or_else(|| {
            let [one, other] = Element::ALL.map(format::layout_name);
            wrong(format::KEY_LAYOUT, layout, &format!("{one} or {other}"))
        })?;
    let key = Key {
        element,
        source: metadata.get(format::KEY_SOURCE)?.to_owned(),
        source_bytes: metadata.number(format::KEY_SOURCE_BYTES)?,
    };
    let data_start = bytes.len() as u64;
    let mut header = Header {
        key,
        data_start,
        places: vec![],
        pads: vec![],
        file_bytes: data_start,
    };
    for (name, info) in members.tensors {
        append(&mut header, &metadata, name, info)?;
    }
    if header.file_bytes != file.len() as u64 {
        return Err(Problem::Length {
            found: file.len() as u64,
            expected: header.file_bytes,
        });
    }
    Ok(header)
}

/// How many tensors the cache file of these bytes has, or why it would be refused. For tests and fuzzing,
/// which have no file.
pub fn inspect(file: &[u8]) -> Result<usize, Problem> {
    header(file).map(|header| header.places.len())
}

/// The part of the file before the data, its checksum verified.
fn header_bytes(file: &[u8]) -> Result<&[u8], Problem> {
    let length = file.first_chunk().ok_or(Problem::TooShort)?;
    let length = u64::from_le_bytes(*length);
    let start = length.checked_add(format::LENGTH_BYTES as u64);
    let start = start
        .filter(|&start| length <= MAX_HEADER && start.is_multiple_of(format::DATA_ALIGNMENT))
        .ok_or(Problem::HeaderLength(length))?;
    let bytes = file
        .get(..start as usize)
        .ok_or(Problem::HeaderLength(length))?;

    let (_, json) = bytes
        .split_at_checked(format::LENGTH_BYTES)
        .ok_or(Problem::TooShort)?;
    let digits = json
        .strip_prefix(format::OPENING)
        .and_then(|rest| rest.get(..format::CHECKSUM_DIGITS))
        .ok_or(Problem::Foreign)?;
    if format!("{:032x}", header_checksum(bytes)).as_bytes() != digits {
        return Err(Problem::HeaderChecksum);
    }
    Ok(bytes)
}

/// Adds the next tensor of the header, which must begin where the file so far ends.
fn append(
    header: &mut Header,
    metadata: &Metadata,
    name: String,
    info: TensorInfo,
) -> Result<(), Problem> {
    let (start, end) = info.data_offsets;
    let shape_error = || Problem::Shape(name.clone());
    let range = range(header.data_start, start, end).ok_or_else(shape_error)?;
    let bytes = range.end.checked_sub(range.start).ok_or_else(shape_error)?;
    if range.start != header.file_bytes {
        return Err(Problem::NotContiguous(name));
    }
    header.file_bytes = range.end;

    if name.starts_with(format::PAD_PREFIX) {
        let size = 1..format::TENSOR_ALIGNMENT;
        if info.dtype != Dtype::U8 || info.shape != [bytes as usize] || !size.contains(&bytes) {
            return Err(Problem::Shape(name));
        }
        header.pads.push(Pad {
            offset: range.start,
            bytes,
        });
        return Ok(());
    }
    let element = header.key.element;
    let spec = spec(metadata, &name, &info, element)?;
    if info.dtype != format::dtype(spec.element(element))
        || format::stored_bytes(&spec, element) != Some(bytes)
    {
        return Err(Problem::Shape(name));
    }
    if !range.start.is_multiple_of(format::TENSOR_ALIGNMENT) {
        return Err(Problem::Misaligned(name));
    }
    let key = format!("{}{name}", format::CHECKSUM_PREFIX);
    let checksum = metadata.get(&key)?;
    let checksum = u128::from_str_radix(checksum, 16).map_err(|_| Problem::WrongValue {
        key,
        found: checksum.to_owned(),
        expected: "32 hex digits".to_owned(),
    })?;
    header.places.push(Place {
        spec,
        offset: range.start,
        bytes,
        checksum,
    });
    Ok(())
}

fn range(data_start: u64, start: usize, end: usize) -> Option<Range<u64>> {
    let at = |offset: usize| data_start.checked_add(offset as u64);
    Some(at(start)?..at(end)?)
}

/// Layout and logical size from the shape in the file and, for padded panels, from the metadata.
fn spec(
    metadata: &Metadata,
    name: &str,
    info: &TensorInfo,
    element: Element,
) -> Result<TensorSpec, Problem> {
    let shape_error = || Problem::Shape(name.to_owned());
    let spec = |layout, rows, cols| TensorSpec {
        name: name.to_owned(),
        layout,
        rows,
        cols,
    };
    match *info.shape.as_slice() {
        [cols] => Ok(spec(Layout::Vector, 1, cols)),
        [rows, cols] => Ok(spec(Layout::Rows, rows, cols)),
        ref shape => {
            let (panels, lines) = match (element, shape) {
                (Element::F32, &[panels, lines, PANEL_ROWS])
                | (Element::Bf16, &[panels, lines, PANEL_ROWS, 2]) => (panels, lines),
                _ => return Err(shape_error()),
            };
            let step = element.line_columns();
            let width = lines.checked_mul(step).ok_or_else(shape_error)?;
            let full = panels.checked_mul(PANEL_ROWS).ok_or_else(shape_error)?;
            let (rows, cols) = match metadata.find(&format!("{}{name}", format::SHAPE_PREFIX)) {
                None => (full, width),
                // Written only where one of them was padded.
                Some(text) => text
                    .split_once(',')
                    .and_then(|(rows, cols)| Some((rows.parse().ok()?, cols.parse().ok()?)))
                    .filter(|&(rows, cols): &(usize, usize)| {
                        rows.div_ceil(PANEL_ROWS) == panels
                            && cols.checked_next_multiple_of(step) == Some(width)
                            && (rows, cols) != (full, width)
                    })
                    .ok_or_else(shape_error)?,
            };
            Ok(spec(Layout::Panels, rows, cols))
        }
    }
}

/// The pairs of `__metadata__`, sorted by key.
struct Metadata(Vec<(String, String)>);

impl Metadata {
    fn find(&self, key: &str) -> Option<&str> {
        self.0
            .binary_search_by(|(name, _)| name.as_str().cmp(key))
            .ok()
            .and_then(|index| self.0.get(index))
            .map(|(_, value)| value.as_str())
    }

    fn get(&self, key: &str) -> Result<&str, Problem> {
        self.find(key)
            .ok_or_else(|| Problem::MissingKey(key.to_owned()))
    }

    fn number(&self, key: &str) -> Result<u64, Problem> {
        let text = self.get(key)?;
        text.parse().map_err(|_| wrong(key, text, "a number"))
    }

    fn expect(&self, key: &str, expected: &str) -> Result<(), Problem> {
        let found = self.get(key)?;
        if found == expected {
            Ok(())
        } else {
            Err(wrong(key, found, expected))
        }
    }
}

fn wrong(key: &str, found: &str, expected: &str) -> Problem {
    Problem::WrongValue {
        key: key.to_owned(),
        found: found.to_owned(),
        expected: expected.to_owned(),
    }
}

#[cfg(test)]
#[allow(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "the tests' own bytes"
)]
mod tests {
    use super::*;

    fn planned() -> Header {
        planned_as(Element::F32)
    }

    fn planned_as(element: Element) -> Header {
        let spec = |name: &str, layout, rows, cols| TensorSpec {
            name: name.into(),
            layout,
            rows,
            cols,
        };
        let specs = vec![
            spec("norm", Layout::Vector, 1, 7),
            spec("matrix", Layout::Panels, 37, 5),
            spec("bias", Layout::Vector, 1, 3),
        ];
        let key = Key {
            source: "ab".repeat(32),
            source_bytes: 99,
            element,
        };
        let mut header = Header::plan(key, specs).unwrap();
        header
            .places
            .iter_mut()
            .for_each(|place| place.checksum = u128::MAX / 3);
        header
    }

    fn file(header: &Header) -> Vec<u8> {
        let mut bytes = header.render();
        bytes.resize(header.file_bytes as usize, 0);
        bytes
    }

    /// The header with texts replaced by others of the same length, and sealed again.
    fn resealed(changes: &[(&str, &str)]) -> Result<Header, Problem> {
        resealed_of(&planned(), changes)
    }

    fn resealed_of(header: &Header, changes: &[(&str, &str)]) -> Result<Header, Problem> {
        let mut bytes = file(header);
        let text = bytes[8..header.data_start as usize].to_vec();
        let mut text = String::from_utf8(text).unwrap();
        for (from, to) in changes {
            assert!(
                text.contains(from) && from.len() == to.len(),
                "{from} in {text}"
            );
            text = text.replacen(from, to, 1);
        }
        bytes[8..header.data_start as usize].copy_from_slice(text.as_bytes());
        let checksum = format!(
            "{:032x}",
            header_checksum(&bytes[..header.data_start as usize])
        );
        let digits = format::LENGTH_BYTES + format::OPENING.len();
        bytes[digits..digits + format::CHECKSUM_DIGITS].copy_from_slice(checksum.as_bytes());
        super::header(&bytes)
    }

    #[test]
    fn a_header_comes_back_as_it_was_planned() {
        let header = planned();
        assert_eq!(super::header(&file(&header)), Ok(header));
        let narrow = planned_as(Element::Bf16);
        assert_eq!(super::header(&file(&narrow)), Ok(narrow.clone()));
        // 37 x 5 in pairs: 3 panels of 3 lines, half as many bytes as 3 panels of 6 lines in FP32.
        assert_eq!(narrow.places[0].bytes, 3 * 3 * 64);
    }

    #[test]
    fn a_narrow_matrix_is_not_taken_for_another() {
        for (from, to) in [
            ("37,5", "37,7"),
            ("37,5", "48,6"),
            ("37,5", "49,5"),
            ("[3,3,16,2]", "[3,3,32,1]"),
            ("\"BF16\"", "\"F16\" "),
        ] {
            let found = resealed_of(&planned_as(Element::Bf16), &[(from, to)]);
            let expected = Problem::Shape("matrix".into());
            assert_eq!(found, Err(expected), "{from} {to}");
        }
    }

    #[test]
    fn every_flipped_bit_of_the_header_is_found() {
        let header = planned();
        let mut bytes = file(&header);
        for position in 0..header.data_start as usize {
            for bit in 0..8 {
                bytes[position] ^= 1 << bit;
                assert!(super::header(&bytes).is_err(), "byte {position} bit {bit}");
                bytes[position] ^= 1 << bit;
            }
        }
    }

    #[test]
    fn every_truncation_is_an_error() {
        let bytes = file(&planned());
        for length in 0..bytes.len() {
            assert!(super::header(&bytes[..length]).is_err(), "{length}");
        }
    }

    #[test]
    fn what_a_sealed_header_says_is_checked_too() {
        let shape = || Err(Problem::Shape("matrix".into()));
        assert_eq!(resealed(&[("[3,5,16]", "[3,6,16]")]), shape());
        assert_eq!(resealed(&[("\"37,5\"", "\"32,5\"")]), shape());
        assert_eq!(resealed(&[("\"37,5\"", "\"48,5\"")]), shape());
        assert_eq!(resealed(&[("\"F32\"", "\"I32\"")]), shape());
        let gap = resealed(&[("[0,960]", "[4,964]")]);
        assert_eq!(gap, Err(Problem::NotContiguous("matrix".into())));
        let overlap = resealed(&[("[988,1024]", "[984,1024]")]);
        assert_eq!(overlap, Err(Problem::NotContiguous("__pad.0".into())));
        let moved = [
            ("[36]", "[32]"),
            ("[988,1024]", "[988,1020]"),
            ("[1024,1036]", "[1020,1032]"),
        ];
        assert_eq!(resealed(&moved), Err(Problem::Misaligned("bias".into())));
        let layout = resealed(&[("f32-panels16", "f32-panels32")]);
        let known = "f32-panels16 or bf16-panels16";
        let expected = wrong(format::KEY_LAYOUT, "f32-panels32", known);
        assert_eq!(layout, Err(expected));
    }

    #[test]
    fn repeated_names_are_refused() {
        let tensor = resealed(&[("\"bias\":{", "\"norm\":{")]);
        assert_eq!(tensor, Err(Problem::DuplicateName("norm".into())));
        let key = resealed(&[("\"xxh3.bias\"", "\"xxh3.norm\"")]);
        assert_eq!(key, Err(Problem::DuplicateName("xxh3.norm".into())));
        let checksum = resealed(&[("\"xxh3.bias\"", "\"xxh3.bibs\"")]);
        assert_eq!(checksum, Err(Problem::MissingKey("xxh3.bias".into())));
    }
}
