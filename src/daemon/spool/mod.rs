//! The spool directory: a file that is dropped there becomes a batch, and its results appear beside it.
//!
//! ```text
//! NAME.jsonl     dropped by rename, lines as in OpenAI's batch files
//! NAME.accepted  the same file, once its batch is in the queue
//! NAME.output.jsonl, NAME.errors.jsonl     the results, each by rename
//! NAME.done      last of all: what became of the batch, as JSON
//! ```
//!
//! - `looks`: what is done at each look at the directory; `names`: what is what there, pure; `place`: files, whatever
//!   they are called; `accept`: from a file to a batch, with the `endpoint` it is for; `deliver`: from a batch to
//!   files; `ending`: no copy holds up the end of the daemon.
//!
//! **A file becomes one batch, whatever dies when.** Its bytes are copied and synced, then the copy, the batch and the
//! identity of the file enter the store in one transaction, then the file is renamed, and only after that are results
//! delivered. A daemon that dies before the transaction has done nothing (the copy is swept away); one that dies after
//! it finds the identity known and its results not delivered, and only renames. Identity is the place on the disk, the
//! size, the time of the last change of the content and the hash of it: what a crash leaves alone, and another file
//! does not have. Only the descriptor that was read is trusted: a file that replaces it during the copy is what runs,
//! and one that replaces it later keeps its name until that is free.
//!
//! **A file that is dropped again becomes another batch.** Where the identity is known and its results are delivered,
//! no crash can have left the file here, because it was renamed before: somebody renamed it back, or gave it another
//! name, and wants it to run again. While its batch is under way, it is renamed under the same name, and waits under
//! another (a hard link), so that nothing vanishes without a marker. The time of the last change of the file itself
//! (ctime) would tell a renamed file from one that a crash left, too, but not on every file system, and a `chmod` or
//! a link made while no daemon runs would turn one file into two batches.
//!
//! **Results are delivered at least once.** The store notes the delivery when `NAME.done` has its name; a daemon that
//! dies in between finds the same bytes there, or writes them again.
//!
//! Invariant: nobody's file is replaced: a name is taken only while nothing of an earlier batch of that name is left or
//! to come, and every rename refuses to replace. Trouble with the directory is told and tried again later, and never
//! ends the daemon.

mod accept;
mod deliver;
mod ending;
mod endpoint;
mod looks;
mod names;
mod place;

use std::fs;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

use rustix::fs::Access;

use crate::config::Api;
use crate::queue::{Error, Queue};

use super::batches::longest_line;
use super::control::Control;
use super::failure::Failure;
use looks::{Looks, Watched};

/// The thread that looks.
pub(super) struct Spool {
    /// Dropped, it ends the thread.
    alive: SyncSender<()>,
    thread: JoinHandle<()>,
}

/// Why a file was not taken in, or a result not delivered.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("spool: {}: {action}: {problem}", place::shown(path))]
    File {
        path: PathBuf,
        action: &'static str,
        problem: io::Error,
    },
    #[error("spool: {}: {why}", place::shown(path))]
    NotTaken { path: PathBuf, why: String },
    #[error("spool: {}: {problem}", place::shown(path))]
    Queue { path: PathBuf, problem: Error },
}

fn file_trouble(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> Trouble {
    let path = path.to_owned();
    move |problem| Trouble::File {
        path,
        action,
        problem,
    }
}

fn not_taken(path: &Path, why: impl Into<String>) -> Trouble {
    let (path, why) = (path.to_owned(), why.into());
    Trouble::NotTaken { path, why }
}

fn queue_trouble(path: &Path) -> impl FnOnce(Error) -> Trouble {
    let path = path.to_owned();
    move |problem| Trouble::Queue { path, problem }
}

/// Whether the directory can be used.
pub(super) fn check(directory: &Path) -> Result<(), Failure> {
    let refused = |problem: String| {
        let directory = directory.display();
        Failure::configuration(format!("spool directory {directory}: {problem}"))
    };
    let metadata = fs::metadata(directory).map_err(|problem| refused(problem.to_string()))?;
    if !metadata.is_dir() {
        return Err(refused("is not a directory".to_owned()));
    }
    let all = Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK;
    let accessible = rustix::fs::access(directory, all);
    accessible.map_err(|problem| refused(format!("cannot be read and written: {problem}")))
}

impl Spool {
    pub(super) fn start(
        directory: &Path,
        limits: &Api,
        queue: Queue,
        control: SyncSender<Control>,
    ) -> Result<Self, Failure> {
        check(directory)?;
        let (alive, ended) = sync_channel(0);
        let mut looks = Looks::new(Watched {
            directory: directory.to_owned(),
            queue,
            max_file_bytes: limits.max_file_bytes,
            longest_line: longest_line(limits.max_body_bytes),
        });
        let builder = std::thread::Builder::new().name("woolly-spool".to_owned());
        let thread = builder.spawn(move || {
            if catch_unwind(AssertUnwindSafe(|| looks.run(&ended))).is_err() {
                let failure = Failure::io("the thread of the spool directory panicked".to_owned());
                let _ = control.try_send(Control::Failed(failure));
            }
        });
        let thread =
            thread.map_err(|error| Failure::io(format!("cannot start a thread: {error}")))?;
        Ok(Spool { alive, thread })
    }

    /// Waits for the end of the current look.
    pub(super) fn stop(self) {
        drop(self.alive);
        // It catches its own panics.
        let _ = self.thread.join();
    }
}
