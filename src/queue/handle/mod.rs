//! What the rest of the daemon holds: async for the API, blocking for dispatch.

mod batches;
mod outlook;
mod submits;
mod work;

pub use outlook::Outlook;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use async_channel::{Receiver, Sender};

use crate::config;
use crate::job::JobId;

use super::backup;
use super::directory::StateDir;
use super::files::Files;
use super::group::GROUP;
use super::reader::{self, Read};
use super::reserve::Reserve;
use super::shared::Shared;
use super::state::Blame;
use super::store::{Applied, Change, JobReader, JobStore};
use super::uploads::Uploads;
use super::writer::{Request, Writer, now_ms};
use super::{Error, Filter, Flow, FlowChange, JobRow, Limits, LiveLog, SqliteStore, Swept};

/// Reads waiting for the reading thread. Full: the caller waits.
const READS: usize = 64;

/// Jobs that one [`Queue::cancel_open`] looks at. One commit takes 25 ms (50 ms with 1,000, beside which 99 % of the
/// submits took 67 ms).
pub const CANCEL_CHUNK: usize = 500;

/// A handle to the queue. Cheap to clone. The last one to go closes the queue.
#[derive(Clone)]
pub struct Queue {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    /// One group's worth. Full: the caller waits; those that do not wait leave a note in `shared`.
    requests: Sender<Request>,
    reads: Sender<Read>,
    /// In the order in which they end.
    threads: Mutex<Vec<Thread>>,
    limits: Limits,
    state_dir: PathBuf,
    /// A view of its own: a copy of everything takes a while, and nobody else waits for it.
    copying: Mutex<Option<Box<dyn JobReader>>>,
    /// Ends a copy that is being made.
    closing: Arc<AtomicBool>,
    files: Files,
    uploads: Uploads,
}

/// How to tell a thread that nothing more comes, and its end.
type Thread = (fn(&Inner), JoinHandle<()>);

impl Queue {
    /// Opens or creates `<state_dir>/queue.db`, requeues the running jobs of a dead daemon, and starts
    /// the writer thread. One process per directory, by a held lock.
    pub fn open(state_dir: &Path, config: &config::Queue) -> Result<Self, Error> {
        Self::within(StateDir::hold(state_dir)?, config, Blame::RunningJobs)
    }

    /// The same in a directory that is held already, by one who knows why the dead daemon died.
    pub fn within(dir: StateDir, config: &config::Queue, blame: Blame) -> Result<Self, Error> {
        let state_dir = dir.path().to_owned();
        let reserve = Reserve::of(&state_dir);
        reserve.spend_if_full();
        let store = SqliteStore::within(dir)?;
        let queue = Self::over(Box::new(store), &state_dir, config, blame)?;
        reserve.fill()?;
        Ok(queue)
    }

    /// The same over any store; files lie in `state_dir`.
    pub fn over(
        store: Box<dyn JobStore>,
        state_dir: &Path,
        config: &config::Queue,
        blame: Blame,
    ) -> Result<Self, Error> {
        let shared = Arc::new(Shared::new());
        let mut reading = store.reader()?;
        let copying = Mutex::new(Some(store.reader()?));
        backup::sweep(state_dir);
        let files = Files::open(state_dir)?;
        files.sweep(&reading.stored_names()?.into_iter().collect());
        let mut writer = Writer::new(store, shared.clone(), files.clone(), config.retention_s);
        writer.recover(blame, config.poison_limit)?;
        let (requests, waiting) = async_channel::bounded(GROUP);
        let (reads, waiting_reads) = async_channel::bounded(READS);
        let of_reader = shared.clone();
        let reader = serve("woolly-queue-r", &shared, waiting_reads, move |reads| {
            reader::run(reading, reads, &of_reader);
        })?;
        let writer = serve("woolly-queue", &shared, waiting, move |requests| {
            writer.run(requests);
        })?;
        let (alarm, of_alarm) = (shared.clone(), requests.clone());
        let alarm = spawn("woolly-queue-t", &shared, move || {
            // Full: the writer is awake, and looks at the time with each group.
            let ring = || _ = of_alarm.try_send(Request::Nudge);
            alarm.alarm.run(now_ms, ring);
        })?;
        let threads: Vec<Thread> = vec![
            (|inner| inner.shared.alarm.close(), alarm),
            (|inner| _ = inner.reads.close(), reader),
            (|inner| _ = inner.requests.close(), writer),
        ];
        let limits = Limits {
            max_jobs: config.max_jobs,
            max_bytes: config.max_bytes,
            max_jobs_per_user: config.max_jobs_per_user,
            max_bytes_per_user: config.max_bytes_per_user,
        };
        let threads = Mutex::new(threads);
        Ok(Queue {
            inner: Arc::new(Inner {
                shared,
                requests,
                reads,
                threads,
                limits,
                state_dir: state_dir.to_owned(),
                copying,
                closing: Arc::default(),
                files,
                uploads: Uploads::default(),
            }),
        })
    }

