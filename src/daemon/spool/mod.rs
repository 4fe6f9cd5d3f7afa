//! The spool directory: a file that is dropped there becomes a batch, and its results appear beside it.
//!
//! ```text
//! NAME.jsonl     dropped by rename, lines as in OpenAI's batch files
//! NAME.accepted  the same file, once its batch is in the queue
//! NAME.output.jsonl, NAME.errors.jsonl     the results, each by rename
//! NAME.done      last of all: what became of the batch, as JSON
//! ```
//!
//! - `names`: what is what in the directory, pure; `accept`: from a file to a batch; `deliver`: from a batch to files.
//!
//! **A file becomes one batch, whatever dies when.** Its bytes are copied and synced, then the copy, the batch and the
//! identity of the file enter the store in one transaction, then the file is renamed. A daemon that dies before the
//! transaction has done nothing (the copy is swept away); one that dies after it finds the identity known, and only
//! renames. Identity is the place on the disk, the size, the time of the last change and the hash of the content: what
//! a crash leaves alone, and another file does not have.
//!
//! **Results are delivered at least once.** The store notes the delivery when `NAME.done` has its name; a daemon that
//! dies in between writes the same bytes again.
//!
//! Invariant: nobody's file is replaced: a name is taken only while nothing of an earlier batch of that name is left.
//! Trouble with the directory is told and tried again later, and never ends the daemon.

mod accept;
mod deliver;
mod names;

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::fs::Access;

use crate::queue::{Error, Queue};

use super::control::Control;
use super::failure::Failure;

/// Between two looks at the directory: nothing that runs for hours is in a greater hurry.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// What was refused is tried again after this: a queue that is full does not empty in a second.
const TRY_AGAIN: Duration = Duration::from_secs(30);

/// The thread that looks.
pub(super) struct Spool {
    /// Dropped, it ends the thread.
    alive: SyncSender<()>,
    thread: JoinHandle<()>,
}

/// Why a file was not taken in, or a result not delivered.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("spool: {}: {action}: {problem}", path.display())]
    File {
        path: PathBuf,
        action: &'static str,
        problem: io::Error,
    },
    #[error("spool: {path}: {why}")]
    NotTaken { path: String, why: String },
    #[error("{0}")]
    Queue(#[from] Error),
}

fn file_trouble(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> Trouble {
    let path = path.to_owned();
    move |problem| Trouble::File {
        path,
        action,
        problem,
    }
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
        queue: Queue,
        control: SyncSender<Control>,
    ) -> Result<Self, Failure> {
        check(directory)?;
        let (alive, ended) = sync_channel(0);
        let mut looks = Looks {
            directory: directory.to_owned(),
            queue,
            later: HashMap::new(),
            told: BTreeSet::new(),
        };
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

/// One look after the other.
struct Looks {
    directory: PathBuf,
    queue: Queue,
    /// Names that were refused, when to try again, and why.
    later: HashMap<String, (Instant, String)>,
    /// What was wrong at the last look: told once.
    told: BTreeSet<String>,
}

impl Looks {
    fn run(&mut self, ended: &Receiver<()>) {
        loop {
            let mut troubles = BTreeSet::new();
            self.look(&mut troubles);
            for trouble in troubles.difference(&self.told) {
                tracing::warn!("{trouble}");
            }
            self.told = troubles;
            if let Err(RecvTimeoutError::Disconnected) = ended.recv_timeout(LOOK_EVERY) {
                return;
            }
        }
    }

    fn look(&mut self, troubles: &mut BTreeSet<String>) {
        let mut told = |trouble: Trouble| _ = troubles.insert(trouble.to_string());
        match deliver::undelivered(&self.queue) {
            Ok(spooled) => {
                for spooled in spooled {
                    if let Err(trouble) = deliver::deliver(&self.directory, &self.queue, &spooled) {
                        told(trouble);
                    }
                }
            }
            Err(trouble) => told(trouble),
        }
        let listing = match listing(&self.directory) {
            Ok(listing) => listing,
            Err(problem) => {
                told(file_trouble(&self.directory, "cannot be listed")(problem));
                return;
            }
        };
        let now = Instant::now();
        self.later.retain(|_, (until, _)| *until > now);
        for name in names::dropped(&listing) {
            if let Some(other) = names::in_the_way(name, &listing) {
                let why = format!("waits until {other} is moved away");
                let path = names::dropped_file(name);
                told(Trouble::NotTaken { path, why });
            } else if !self.later.contains_key(name)
                && let Err(trouble) = accept::accept(&self.directory, &self.queue, name)
            {
                let again = (now + TRY_AGAIN, trouble.to_string());
                self.later.insert(name.to_owned(), again);
            }
        }
        troubles.extend(self.later.values().map(|(_, why)| why.clone()));
    }
}

/// The names in the directory, those that are no UTF-8 left out.
fn listing(directory: &Path) -> io::Result<BTreeSet<String>> {
    let names = fs::read_dir(directory)?.map(|entry| Ok(entry?.file_name().into_string().ok()));
    names.filter_map(io::Result::transpose).collect()
}
