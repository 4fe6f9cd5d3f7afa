//! Memory of another process, told from the pages of its mapped source, which the system may drop and read
//! again at any time.

use std::fs;
use std::path::Path;

use serde::Serialize;

/// Resident bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(super) struct Resident {
    /// All but the mapped source.
    pub(super) above_source: u64,
    /// In no file: what the system cannot drop.
    pub(super) anonymous: u64,
}

impl Resident {
    /// Of the process; `None` when it is gone. `is_source` tells the files of the source.
    pub(super) fn of(pid: u32, is_source: impl Fn(&Path) -> bool) -> Option<Resident> {
        let maps = fs::read_to_string(format!("/proc/{pid}/smaps")).ok()?;
        Some(Resident::from_maps(&maps, is_source))
    }

    /// From the text of `smaps`: a line with the range and the path, then lines with sizes.
    fn from_maps(maps: &str, is_source: impl Fn(&Path) -> bool) -> Resident {
        let mut resident = Resident::default();
        let mut in_source = false;
        for line in maps.lines() {
            let mut words = line.split_ascii_whitespace();
            let first = words.next().unwrap_or_default();
            let size = words.next().and_then(|size| size.parse::<u64>().ok());
            match (first, size) {
                ("Rss:", Some(kib)) if !in_source => resident.above_source += kib * 1024,
                ("Anonymous:", Some(kib)) => resident.anonymous += kib * 1024,
                (range, _) if !range.ends_with(':') => {
                    in_source = path_of(line).is_some_and(|path| is_source(Path::new(path)));
                }
                _ => {}
            }
        }
        resident
    }

    /// The larger of each.
    pub(super) fn peak(self, other: Resident) -> Resident {
        Resident {
            above_source: self.above_source.max(other.above_source),
            anonymous: self.anonymous.max(other.anonymous),
        }
    }
}

/// The path is the sixth word and may contain spaces.
fn path_of(line: &str) -> Option<&str> {
    line.find('/').map(|start| &line[start..])
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAPS: &str = "\
55d0-55e0 r-xp 00001000 fe:00 1234                       /usr/bin/woolly
Size:                 64 kB
Rss:                  10 kB
Anonymous:             0 kB
VmFlags: rd ex mr mw me
7f00-7f10 r--s 00000000 fe:00 99                         /models/a model.gguf
Rss:                5000 kB
Anonymous:             0 kB
7f20-7f30 rw-p 00000000 00:00 0
Rss:                 300 kB
Anonymous:           300 kB
7ffc-7ffd rw-p 00000000 00:00 0                          [stack]
Rss:                   8 kB
Anonymous:             8 kB
";

    #[test]
    fn the_source_is_left_out() {
        let source = Path::new("/models/a model.gguf");
        let found = Resident::from_maps(MAPS, |path| path == source);
        let expected = Resident {
            above_source: 318 * 1024,
            anonymous: 308 * 1024,
        };
        assert_eq!(found, expected);
        let all = Resident::from_maps(MAPS, |_| false);
        assert_eq!(all.above_source, 5318 * 1024);
        assert_eq!(all.peak(found), all);
    }

    #[test]
    fn this_process_has_memory() {
        let own = Resident::of(std::process::id(), |_| false).unwrap();
        assert!(own.anonymous > 0 && own.above_source >= own.anonymous);
    }
}
