//! What of a cache directory goes: what serves nobody, and what is too old or too much.
//!
//! The choice is a pure function of a survey; removing asks again whether the file is in use, because a
//! process may have mapped it meanwhile.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::lock::{Hold, try_hold};
use super::names::{Named, named};
use super::{Directory, Error, Item, Kind, SourceState, Summary};

/// How much may stay.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Cache files that were not used for longer than this go.
    pub older_than: Option<Duration>,
    /// Cache files together; the least recently used go first.
    pub max_bytes: Option<u64>,
    /// Nothing stays that is not in use.
    pub nothing: bool,
}

/// Why a file goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    #[error("it was set aside as damaged")]
    Quarantined,
    #[error("it would be refused")]
    Refused,
    #[error("it was never finished")]
    Unfinished,
    #[error("nobody holds this lock")]
    IdleLock,
    #[error("its record is of no use")]
    DeadRecord,
    #[error("the model it was made from is gone")]
    ModelGone,
    #[error("the model it was made from was replaced")]
    ModelReplaced,
    #[error("it was not used for long")]
    Old,
    #[error("the cache is too large")]
    NoRoom,
    #[error("everything goes")]
    Everything,
}

/// The items that go, in the order of `items`. None of them is in use.
pub fn prunable(items: &[Item], limits: Limits, now: SystemTime) -> Vec<(&Item, Reason)> {
    let mut going: Vec<(&Item, Reason)> = items
        .iter()
        .filter(|item| !item.in_use)
        .filter_map(|item| Some((item, reason(item, items, limits, now)?)))
        .collect();
    let gone: HashSet<&Path> = going.iter().map(|(item, _)| item.path.as_path()).collect();
    let mut staying: Vec<&Item> = items
        .iter()
        .filter(|item| item.is_cache_file() && !gone.contains(item.path.as_path()))
        .collect();
    staying.sort_by_key(|item| item.used);
    let mut total: u64 = staying.iter().map(|item| item.bytes).sum();
    for item in staying {
        if limits.max_bytes.is_none_or(|max| total <= max) {
            break;
        }
        if !item.in_use && matches!(item.kind, Kind::Cache(_)) {
            total -= item.bytes;
            going.push((item, Reason::NoRoom));
        }
    }
    going.sort_by(|(a, _), (b, _)| a.name.cmp(&b.name));
    going
}

/// Why an item goes whatever its size; `None` when it stays.
fn reason(item: &Item, items: &[Item], limits: Limits, now: SystemTime) -> Option<Reason> {
    let found = match &item.kind {
        Kind::Quarantined => Some(Reason::Quarantined),
        Kind::Temporary => Some(Reason::Unfinished),
        Kind::Lock => Some(Reason::IdleLock),
        // What cannot be opened may be in order.
        Kind::Refused(Error::File { .. }) => None,
        Kind::Refused(_) => Some(Reason::Refused),
        Kind::Record { blake3, state, .. } => match state {
            SourceState::Unchanged => None,
            SourceState::Changed | SourceState::Gone => Some(Reason::DeadRecord),
            SourceState::Unknown => {
                let serves = |other: &Item| matches!(&other.kind, Kind::Cache(summary) if summary.source == *blake3);
                (!items.iter().any(serves)).then_some(Reason::DeadRecord)
            }
        },
        Kind::Cache(summary) => lost_model(summary, items).or_else(|| {
            let age = now.duration_since(item.used).unwrap_or_default();
            limits
                .older_than
                .is_some_and(|limit| age > limit)
                .then_some(Reason::Old)
        }),
    };
    found.or(limits.nothing.then_some(Reason::Everything))
}