    pub async fn get(&self, id: JobId) -> Result<JobRow, Error> {
        self.read(move |reader| reader.get(id)).await
    }

    pub async fn list(&self, filter: Filter) -> Result<Vec<JobRow>, Error> {
        self.read(move |reader| reader.list(&filter)).await
    }

    /// Queued: terminal at once. Running: terminal at once too, and its id is told to the listener of
    /// [`Queue::cancellations`]. Terminal: unchanged.
    pub async fn cancel(&self, id: JobId) -> Result<JobRow, Error> {
        match self.change(Change::Cancel(id)).await? {
            Applied::Cancelled(cancelled) => Ok(cancelled.job),
            other => Err(mismatch(&other)),
        }
    }

    /// [`Change::CancelOpen`] with a limit that lets submits flow beside it.
    pub async fn cancel_open(
        &self,
        before: Option<JobId>,
        uid: Option<u32>,
    ) -> Result<Swept, Error> {
        let limit = CANCEL_CHUNK;
        let change = Change::CancelOpen { before, uid, limit };
        match self.change(change).await? {
            Applied::Swept(swept) => Ok(swept),
            other => Err(mismatch(&other)),
        }
    }

    /// [`Queue::cancel`] for a connection that is gone; does not wait.
    pub fn cancel_detached(&self, id: JobId) {
        self.inner.shared.left().cancel.push(id);
        self.nudge();
    }

    /// Deletes an attached job whose result was delivered; does not wait.
    pub fn delivered(&self, id: JobId) {
        self.inner.shared.left().delivered.push(id);
        self.nudge();
    }

    /// The fault that ended the store, once: the daemon must exit 74. Never sent on an orderly close.
    pub fn failed(&self) -> Receiver<Error> {
        self.inner.shared.failed()
    }

    /// What ended the store, also on its way out.
    pub fn failure(&self) -> Option<Error> {
        self.inner.shared.failure()
    }

    pub fn live(&self) -> &LiveLog {
        &self.inner.shared.live
    }

    /// Commits what waits, checkpoints and closes the store, joins the writer. Later calls get
    /// [`Error::Closed`].
    pub fn close(&self) {
        self.inner.close();
    }

