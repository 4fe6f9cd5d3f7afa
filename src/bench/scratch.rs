//! A directory for a benchmark's files, and the one child process that writes there. Both are gone when the
//! benchmark ends, fails or is told to stop; only a process that is killed outright leaves its directory.

use std::fs::{self, DirBuilder};
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

/// `bench-<pid>` below the directory that was asked for.
pub(super) struct Scratch {
    path: PathBuf,
    child: ChildSlot,
}

type ChildSlot = Arc<Mutex<Option<Child>>>;

impl Scratch {
    /// Makes the directory, and sees to it that SIGINT, SIGTERM and SIGHUP remove it.
    pub(super) fn create(parent: &Path) -> Result<Scratch, Error> {
        let path = parent.join(format!("bench-{}", std::process::id()));
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&path)
            .map_err(Error::file("create the directory", &path))?;
        let scratch = Scratch {
            path,
            child: ChildSlot::default(),
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
