//! Whether a daemon has died without a word.
//!
//! While a daemon works, a file in its state directory names the boot of the machine. It goes as soon as it is decided
//! how the daemon ends, well or by a failure. To remove a file needs no room, and no sync: after the end
//! of a process its names stand as it left them, and after that of the machine another boot is named. Where a disk does
//! not even allow that, the jobs that ran are blamed as for a crash.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::cache::open_regular;
use crate::queue::StateDir;

const FILE: &str = "running";
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// The file of the daemon that holds the directory.
pub(super) struct Presence {
    path: PathBuf,
}

impl Presence {
    /// Whether the daemon before left it, since the machine was started.
    pub(super) fn is_left_in(state_dir: &StateDir) -> bool {
        let named = fs::read_to_string(state_dir.path().join(FILE));
        named.is_ok_and(|named| named == boot_id())
    }

    /// From here on a death counts. Where there is no room for the file none does, and jobs are served all the same.
    pub(super) fn begin(state_dir: &Path) -> Self {
        let path = state_dir.join(FILE);
        if let Err(error) = write(&path) {
            tracing::warn!(
                "cannot write {}: {error}; a crash will not be counted",
                path.display()
            );
        }
        Presence { path }
    }

    /// It is decided how the daemon ends.
    pub(super) fn end(&self) {
        // The second time it is gone.
        let _ = fs::remove_file(&self.path);
    }
}

fn write(path: &Path) -> io::Result<()> {
    let mut options = File::options();
    options.write(true).create(true).truncate(true).mode(0o600);
    open_regular(path, &mut options)?.write_all(boot_id().as_bytes())
}

/// Empty where the kernel does not tell it: then every death counts.
fn boot_id() -> String {
    fs::read_to_string(BOOT_ID).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_silent_end_in_this_boot_leaves_it() {
        let root = tempfile::tempdir().unwrap();
        let state_dir = StateDir::hold(root.path()).unwrap();
        let is_left = || Presence::is_left_in(&state_dir);
        assert!(!is_left());
        let presence = Presence::begin(state_dir.path());
        assert!(is_left());
        presence.end();
        presence.end();
        assert!(!is_left());
        fs::write(root.path().join(FILE), "another boot").unwrap();
        assert!(!is_left());
        Presence::begin(state_dir.path());
        assert!(is_left());
    }
}
