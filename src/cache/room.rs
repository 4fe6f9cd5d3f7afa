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

    /// Removes what was never finished, and with a limit what is set aside and the least recently used files,
    /// until a file of so many bytes fits under it. Files that a process has mapped stay.
    pub(super) fn make_room(&self, bytes: u64) -> Result<(), Error> {
        let items = self.survey()?;
        let limits = Limits {
            max_bytes: self.max_bytes().map(|limit| limit.saturating_sub(bytes)),
            ..Limits::default()
        };
        for (item, reason) in prunable(&items, limits, SystemTime::now()) {
            let goes = match reason {
                Reason::Unfinished => true,
                Reason::Quarantined | Reason::NoRoom => self.max_bytes().is_some(),
                _ => false,
            };
            if goes {
                self.remove(item)?;
            }
        }
        let Some(limit) = self.max_bytes() else {
            return Ok(());
        };
        let stays = |item: &&Item| matches!(item.kind, Kind::Cache(_)) && item.path.exists();
        let in_use: u64 = items.iter().filter(stays).map(|item| item.bytes).sum();
        if in_use.saturating_add(bytes) > limit {
            return Err(Error::OverLimit {
                path: self.path().to_path_buf(),
                bytes,
                limit,
                in_use,
            });
        }
        Ok(())
    }
}
