//! What is what in the spool directory, by its name: pure.

use std::collections::BTreeSet;
use std::ffi::OsStr;

/// Bytes of a file's name at most, on Linux.
const NAME_MAX: usize = 255;
const DROPPED: &str = ".jsonl";
const ACCEPTED: &str = ".accepted";
const OUTPUT: &str = ".output.jsonl";
const ERRORS: &str = ".errors.jsonl";
const DONE: &str = ".done";

pub(super) fn dropped_file(name: &str) -> String {
    format!("{name}{DROPPED}")
}

pub(super) fn accepted(name: &str) -> String {
    format!("{name}{ACCEPTED}")
}

pub(super) fn output(name: &str) -> String {
    format!("{name}{OUTPUT}")
}

pub(super) fn errors(name: &str) -> String {
    format!("{name}{ERRORS}")
}

pub(super) fn done(name: &str) -> String {
    format!("{name}{DONE}")
}

/// A name for the time before a file is whole. Hidden, so that it is never taken for one that was dropped.
pub(super) fn unfinished(file: &str) -> String {
    format!(".{file}.tmp")
}

/// The files that were dropped, without their ending. Hidden ones are still being written.
pub(super) fn dropped(listing: &BTreeSet<String>) -> impl Iterator<Item = &str> {
    let files = listing.iter().map(String::as_str);
    files
        .filter(|file| !file.starts_with('.') && of_result(file).is_none())
        .filter_map(|file| file.strip_suffix(DROPPED))
}

/// Files that are called as results are, and are those of no batch: beside results lies the file they are of, or the
/// marker that they are whole.
pub(super) fn strange_results(
    listing: &BTreeSet<String>,
    is_under_way: impl Fn(&str) -> bool,
) -> impl Iterator<Item = &str> {
    let files = listing.iter().map(String::as_str);
    files.filter(move |file| {
        let is_known = |name: &str| {
            listing.contains(&accepted(name)) || listing.contains(&done(name)) || is_under_way(name)
        };
        !file.starts_with('.') && of_result(file).is_some_and(|name| !is_known(name))
    })
}

fn of_result(file: &str) -> Option<&str> {
    file.strip_suffix(OUTPUT).or(file.strip_suffix(ERRORS))
}

/// Whether the name is one that a file was dropped with, if it were text.
pub(super) fn looks_dropped(name: &OsStr) -> bool {
    let bytes = name.as_encoded_bytes();
    !bytes.starts_with(b".") && bytes.ends_with(DROPPED.as_bytes())
}

/// Whether the results can have their names: `DROPPED` is shorter than what is added to those.
pub(super) fn fits(name: &str) -> bool {
    unfinished(&output(name)).len() <= NAME_MAX
}

/// What is left of an earlier batch of this name.
pub(super) fn in_the_way(name: &str, listing: &BTreeSet<String>) -> Option<String> {
    let all = [accepted(name), output(name), errors(name), done(name)];
    all.into_iter().find(|file| listing.contains(file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_files_that_are_no_results_are_dropped_ones() {
        let listing = [
            "a.jsonl",
            "b.output.jsonl",
            "b.errors.jsonl",
            "b.done",
            ".c.jsonl",
            "d.jsonl.tmp",
            "e.txt",
            "f.x.jsonl",
            ".jsonl",
        ];
        let listing = listing.map(str::to_owned).into();
        assert_eq!(dropped(&listing).collect::<Vec<_>>(), ["a", "f.x"]);
    }

    #[test]
    fn a_name_is_free_when_nothing_of_it_is_left() {
        let left = |files: &[&str]| {
            let listing = files.iter().map(|&file| file.to_owned()).collect();
            in_the_way("a", &listing)
        };
        assert_eq!(left(&["a.jsonl", "b.done", "aa.done"]), None);
        for file in ["a.accepted", "a.output.jsonl", "a.errors.jsonl", "a.done"] {
            assert_eq!(left(&["a.jsonl", file]).as_deref(), Some(file));
        }
    }

    #[test]
    fn results_lie_beside_the_file_they_are_of_or_their_marker() {
        let listing = [
            "a.accepted",
            "a.output.jsonl",
            "b.done",
            "b.errors.jsonl",
            "c.output.jsonl",
            "d.output.jsonl",
            "e.errors.jsonl",
            ".f.output.jsonl",
            "g.jsonl",
        ];
        let listing = listing.map(str::to_owned).into();
        let strange: Vec<_> = strange_results(&listing, |name| name == "c").collect();
        assert_eq!(strange, ["d.output.jsonl", "e.errors.jsonl"]);
    }

    #[test]
    fn the_longest_name_leaves_room_for_every_other() {
        let name = "n".repeat(237);
        let all = [dropped_file, accepted, output, errors, done].map(|of| of(&name));
        assert!(fits(&name) && all.iter().all(|file| unfinished(file).len() <= NAME_MAX));
        assert!(!fits(&format!("{name}n")));
    }
}
