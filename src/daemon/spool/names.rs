//! What is what in the spool directory, by its name: pure.

use std::collections::BTreeSet;

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
    let is_result = |file: &str| file.ends_with(OUTPUT) || file.ends_with(ERRORS);
    let files = listing.iter().map(String::as_str);
    files
        .filter(move |file| !file.starts_with('.') && !is_result(file))
        .filter_map(|file| file.strip_suffix(DROPPED))
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
}