    /// The same for a thread that may wait.
    pub fn read_blocking<T: Send + 'static>(
        &self,
        read: impl FnOnce(&mut dyn JobReader) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let shared = &self.inner.shared;
        if let Some(error) = shared.failure() {
            return Err(error);
        }
        let (answer, receiver) = async_channel::bounded(1);
        let question = reader::question(read, answer);
        let sent = self.inner.reads.send_blocking(question);
        sent.map_err(|_| shared.gone())?;
        receiver
            .recv_blocking()
            .unwrap_or_else(|_| Err(shared.gone()))
    }

    /// Holds also for the next daemon. The flow as it is now.
    pub async fn set_flow(&self, change: FlowChange) -> Result<Flow, Error> {
        match self.change(Change::SetFlow(change)).await? {
            Applied::Flow(flow) => Ok(flow),
            other => Err(mismatch(&other)),
        }
    }

    async fn send(&self, request: Request) -> Result<(), Error> {
        self.inner
            .requests
            .send(request)
            .await
            .map_err(|_| self.inner.shared.gone())
    }

    /// Answers after the commit.
    async fn change(&self, change: Change) -> Result<Applied, Error> {
        let (answer, receiver) = async_channel::bounded(1);
        self.send(Request::Change(Box::new(change), answer)).await?;
        self.answer(receiver.recv().await)
    }

    fn change_blocking(&self, change: Change) -> Result<Applied, Error> {
        let (answer, receiver) = async_channel::bounded(1);
        self.inner
            .requests
            .send_blocking(Request::Change(Box::new(change), answer))
            .map_err(|_| self.inner.shared.gone())?;
        self.answer(receiver.recv_blocking())
    }

    /// Asks the store something, on the reading thread.
    pub async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&mut dyn JobReader) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let shared = &self.inner.shared;
        if let Some(error) = shared.failure() {
            return Err(error);
        }
        let (answer, receiver) = async_channel::bounded(1);
        self.inner
            .reads
            .send(reader::question(read, answer))
            .await
            .map_err(|_| shared.gone())?;
        receiver.recv().await.unwrap_or_else(|_| Err(shared.gone()))
    }

    fn answer(
        &self,
        received: Result<Result<Applied, Error>, async_channel::RecvError>,
    ) -> Result<Applied, Error> {
        received.unwrap_or_else(|_| Err(self.inner.shared.gone()))
    }

    /// Wakes the writer. Full: it is awake, and sees what was left for it in one of its next groups.
    fn nudge(&self) {
        let _ = self.inner.requests.try_send(Request::Nudge);
    }
}

impl Inner {
    fn close(&self) {
        // Held while joining, so that every caller returns after the end.
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        // Every connection goes before the writer's.
        self.closing.store(true, Ordering::Relaxed);
        let mut copying = self.copying.lock().unwrap_or_else(PoisonError::into_inner);
        *copying = None;
        // A closed channel still gives out what is in it. The reader ends first: the last connection to
        // go is the one that tidies up.
        for (close, thread) in threads.drain(..) {
            close(self);
            // The thread catches its own panics.
            let _ = thread.join();
        }
        self.shared.live.close_all();
        self.shared.batch_bell.close();
    }
}

/// A thread that takes requests. When it has panicked, nobody waits for an answer to one that it never took.
fn serve<T: Send + 'static>(
    name: &'static str,
    shared: &Arc<Shared>,
    requests: Receiver<T>,
    work: impl FnOnce(&Receiver<T>) + Send + 'static,
) -> Result<JoinHandle<()>, Error> {
    /// Senders live on, and would keep what is in the channel alive with them.
    struct Emptied<T>(Receiver<T>);
    impl<T> Drop for Emptied<T> {
        fn drop(&mut self) {
            self.0.close();
            while self.0.try_recv().is_ok() {}
        }
    }
    spawn(name, shared, move || {
        let requests = Emptied(requests);
        work(&requests.0);
    })
}

/// A thread whose panic counts as a fault of the store.
fn spawn(
    name: &'static str,
    shared: &Arc<Shared>,
    work: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle<()>, Error> {
    let shared = shared.clone();
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || {
            if catch_unwind(AssertUnwindSafe(work)).is_err() {
                shared.fail(fault(format!("thread {name} panicked")));
            }
        })
        .map_err(|error| fault(format!("cannot start thread {name}: {error}")))
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.close();
    }
}

/// The store answered another question than was asked.
fn mismatch(applied: &Applied) -> Error {
    fault(format!("unexpected answer {applied:?}"))
}

/// A fault in the queue's own code, not in a file.
fn fault(problem: String) -> Error {
    Error::Store {
        path: "of the queue".to_owned(),
        problem,
    }
}
