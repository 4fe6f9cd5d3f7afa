//! Room for a new cache file: what was left behind goes, and under a limit what was not used for longest.
//!
//! What goes is a pure function of a survey, and nothing goes when the file could not be made after all.

use std::path::Path;
use std::time::SystemTime;

use crate::tensor::Element;

use super::error::{free_bytes, total_bytes};
use super::format::Header;
use super::{Contents, Directory, Error, Item, Key, Kind, Limits, Reason, prunable};

/// The size of the file that `contents` will be; the source's hash does not change it.
pub(super) fn planned_bytes(contents: &dyn Contents, element: Element) -> Result<u64, Error> {
    let key = Key {
        element,
        source: "0".repeat(64),
        source_bytes: 0,
    };
    Ok(Header::plan(key, contents.specs())?.file_bytes)
}

impl Directory {
    /// Fails when the file system could not hold a file of so many bytes even if it were empty.
    pub(super) fn could_hold(&self, bytes: u64) -> Result<(), Error> {
        match total_bytes(self.path()) {
            Some(total) if total < bytes => Err(Error::NoSpace {
                path: self.path().to_path_buf(),
                bytes,
                available: free_bytes(self.path()).unwrap_or(0),
            }),
            _ => Ok(()),
        }
    }

    /// Removes what was never finished, what is set aside where the disk is too full otherwise, and with a
    /// limit what serves nobody and the least recently used files, until a file of so many bytes fits under
    /// it. Files that a process has mapped stay.
    pub(super) fn make_room(&self, bytes: u64) -> Result<(), Error> {
        let items = self.survey()?;
        let need = Need {
            bytes,
            limit: self.max_bytes(),
            free: free_bytes(self.path()),
        };
        for item in need.going(&items, self.path(), SystemTime::now())? {
            match self.remove(item) {
                // Somebody began to use it meanwhile, or it is a leftover that nobody counts.
                Ok(_) => {}
                Err(_) if !item.is_cache_file() => {}
                Err(error) => return Err(error),
            }
        }
        let left = items.iter().filter(|item| item.path.exists());
        need.under_limit(left, self.path())
    }
}

/// A file to be made.
#[derive(Debug, Clone, Copy)]
struct Need {
    bytes: u64,
    /// What all cache files may have together.
    limit: Option<u64>,
    /// Room on the disk, where that is known.
    free: Option<u64>,
}

