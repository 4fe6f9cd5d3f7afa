//! A directory for a benchmark's files, and the one child process that writes there. Both are gone when the
//! benchmark ends, fails or is told to stop; what a process leaves that is killed outright, the next one removes.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::Error;

/// How often a running child is looked at.
const GLANCE: Duration = Duration::from_millis(2);

/// Beginning of the names of these directories. Each is locked as long as its process lives.
const PREFIX: &str = "bench-";

/// `bench-<pid>-<number>` below the directory that was asked for.
pub(super) struct Scratch {
    path: PathBuf,
    child: ChildSlot,
    _lock: File,
}

type ChildSlot = Arc<Mutex<Option<Child>>>;

impl Scratch {
    /// Makes the directory, and sees to it that SIGINT, SIGTERM and SIGHUP remove it.
    pub(super) fn create(parent: &Path) -> Result<Scratch, Error> {
        let (path, held) = fresh(parent)?;
        let scratch = Scratch {
            path,
            child: ChildSlot::default(),
            _lock: held,
        };
        let mut signals =
            Signals::new([SIGINT, SIGTERM, SIGHUP]).map_err(Error::system("listen for signals"))?;
        let (path, slot) = (scratch.path.clone(), scratch.child.clone());
        std::thread::Builder::new()
            .name("woolly-signals".into())
            .spawn(move || {
                if let Some(signal) = signals.forever().next() {
                    // Held to the end: no other child may start.
                    let mut child = lock(&slot);
                    end(child.take());
                    remove(&path);
                    // As shells count the end by a signal.
                    std::process::exit(128 + signal);
                }
            })
            .map_err(Error::system("start a thread"))?;
        Ok(scratch)
    }

    /// A name in the directory.
    pub(super) fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Frees the room of something in the directory.
    pub(super) fn remove(&self, name: &str) {
        remove(&self.join(name));
    }

    /// Runs `command` to its end and gives what it printed. `glance` is called with its process id while it
    /// runs. What it prints must fit a pipe: it is read when the command has ended.
    pub(super) fn run(
        &self,
        command: &mut Command,
        glance: &mut dyn FnMut(u32),
    ) -> Result<String, Error> {
        let failed = Error::system("run a process of its own");
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let pid = {
            let mut slot = lock(&self.child);
            slot.insert(command.spawn().map_err(&failed)?).id()
        };
        while !self.child_has_ended().map_err(&failed)? {
            glance(pid);
            std::thread::sleep(GLANCE);
        }
        // The child is taken only here and by a signal, which ends the process.
        let child = lock(&self.child).take();
        let Output {
            status,
            stdout,
            stderr,
        } = child
            .map_or_else(
                || Err(io::ErrorKind::NotFound.into()),
                Child::wait_with_output,
            )
            .map_err(&failed)?;
        if status.success() {
            Ok(String::from_utf8_lossy(&stdout).into_owned())
        } else {
            let said = String::from_utf8_lossy(&stderr).trim().to_owned();
            Err(Error::Conversion(said))
        }
    }

    fn child_has_ended(&self) -> io::Result<bool> {
        match &mut *lock(&self.child) {
            Some(child) => Ok(child.try_wait()?.is_some()),
            None => Ok(true),
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        end(lock(&self.child).take());
        remove(&self.path);
    }
}

/// A directory that was not there before, locked; leftovers beside it are gone.
fn fresh(parent: &Path) -> Result<(PathBuf, File), Error> {
    let mut private = DirBuilder::new();
    private.mode(0o700);
    let made = private.recursive(true).create(parent);
    made.map_err(Error::file("create the directory", parent))?;
    sweep(parent);
    private.recursive(false);
    let mut number = 0;
    loop {
        let path = parent.join(format!("{PREFIX}{}-{number}", std::process::id()));
        match private.create(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
            made => {
                let opened = made.and_then(|()| File::open(&path));
                let lock = opened.map_err(Error::file("create the directory", &path))?;
                // Where there are no locks, it is swept by nobody either.
                let _ = lock.try_lock();
                return Ok((path, lock));
            }
        }
    }
}

/// Removes what killed benchmarks left.
fn sweep(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let ours = name
            .to_str()
            .and_then(|name| name.strip_prefix(PREFIX))
            .is_some_and(|rest| {
                rest.split('-')
                    .all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()))
            });
        let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if ours
            && is_directory
            && let Ok(directory) = File::open(entry.path())
            && directory.try_lock().is_ok()
        {
            remove(&entry.path());
        }
    }
}

/// Nobody panics while the lock is held; were it otherwise, the child would still have to be ended.
fn lock(slot: &Mutex<Option<Child>>) -> MutexGuard<'_, Option<Child>> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

fn end(child: Option<Child>) {
    if let Some(mut child) = child {
        // It may have ended by itself, which is as good.
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// What cannot be removed is only untidy, and the benchmark has its result or a better error.
fn remove(path: &Path) {
    let _ = match path.is_dir() {
        true => fs::remove_dir_all(path),
        false => fs::remove_file(path),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_directory_goes_with_its_owner() {
        let root = tempfile::tempdir().unwrap();
        let scratch = Scratch::create(&root.path().join("deep")).unwrap();
        fs::write(scratch.join("file"), "x").unwrap();
        fs::create_dir(scratch.join("cache")).unwrap();
        fs::write(scratch.join("cache/file"), "x").unwrap();
        scratch.remove("cache");
        assert!(scratch.join("file").exists() && !scratch.join("cache").exists());
        drop(scratch);
        assert_eq!(fs::read_dir(root.path().join("deep")).unwrap().count(), 0);
    }

    #[test]
    fn what_a_killed_process_left_goes_and_what_is_in_use_stays() {
        let root = tempfile::tempdir().unwrap();
        for name in ["bench-1", "bench-1-0", "bench-press", "bench-2-0"] {
            fs::create_dir(root.path().join(name)).unwrap();
            fs::write(root.path().join(name).join("file"), "x").unwrap();
        }
        let held = File::open(root.path().join("bench-2-0")).unwrap();
        held.lock().unwrap();
        // Of this very process id, by chance.
        let (path, lock) = fresh(root.path()).unwrap();
        lock.unlock().unwrap();
        fs::write(path.join("old"), "x").unwrap();
        let scratch = Scratch::create(root.path()).unwrap();
        assert!(!scratch.join("old").exists());
        let mut names: Vec<_> = fs::read_dir(root.path())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| *path != scratch.path)
            .map(|path| path.file_name().unwrap().to_owned())
            .collect();
        names.sort();
        assert_eq!(names, ["bench-2-0", "bench-press"]);
    }

    #[test]
    fn a_child_is_watched_and_heard_and_its_failure_is_told() {
        let root = tempfile::tempdir().unwrap();
        let scratch = Scratch::create(root.path()).unwrap();
        let shell = |script: &str| {
            let mut command = Command::new("/bin/sh");
            command.args(["-c", script]);
            command
        };
        let mut seen = vec![];
        let said = scratch.run(&mut shell("echo $$"), &mut |pid| seen.push(pid));
        let pid: u32 = said.unwrap().trim().parse().unwrap();
        assert!(seen.iter().all(|&seen| seen == pid));
        let failed = scratch.run(&mut shell("echo no >&2; exit 3"), &mut |_| {});
        assert_eq!(failed.unwrap_err().to_string(), "the conversion failed: no");
    }
}
