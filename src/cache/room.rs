//! Room for a new cache file: what was left behind goes, and under a limit what was not used for longest.

use std::time::SystemTime;

use super::error::{free_bytes, total_bytes};
use super::format::Header;
use super::{Contents, Directory, Error, Item, Key, Kind, Limits, Reason, prunable};

/// The size of the file that `contents` will be; the source's hash does not change it.
pub(super) fn planned_bytes(contents: &dyn Contents) -> Result<u64, Error> {
    let key = Key {
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
    /// limit what is set aside and the least recently used files, until a file of so many bytes fits under
    /// it. Files that a process has mapped stay; nothing goes when it could never fit.
    pub(super) fn make_room(&self, bytes: u64) -> Result<(), Error> {
        let items = self.survey()?;
        let cached = |item: &&Item| matches!(item.kind, Kind::Cache(_) | Kind::Refused(_));
        // Before anything goes: what cannot fit in the end must not cost others their files.
        self.under_limit(
            bytes,
            items.iter().filter(|item| item.in_use).filter(cached),
        )?;
        // Damage that was set aside must not keep the disk too full for its own repair.
        let crowded = free_bytes(self.path()).is_some_and(|free| free < bytes);
        let limits = Limits {
            max_bytes: self.max_bytes().map(|limit| limit.saturating_sub(bytes)),
            ..Limits::default()
        };
        for (item, reason) in prunable(&items, limits, SystemTime::now()) {
            let goes = match reason {
                Reason::Unfinished => true,
                Reason::Quarantined => crowded || self.max_bytes().is_some(),
                // Files of an older format count too. What is not ours to trust is not ours to remove.
                Reason::Refused => {
                    self.max_bytes().is_some()
                        && matches!(item.kind, Kind::Refused(Error::Refused { .. }))
                }
                Reason::NoRoom => self.max_bytes().is_some(),
                _ => false,
            };
            if goes {
                self.remove(item)?;
            }
        }
        let left = items
            .iter()
            .filter(cached)
            .filter(|item| item.path.exists());
        self.under_limit(bytes, left)
    }

    /// Fails when a file of so many bytes beside those that `stay` is over the limit.
    fn under_limit<'a>(
        &self,
        bytes: u64,
        stay: impl Iterator<Item = &'a Item>,
    ) -> Result<(), Error> {
        let in_use: u64 = stay.map(|item| item.bytes).sum();
        match self.max_bytes() {
            Some(limit) if in_use.saturating_add(bytes) > limit => Err(Error::OverLimit {
                path: self.path().to_path_buf(),
                bytes,
                limit,
                in_use,
            }),
            _ => Ok(()),
        }
    }
}
