//! What is left of the daemon before, and whether a job is to blame for its end.
//!
//! One that died without a word, while the machine went on, may have died of a job. Any other end has a cause outside.
//! One of them is a file that went away under its map: the `cache` catches the fault and writes it into a marker in the
//! state directory. The next start sets the damaged cache file aside so that it is made again. A fault in a model's
//! own file is only told: it is not ours to move, and reading it again shows whether it is whole.

use std::fs::Metadata;
use std::path::{Path, PathBuf};

use crate::cache::fault::{self, Fault};
use crate::cache::{self, Directory};
use crate::queue::{Blame, StateDir};

use super::presence::Presence;

const MARKER: &str = "fault";

/// The marker of the daemon that holds `state_dir`.
pub(super) fn marker(state_dir: &StateDir) -> PathBuf {
    state_dir.path().join(MARKER)
}

/// What was left. Read it while holding the directory: its owner may be writing it.
pub(super) struct Aftermath {
    fault: Option<Fault>,
    died_silently: bool,
}

impl Aftermath {
    pub(super) fn read(state_dir: &StateDir) -> Self {
        let fault = fault::read(&marker(state_dir));
        if let Some(Fault { file, offset, .. }) = &fault {
            tracing::warn!(
                "the daemon before ended because {} could not be read at byte {offset}; no job is to blame",
                file.display()
            );
        }
        Aftermath {
            fault,
            died_silently: Presence::is_left_in(state_dir),
        }
    }

    pub(super) fn blame(&self) -> Blame {
        match self.fault {
            None if self.died_silently => Blame::RunningJobs,
            _ => Blame::Nobody,
        }
    }

    /// Sets the file aside if it is a cache file. When that fails, loading it will, and the marker is not
    /// needed for that.
    pub(super) fn clear_away(self, cache_dir: &Path) {
        let Some(fault) = self
            .fault
            .filter(|fault| is_cache_file(&fault.file, cache_dir))
        else {
            return;
        };
        match set_aside(&fault, cache_dir) {
            Ok(Some(aside)) => tracing::warn!("the cache file is now {}", aside.display()),
            Ok(None) => {}
            Err(error) => tracing::warn!("{error}"),
        }
    }
}

/// Another daemon with the same cache may have built the file again since.
fn set_aside(fault: &Fault, cache_dir: &Path) -> Result<Option<PathBuf>, cache::Error> {
    let failed = |metadata: &Metadata| metadata.modified().is_ok_and(|time| time <= fault.noted);
    Directory::open(cache_dir)?.quarantine(&fault.file, failed)
}

/// Whether it lies in the cache directory itself, by whatever path either is known.
fn is_cache_file(file: &Path, cache_dir: &Path) -> bool {
    let real = |path: Option<&Path>| path?.canonicalize().ok();
    cache::is_cache_file_name(file)
        && real(file.parent()).is_some_and(|parent| Some(parent) == real(Some(cache_dir)))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;

    fn after(file: &Path) -> Aftermath {
        noted(file, SystemTime::now() + Duration::from_secs(60))
    }

    fn noted(file: &Path, noted: SystemTime) -> Aftermath {
        let (file, offset) = (file.to_owned(), 4096);
        Aftermath {
            fault: Some(Fault {
                file,
                offset,
                noted,
            }),
            died_silently: true,
        }
    }

    #[test]
    fn a_cache_file_is_set_aside_and_nothing_else_is_touched() {
        let root = tempfile::tempdir().unwrap();
        let cache = root.path().join("cache");
        Directory::open(&cache).unwrap();
        let name = format!("{}-f32-panels16-v1.safetensors", "0".repeat(64));
        let inside = cache.join(&name);
        let shard = cache.join("model.safetensors");
        let model = root.path().join("model.safetensors");
        let lock = cache.join("a.lock");
        for path in [&inside, &shard, &model, &lock] {
            std::fs::write(path, "x").unwrap();
        }
        for path in [&shard, &model, &lock] {
            after(path).clear_away(&cache);
        }
        // Built again since.
        noted(&inside, SystemTime::UNIX_EPOCH).clear_away(&cache);
        assert!(inside.exists());
        after(&inside).clear_away(&cache);
        assert!(model.exists() && shard.exists() && lock.exists());
        assert!(!inside.exists() && cache.join(format!("{name}.bad")).exists());
    }

    #[test]
    fn jobs_are_to_blame_for_a_death_without_a_word() {
        let root = tempfile::tempdir().unwrap();
        let state = StateDir::hold(root.path()).unwrap();
        assert_eq!(Aftermath::read(&state).blame(), Blame::Nobody);
        Presence::begin(state.path());
        assert_eq!(Aftermath::read(&state).blame(), Blame::RunningJobs);
        assert_eq!(after(root.path()).blame(), Blame::Nobody);
    }
}