/// Whether every model that the file is known to have been made from is gone or has another content. A file
/// of which no record is left has no known model, and stays.
fn lost_model(summary: &Summary, items: &[Item]) -> Option<Reason> {
    let records = || {
        items.iter().filter_map(|item| match &item.kind {
            Kind::Record {
                source,
                blake3,
                state,
            } => Some((source, blake3, *state)),
            _ => None,
        })
    };
    let mut lost = None;
    for (source, _, state) in records().filter(|(_, blake3, _)| **blake3 == summary.source) {
        let replaced = source.is_some()
            && records()
                .any(|(other, _, state)| other == source && state == SourceState::Unchanged);
        lost = match state {
            SourceState::Gone => lost.or(Some(Reason::ModelGone)),
            SourceState::Changed if replaced => Some(Reason::ModelReplaced),
            _ => return None,
        };
    }
    lost
}

impl Directory {
    /// Removes what killed processes left: files that were never finished, and locks that nobody holds. What
    /// cannot be removed is only untidy.
    pub(super) fn sweep(&self) {
        for file in fs::read_dir(self.path()).into_iter().flatten().flatten() {
            let (path, name) = (file.path(), file.file_name());
            let found = name.to_str().and_then(named);
            if matches!(found, Some(Named::Lock | Named::Temporary))
                && let Ok(Hold::Ours(_held)) = try_hold(&path)
            {
                let _ = fs::remove_file(&path);
            }
        }
    }

