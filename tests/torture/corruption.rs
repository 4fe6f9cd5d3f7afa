//! R7: a cache file that is not what was written. Every kind of damage is refused, by the header's reader or by
//! the checksums, and the file is built again with the bytes it had.

use std::fs::{self, File, OpenOptions, Permissions};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::PathBuf;

use woolly::cache::{Key, MappedTensors};
use xxhash_rust::xxh3::xxh3_128;

use super::warming::{Warming, names, warm};
use super::{Fault, Figure, Trial, pick, random, right};

const PAGE: usize = 4096;
/// Where the digits of the header's own checksum begin.
const DIGITS: usize = 8 + br#"{"__metadata__":{"woolly.header_xxh3":""#.len();
const DIGIT_COUNT: usize = 32;
/// After this many trials of one kind the real program has to build the file again.
const REBUILD_EVERY: usize = 500;

/// A cache file that is damaged and mended in place, trial after trial.
struct Victim {
    warming: Warming,
    dir: PathBuf,
    path: PathBuf,
    good: Vec<u8>,
    key: Key,
    /// Header and length.
    data_start: usize,
}

impl Victim {
    fn new() -> Self {
        let warming = Warming::new();
        let dir = warming.fresh();
        warm(&dir).ends_with(0);
        let name = names(&dir)
            .into_iter()
            .find(|name| name.ends_with(".safetensors"))
            .unwrap();
        let path = dir.join(name);
        let good = fs::read(&path).unwrap();
        let key = MappedTensors::open(&path, None).unwrap().key().clone();
        let length = u64::from_le_bytes(*good.first_chunk().unwrap()) as usize;
        Victim {
            warming,
            dir,
            path,
            good,
            key,
            data_start: 8 + length,
        }
    }

    fn file(&self) -> File {
        fs::set_permissions(&self.path, Permissions::from_mode(0o600)).unwrap();
        OpenOptions::new().write(true).open(&self.path).unwrap()
    }

    /// Puts `bytes` in the file's place.
    fn write(&self, bytes: &[u8]) {
        let file = self.file();
        file.write_all_at(bytes, 0).unwrap();
        file.set_len(bytes.len() as u64).unwrap();
    }

    /// The damaged file is refused.
    fn refused(&self, case: &str) -> Trial {
        let opened = MappedTensors::open(&self.path, Some(&self.key));
        match opened.and_then(|tensors| tensors.verify(&())) {
            Err(woolly::cache::Error::Refused { .. }) => Ok(()),
            Err(other) => Err(Fault::Unnoticed(format!("{case}: {other}"))),
            Ok(()) => Err(Fault::Wrong(format!("{case}: accepted"))),
        }
    }

    /// The program builds the file again.
    fn rebuilt(&self, case: &str) -> Trial {
        let said = warm(&self.dir);
        let built = said.code == Some(0) && said.out.contains("is written");
        right(built, || format!("{case}: {said:?}"))?;
        self.warming.is_whole(&self.dir, case)
    }

    /// One trial with other bytes in `range`; the file is whole again afterwards.
    fn patched(&self, at: usize, bytes: &[u8], case: &str, rebuild: bool) -> Trial {
        let file = self.file();
        file.write_all_at(bytes, at as u64).unwrap();
        let trial = self
            .refused(case)
            .and_then(|()| if rebuild { self.rebuilt(case) } else { Ok(()) });
        if !rebuild {
            file.write_all_at(&self.good[at..at + bytes.len()], at as u64)
                .unwrap();
        }
        trial
    }

    /// One trial with another file; it is whole again afterwards.
    fn replaced(&self, bytes: &[u8], case: &str) -> Trial {
        self.write(bytes);
        let trial = self.refused(case).and_then(|()| self.rebuilt(case));
        self.write(&self.good);
        trial
    }

    fn flip(&self, byte: usize, bit: usize, figure: &mut Figure, rebuild: bool) {
        let flipped = [self.good[byte] ^ (1 << bit)];
        let case = format!("bit {bit} of byte {byte}");
        figure.count(self.patched(byte, &flipped, &case, rebuild));
    }
}

#[test]
fn r7_every_bit_of_the_header_counts() {
    let victim = Victim::new();
    let mut figure = Figure::new("R7", "every bit of the cache file's header");
    let bits = victim.data_start * 8;
    let step = pick(61, 1, 1);
    for (trial, bit) in (0..bits).step_by(step).enumerate() {
        let rebuild = trial % REBUILD_EVERY == REBUILD_EVERY - 1;
        victim.flip(bit / 8, bit % 8, &mut figure, rebuild);
    }
    figure.finish(bits.div_ceil(step));
}

