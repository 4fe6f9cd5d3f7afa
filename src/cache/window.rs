//! A cache file cut into windows, each written by one call.
//!
//! The page cache takes the bytes of a write in the largest page that the write fills. Windows of one large page
//! each, at multiples of its size, make the file's map one of large pages as soon as it is written, where the file
//! system can do that (ext4 and xfs of Linux 6.16 and later): 8 sequences at once run a tenth faster on them.

use std::ops::Range;

use super::checksums::Checksums;
use super::format::Header;
use super::strip::{Strip, strips};
use super::{Contents, format};

/// Bytes of a window: a large page of x86-64, and of ARM with pages of 4 KiB.
pub(super) const WINDOW: usize = 2 << 20;

/// Values of a strip: 64 KiB. A strip across the edge of two windows is computed for both, so it is short.
const STRIP_VALUES: usize = (64 << 10) / size_of::<f32>();

/// All windows of a file.
pub(super) struct Windows<'a> {
    header: &'a Header,
    /// In the order of the file.
    strips: Vec<Strip>,
}

/// What one thread works in.
#[derive(Default)]
pub(super) struct Buffers {
    /// The window, of a type whose alignment serves all.
    window: Vec<f32>,
    /// A strip across an edge.
    strip: Vec<f32>,
    /// Values before they were rounded.
    computed: Vec<f32>,
}

impl<'a> Windows<'a> {
    pub(super) fn of(header: &'a Header) -> Self {
        let specs = header.places.iter().map(|place| &place.spec);
        let strips = strips(specs, header.key.element, STRIP_VALUES);
        Windows { header, strips }
    }

    /// The bytes of a window in the file; `None` behind the last.
    pub(super) fn range(&self, index: usize) -> Option<Range<u64>> {
        let start = index as u64 * WINDOW as u64;
        let end = self.header.file_bytes.min(start + WINDOW as u64);
        (start < end).then_some(start..end)
    }

    /// The bytes of a strip in the file.
    fn place(&self, strip: &Strip) -> Range<u64> {
        let start = self.header.places[strip.tensor].offset + strip.start as u64;
        start..start + strip.bytes as u64
    }

    /// Computes the bytes `range` of the file, adds them to the checksums of their tensors, and returns them: zeros
    /// where no tensor is. `None` when bytes before them will never come.
    pub(super) fn make<'b>(
        &self,
        range: &Range<u64>,
        contents: &dyn Contents,
        checksums: &Checksums,
        buffers: &'b mut Buffers,
    ) -> Option<&'b [u8]> {
        let Buffers {
            window,
            strip: whole,
            computed,
        } = buffers;
        let window = bytes_of(window, (range.end - range.start) as usize);
        let first = self
            .strips
            .partition_point(|strip| self.place(strip).end <= range.start);
        let inside = || {
            let strips = self.strips[first..].iter().map(|strip| {
                let place = self.place(strip);
                let part = place.start.max(range.start)..place.end.min(range.end);
                (strip, place, part)
            });
            strips.take_while(|(_, place, _)| place.start < range.end)
        };
        let at = |part: &Range<u64>, origin: u64| {
            (part.start - origin) as usize..(part.end - origin) as usize
        };

        let mut filled = 0;
        for (strip, place, part) in inside() {
            let spec = &self.header.places[strip.tensor].spec;
            let target = at(&part, range.start);
            window[filled..target.start].fill(0);
            filled = target.end;
            let target = &mut window[target];
            if part == place {
                strip.make(contents, spec, computed, target);
            } else {
                let whole = bytes_of(whole, strip.bytes);
                strip.make(contents, spec, computed, whole);
                target.copy_from_slice(&whole[at(&part, place.start)]);
            }
        }
        window[filled..].fill(0);
        // Only now: who computes a window does not wait for the one before it.
        for (strip, _, part) in inside() {
            let tensor = self.header.places[strip.tensor].offset;
            let bytes = &window[at(&part, range.start)];
            if !checksums.add(strip.tensor, at(&part, tensor).start, bytes) {
                return None;
            }
        }
        Some(window)
    }
}

/// The first bytes of a buffer that grows as needed.
fn bytes_of(buffer: &mut Vec<f32>, len: usize) -> &mut [u8] {
    let words = len.div_ceil(size_of::<f32>());
    if buffer.len() < words {
        buffer.resize(words, 0.0);
    }
    &mut bytemuck::cast_slice_mut(buffer)[..len]
}

// A tensor's values are aligned in the window as they are in the file.
const _: () = assert!(WINDOW.is_multiple_of(format::TENSOR_ALIGNMENT as usize));

#[cfg(test)]
mod tests {
    use xxhash_rust::xxh3::xxh3_128;

    use super::*;
    use crate::cache::format::Key;
    use crate::cache::{Contents, Part};
    use crate::tensor::{Element, Layout, TensorSpec};

    /// Every value tells where it stands.
    struct Numbered(Vec<TensorSpec>);

    impl Contents for Numbered {
        fn specs(&self) -> Vec<TensorSpec> {
            self.0.clone()
        }

        fn fill(&self, spec: &TensorSpec, part: &Part, out: &mut [f32]) {
            let salt = spec.rows as f32;
            for (index, out) in out.iter_mut().enumerate() {
                let place = part.first_row * spec.cols + part.cols.start * 16 + index;
                *out = salt + place as f32;
            }
        }
    }

    fn spec(name: &str, layout: Layout, rows: usize, cols: usize) -> TensorSpec {
        TensorSpec {
            name: name.into(),
            layout,
            rows,
            cols,
        }
    }

    #[test]
    fn windows_together_are_the_file_whatever_the_edges_cut() {
        let contents = Numbered(vec![
            // Panels of 147,200 bytes, 33 of them: edges of windows cut two.
            spec("a", Layout::Panels, 520, 2300),
            // A panel so long that its columns are cut.
            spec("b", Layout::Panels, 16, 30_000),
            spec("c", Layout::Vector, 1, 7),
        ]);
        for element in Element::ALL {
            let key = Key {
                source: "0".repeat(64),
                source_bytes: 1,
                element,
            };
            let header = Header::plan(key, contents.specs()).unwrap();
            let windows = Windows::of(&header);
            let checksums = Checksums::new(3);
            let (mut file, mut buffers) = (vec![], Buffers::default());
            // What a thread left behind must not show.
            bytes_of(&mut buffers.window, WINDOW).fill(0xff);
            for index in 0.. {
                let Some(range) = windows.range(index) else {
                    break;
                };
                assert_eq!(range.start as usize, file.len());
                let made = windows.make(&range, &contents, &checksums, &mut buffers);
                file.extend_from_slice(made.unwrap());
            }
            assert_eq!(file.len() as u64, header.file_bytes);
            let found = checksums.finish();
            let mut end = 0;
            for (place, found) in header.places.iter().zip(found) {
                let (start, bytes) = (place.offset as usize, place.bytes as usize);
                assert!(
                    file[end..start].iter().all(|&byte| byte == 0),
                    "{}",
                    place.spec.name
                );
                end = start + bytes;
                let mut whole = vec![0; bytes];
                let all = strips([&place.spec], element, usize::MAX / 8);
                for strip in all {
                    let out = &mut whole[strip.start..][..strip.bytes];
                    strip.make(&contents, &place.spec, &mut vec![], out);
                }
                assert!(file[start..end] == whole, "{} {element:?}", place.spec.name);
                assert_eq!(found, xxh3_128(&whole));
            }
            assert!(file[end..].iter().all(|&byte| byte == 0));
        }
    }
}