    /// Removes a file unless a process uses it; whether it is gone. Fails where it cannot be told whether one
    /// does.
    pub fn remove(&self, item: &Item) -> Result<bool, Error> {
        let failed = |error| Error::writing(self.path(), "remove a file", 0, error);
        // Held until the name is gone, so that nobody begins to use the file in between.
        let _held = match try_hold(&item.path) {
            Ok(Hold::Theirs) => return Ok(false),
            Ok(hold) => hold,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
            Err(error) => return Err(failed(error)),
        };
        fs::remove_file(&item.path).map_err(failed)?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::survey::samples::{NOW, at, cache, item, record, refused};

    fn chosen(items: &[Item], limits: Limits) -> Vec<(&str, Reason)> {
        let chosen = prunable(items, limits, at(NOW));
        chosen
            .into_iter()
            .map(|(item, reason)| (item.name.as_str(), reason))
            .collect()
    }

    #[test]
    fn what_serves_nobody_goes_unless_it_is_in_use() {
        let unreadable = Error::File {
            path: "e".into(),
            action: "map it",
            source: io::ErrorKind::PermissionDenied.into(),
        };
        let mut items = vec![
            item("a.bad", Kind::Quarantined),
            item("b.lock", Kind::Lock),
            refused("c"),
            item("d", Kind::Temporary),
            item("e", Kind::Refused(unreadable)),
            cache("f"),
        ];
        let expected = [
            ("a.bad", Reason::Quarantined),
            ("b.lock", Reason::IdleLock),
            ("c", Reason::Refused),
            ("d", Reason::Unfinished),
        ];
        assert_eq!(chosen(&items, Limits::default()), expected);
        items.iter_mut().for_each(|item| item.in_use = true);
        let everything = Limits {
            older_than: Some(Duration::ZERO),
            max_bytes: Some(0),
            nothing: true,
        };
        assert_eq!(chosen(&items, everything), []);
    }

    #[test]
    fn a_file_goes_with_its_model() {
        use SourceState::{Changed, Gone, Unchanged, Unknown};
        let of = |records: &[(&str, &str, SourceState)]| {
            let mut items = vec![cache("x")];
            for (number, (path, blake3, state)) in records.iter().enumerate() {
                items.push(record(&format!("r{number}"), path, blake3, *state));
            }
            let chosen = chosen(&items, Limits::default());
            chosen
                .iter()
                .find(|(name, _)| *name == "x")
                .map(|(_, reason)| *reason)
        };
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[("m", "x", Unchanged)]), None);
        assert_eq!(of(&[("m", "x", Unknown)]), None);
        assert_eq!(of(&[("m", "x", Gone)]), Some(Reason::ModelGone));
        // Touched, edited in place or replaced by a file that nobody has read yet: the content is not known.
        assert_eq!(of(&[("m", "x", Changed)]), None);
        assert_eq!(
            of(&[("m", "x", Changed), ("m", "y", Unchanged)]),
            Some(Reason::ModelReplaced)
        );
        assert_eq!(of(&[("m", "x", Changed), ("n", "y", Unchanged)]), None);
        assert_eq!(of(&[("m", "x", Gone), ("n", "x", Unchanged)]), None);
    }

    #[test]
    fn a_record_goes_when_it_can_tell_nothing_any_more() {
        use SourceState::{Changed, Gone, Unchanged, Unknown};
        let items = [
            record("a", "m", "1", Changed),
            record("b", "m", "2", Gone),
            record("c", "m", "3", Unchanged),
            record("d", "", "4", Unknown),
            record("e", "", "x", Unknown),
            cache("x"),
        ];
        let expected = ["a", "b", "d"].map(|name| (name, Reason::DeadRecord));
        assert_eq!(chosen(&items, Limits::default()), expected);
    }

    #[test]
    fn the_least_recently_used_go_first_until_the_rest_fits() {
        let mut items: Vec<Item> = ["a", "b", "c", "d"].map(cache).into();
        for (item, age) in items.iter_mut().zip([20, 40, 30, 10]) {
            item.used = at(NOW - age);
        }
        let limit = |bytes| Limits {
            max_bytes: Some(bytes),
            ..Limits::default()
        };
        assert_eq!(chosen(&items, limit(40)), []);
        assert_eq!(chosen(&items, limit(39)), [("b", Reason::NoRoom)]);
        assert_eq!(
            chosen(&items, limit(20)),
            [("b", Reason::NoRoom), ("c", Reason::NoRoom)]
        );
        // A file in use counts and stays.
        items[1].in_use = true;
        assert_eq!(
            chosen(&items, limit(20)),
            [("a", Reason::NoRoom), ("c", Reason::NoRoom)]
        );
        // What goes for another reason needs no room.
        items[2] = refused("c");
        assert_eq!(chosen(&items, limit(30)), [("c", Reason::Refused)]);
    }

    #[test]
    fn files_that_were_not_used_for_long_go_on_request() {
        let mut items = vec![cache("a"), cache("b")];
        items[0].used = at(NOW - 100);
        items[1].used = at(NOW - 101);
        let limits = Limits {
            older_than: Some(Duration::from_secs(100)),
            ..Limits::default()
        };
        assert_eq!(chosen(&items, limits), [("b", Reason::Old)]);
        let limits = Limits {
            nothing: true,
            ..Limits::default()
        };
        assert_eq!(
            chosen(&items, limits),
            [("a", Reason::Everything), ("b", Reason::Everything)]
        );
    }

    #[test]
    fn only_what_killed_processes_left_is_swept() {
        let root = tempfile::tempdir().unwrap();
        let directory = Directory::open(root.path()).unwrap();
        let [dead, alive] = [0, 1].map(|number| format!("{number:032x}.lock"));
        let rest = ["Cargo.lock", "d"];
        let names = [".building-1-0", ".building-2-0", &dead, &alive];
        for name in names.iter().chain(&rest) {
            fs::write(root.path().join(name), "x").unwrap();
        }
        let held = [".building-2-0", &alive].map(|name| {
            let file = fs::File::open(root.path().join(name)).unwrap();
            file.lock_shared().unwrap();
            file
        });
        directory.sweep();
        let mut names: Vec<_> = fs::read_dir(root.path())
            .unwrap()
            .map(|file| file.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, [".building-2-0", &alive, rest[0], rest[1]]);
        drop(held);
    }

    #[test]
    fn a_file_that_came_into_use_meanwhile_is_not_removed() {
        let root = tempfile::tempdir().unwrap();
        let directory = Directory::open(root.path()).unwrap();
        let path = root.path().join(format!("{}.lock", "0".repeat(32)));
        fs::write(&path, "x").unwrap();
        let items = directory.survey().unwrap();
        let user = fs::File::open(&path).unwrap();
        user.lock_shared().unwrap();
        assert!(!directory.remove(&items[0]).unwrap());
        assert!(path.exists());
        drop(user);
        assert!(directory.remove(&items[0]).unwrap());
        assert!(!path.exists());
        assert!(directory.remove(&items[0]).unwrap(), "gone already");
    }
}