#[test]
fn r7_random_bits_of_the_values_count() {
    let victim = Victim::new();
    let mut figure = Figure::new("R7", "random bits of the values");
    let seed = 7;
    let mut random = random(seed);
    let trials = pick(300, 10_000, 100_000);
    for trial in 0..trials {
        let values = victim.good.len() - victim.data_start;
        let byte = victim.data_start + random(values as u64) as usize;
        let rebuild = trial % REBUILD_EVERY == REBUILD_EVERY - 1;
        victim.flip(byte, random(8) as usize, &mut figure, rebuild);
    }
    figure.finish(trials);
}

#[test]
fn r7_pages_that_are_zeroed_or_swapped_count() {
    let victim = Victim::new();
    let mut figure = Figure::new("R7", "zeroed and swapped pages");
    let step = pick(23, 1, 1);
    let pages = victim.good.len() / PAGE;
    for page in (0..pages - 1).step_by(step) {
        let at = page * PAGE;
        let zeroed = format!("page {page} zeroed");
        figure.count(victim.patched(at, &[0; PAGE], &zeroed, false));
        let (first, second) = victim.good[at..at + 2 * PAGE].split_at(PAGE);
        let swapped = format!("pages {page} and {} swapped", page + 1);
        figure.count(victim.patched(at, &[second, first].concat(), &swapped, false));
    }
    figure.finish(2 * (pages - 1).div_ceil(step));
}

#[test]
fn r7_every_other_length_counts() {
    let victim = Victim::new();
    let mut figure = Figure::new("R7", "truncated and extended files");
    let size = victim.good.len();
    let mut lengths: Vec<usize> = (0..size).step_by(pick(23, 1, 1) * PAGE).collect();
    lengths.extend([
        1,
        7,
        8,
        9,
        PAGE - 1,
        PAGE + 1,
        victim.data_start - 1,
        victim.data_start + 1,
    ]);
    lengths.extend([size - 1, size + 1, size + 64, size + PAGE, 2 * size]);
    let least = lengths.len();
    for length in lengths {
        victim.file().set_len(length as u64).unwrap();
        let case = format!("{length} of {size} bytes");
        // An empty file cannot be mapped at all, which is another sentence.
        figure.count(if length == 0 {
            victim.rebuilt(&case)
        } else {
            victim.refused(&case)
        });
        victim.write(&victim.good);
    }
    figure.finish(least);
}

#[test]
fn r7_files_of_other_kinds_are_not_taken_for_it() {
    let victim = Victim::new();
    let mut figure = Figure::new("R7", "old version, wrong source, foreign endian, resealed");
    let resealed = |from: &str, to: &str| victim.reseal(from, to);
    let source = victim.key.source.clone();
    let cases = [
        (
            "an older version",
            resealed("\"woolly.format\":\"", "\"woolly.format\":\"0"),
        ),
        ("another layout", resealed("f32-panels16", "f32-panels32")),
        (
            "another source",
            resealed(&source, &source.chars().rev().collect::<String>()),
        ),
        (
            "another size of the source",
            resealed("\"woolly.source_bytes\":\"", "\"woolly.source_bytes\":\"1"),
        ),
        (
            "the length of the other byte order",
            victim.with(0, &swap(&victim.good[..8])),
        ),
        ("values of the other byte order", {
            let (header, values) = victim.good.split_at(victim.data_start);
            let swapped: Vec<u8> = values.chunks(4).flat_map(swap).collect();
            [header, &swapped].concat()
        }),
        (
            "a model",
            include_bytes!("../fixtures/llama-gqa.gguf").to_vec(),
        ),
        ("text", b"no tensors at all".repeat(1_000)),
    ];
    let least = cases.len();
    for (case, bytes) in cases {
        assert_ne!(bytes, victim.good, "{case}");
        figure.count(victim.replaced(&bytes, case));
    }
    figure.finish(least);
}

/// The bytes from the last to the first.
fn swap(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().rev().copied().collect()
}

impl Victim {
    fn with(&self, at: usize, bytes: &[u8]) -> Vec<u8> {
        let mut changed = self.good.clone();
        changed[at..at + bytes.len()].copy_from_slice(bytes);
        changed
    }

    /// The file with `from` in its header replaced, and the header's checksum made right again: what is left
    /// to find it out by is what the header says. Longer texts take their room from the padding.
    fn reseal(&self, from: &str, to: &str) -> Vec<u8> {
        let header = String::from_utf8(self.good[8..self.data_start].to_vec()).unwrap();
        assert!(header.contains(from), "{from}");
        let mut text = header.replacen(from, to, 1);
        text.truncate(header.len());
        let mut bytes = self.with(8, text.as_bytes());
        let digits = DIGITS..DIGITS + DIGIT_COUNT;
        bytes[digits.clone()].fill(b'0');
        let checksum = format!("{:032x}", xxh3_128(&bytes[..self.data_start]));
        bytes[digits].copy_from_slice(checksum.as_bytes());
        bytes
    }
}
