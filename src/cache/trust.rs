//! Whether a file or directory could have been changed by someone else. Checksums tell of accidents; only
//! ownership keeps an attacker out.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;

/// Write permission for group and others.
const WRITABLE: u32 = 0o022;
const PERMISSIONS: u32 = 0o7777;
const ROOT: u32 = 0;

/// Why a file or directory of the cache is not used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Distrust {
    #[error("it is not a regular file")]
    NotRegular,
    #[error("it is a symbolic link")]
    Symlink,
    #[error(
        "it belongs to user {owner}, and this process to user {expected}, which uses only its own files and root's (to act as its owner: sudo -u '#{owner}')"
    )]
    Owner { owner: u32, expected: u32 },
    #[error("others can write to it: its mode is {mode:04o}")]
    Writable { mode: u32 },
    #[error("it has {links} names, expected one")]
    Links { links: u64 },
}

/// Checks a cache file for a process of user `user`.
pub(super) fn file(metadata: &Metadata, user: u32) -> Result<(), Distrust> {
    if !metadata.is_file() {
        return Err(Distrust::NotRegular);
    }
    owned(metadata.uid(), metadata.mode(), user)?;
    match metadata.nlink() {
        0 | 1 => Ok(()),
        links => Err(Distrust::Links { links }),
    }
}

/// Checks the directory of cache files for a process of user `user`.
pub(super) fn directory(metadata: &Metadata, user: u32) -> Result<(), Distrust> {
    owned(metadata.uid(), metadata.mode(), user)
}

fn owned(owner: u32, mode: u32, user: u32) -> Result<(), Distrust> {
    if owner != user && owner != ROOT {
        return Err(Distrust::Owner {
            owner,
            expected: user,
        });
    }
    if mode & WRITABLE != 0 {
        return Err(Distrust::Writable {
            mode: mode & PERMISSIONS,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_owner_and_root_may_own_and_only_the_owner_may_write() {
        assert_eq!(owned(1000, 0o100_400, 1000), Ok(()));
        assert_eq!(owned(0, 0o100_644, 1000), Ok(()));
        let foreign = Distrust::Owner {
            owner: 1001,
            expected: 1000,
        };
        assert_eq!(owned(1001, 0o100_400, 1000), Err(foreign));
        for (mode, shown) in [(0o100_620, 0o620), (0o40_702, 0o702), (0o41_777, 0o1777)] {
            let writable = Distrust::Writable { mode: shown };
            assert_eq!(owned(1000, mode, 1000), Err(writable));
        }
    }
}