impl Need {
    /// What has to go for it; fails where that would not be enough.
    fn going<'a>(
        &self,
        items: &'a [Item],
        path: &Path,
        now: SystemTime,
    ) -> Result<Vec<&'a Item>, Error> {
        // What is not ours to trust is not ours to remove; it counts all the same.
        let stays = |item: &Item| {
            item.in_use
                || matches!(&item.kind, Kind::Refused(error) if !matches!(error, Error::Refused { .. }))
        };
        self.under_limit(items.iter().filter(|item| stays(item)), path)?;
        let idle = items
            .iter()
            .filter(|item| stays(item) && !item.in_use && item.is_cache_file());
        let untouchable: u64 = idle.map(|item| item.bytes).sum();
        let limits = Limits {
            // The files of whoever is not trusted do not count in `prunable`, which would remove them.
            max_bytes: self
                .limit
                .map(|limit| limit.saturating_sub(self.bytes.saturating_add(untouchable))),
            ..Limits::default()
        };
        // Damage that was set aside must not keep the disk too full for its own repair.
        let crowded = self.free.is_some_and(|free| free < self.bytes);
        let goes = |item: &Item, reason| match reason {
            Reason::Unfinished => true,
            Reason::Quarantined => crowded || self.limit.is_some(),
            Reason::Refused | Reason::ModelGone | Reason::ModelReplaced | Reason::NoRoom => {
                self.limit.is_some() && !stays(item)
            }
            _ => false,
        };
        let chosen = prunable(items, limits, now).into_iter();
        let going: Vec<&Item> = chosen
            .filter(|(item, reason)| goes(item, *reason))
            .map(|(item, _)| item)
            .collect();
        let gained: u64 = going.iter().map(|item| item.bytes).sum();
        match self.free.map(|free| free.saturating_add(gained)) {
            Some(available) if available < self.bytes => Err(Error::NoSpace {
                path: path.to_path_buf(),
                bytes: self.bytes,
                available,
            }),
            _ => Ok(going),
        }
    }

    /// Fails when the file beside those that `stay` is over the limit.
    fn under_limit<'a>(
        &self,
        stay: impl Iterator<Item = &'a Item>,
        path: &Path,
    ) -> Result<(), Error> {
        let stay = stay.filter(|item| item.is_cache_file());
        let in_use: u64 = stay.map(|item| item.bytes).sum();
        match self.limit {
            Some(limit) if in_use.saturating_add(self.bytes) > limit => Err(Error::OverLimit {
                path: path.to_path_buf(),
                bytes: self.bytes,
                limit,
                in_use,
            }),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::survey::samples::{NOW, at, cache, item, record, refused};
    use crate::cache::{Distrust, SourceState};

    /// Names of what goes for a file of 10 bytes, the size of every other; or the sentence that refuses it.
    fn going(items: &[Item], limit: Option<u64>, free: u64) -> Result<Vec<&str>, String> {
        let need = Need {
            bytes: 10,
            limit,
            free: Some(free),
        };
        match need.going(items, Path::new("/c"), at(NOW)) {
            Ok(going) => Ok(going.into_iter().map(|item| item.name.as_str()).collect()),
            Err(error) => Err(error.to_string()),
        }
    }

    fn distrusted(name: &str) -> Item {
        let error = Error::Untrusted {
            path: name.into(),
            problem: Distrust::Symlink,
        };
        item(name, Kind::Refused(error))
    }

    #[test]
    fn without_a_limit_only_what_serves_nobody_goes_and_damage_when_the_disk_is_full() {
        let items = [
            item("a", Kind::Temporary),
            item("b.bad", Kind::Quarantined),
            refused("c"),
            cache("d"),
            record("e", "m", "d", SourceState::Gone),
        ];
        assert_eq!(going(&items, None, 10), Ok(vec!["a"]));
        assert_eq!(going(&items, None, 9), Ok(vec!["a", "b.bad"]));
        let nothing = &items[2..];
        assert_eq!(
            going(nothing, None, 9),
            Err("cache directory /c: the cache file needs 10 bytes and the file system has room for 9".into())
        );
    }

    #[test]
    fn under_a_limit_the_files_of_lost_models_go_first() {
        let mut items = vec![
            cache("a"),
            cache("b"),
            cache("c"),
            refused("d"),
            record("e", "m", "c", SourceState::Gone),
        ];
        items[0].used = at(NOW - 5);
        assert_eq!(going(&items, Some(30), 99), Ok(vec!["c", "d"]));
        assert_eq!(going(&items, Some(20), 99), Ok(vec!["a", "c", "d"]));
        // Nothing goes for a file that the disk could not take after all.
        assert!(going(&items, Some(20), 0).is_ok());
        items.iter_mut().for_each(|item| item.bytes = 1);
        assert!(going(&items, Some(11), 0).is_err());
    }

    #[test]
    fn what_stays_counts_before_anything_goes() {
        let mut items = vec![cache("a"), cache("b"), distrusted("c")];
        items[1].in_use = true;
        assert_eq!(going(&items, Some(40), 99), Ok(vec![]));
        assert_eq!(going(&items, Some(30), 99), Ok(vec!["a"]));
        let refusal = "cache directory /c: the cache file needs 10 bytes, and of the 29 that all files may \
                       have together, files in use have 20";
        assert_eq!(going(&items, Some(29), 99), Err(refusal.into()));
    }
}
