//! What accepts work: the queue, and the API in front of it. It stands before the model is warm.

use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use crate::api::{self, Api, Bound, Lifecycle, ModelSlot, Phase, Rights, SocketError};
use crate::cache::fault::Guard;
use crate::config::Config;
use crate::engine::Pool;
use crate::queue::{self, Queue, StateDir};

use super::aftermath::{self, Aftermath};
use super::batches;
use super::control::Control;
use super::failure::Failure;
use super::presence::Presence;
use super::spool::Spool;

/// Threads for sockets; the CPUs belong to the decode workers.
const API_THREADS: usize = 2;
/// Threads for what takes a moment: tokenizing long prompts of requests that are just coming in, reading and writing
/// files.
const WAITING_THREADS: usize = 4;
/// How long open answers get to be written after the end.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// How long a daemon that was killed may take to disappear: the kernel frees its memory first, and its
/// locks and its socket after that.
const PREDECESSOR: Duration = Duration::from_secs(2);
/// There is nothing to block on: a live daemon would hold its lock for ever.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

pub(super) struct Front {
    pub(super) queue: Queue,
    pub(super) slot: ModelSlot,
    lifecycle: Lifecycle,
    runtime: Runtime,
    server: JoinHandle<()>,
    socket: Bound,
    /// Ends with the queue.
    batches: std::thread::JoinHandle<()>,
    spool: Option<Spool>,
    /// While it lives, a file that goes away under its map leaves a marker.
    guard: Guard,
    presence: Presence,
}

impl Front {
    pub(super) fn start(config: &Config, control: SyncSender<Control>) -> Result<Self, Failure> {
        let own_uid = rustix::process::geteuid().as_raw();
        let state_dir = once_free(
            |error| matches!(error, queue::Error::InUse { .. }),
            || StateDir::hold(&config.daemon.state_dir),
        )?;
        // All three under the lock of the directory: the marker belongs to whoever holds it.
        let aftermath = Aftermath::read(&state_dir);
        let marker = aftermath::marker(&state_dir);
        let queue = Queue::within(state_dir, &config.queue, aftermath.blame())?;
        let presence = Presence::begin(&config.daemon.state_dir);
        aftermath.clear_away(&config.cache.dir);
        let guard = Guard::install(Some(&marker)).map_err(|error| {
            Failure::io(format!(
                "cannot prepare for faults in {}: {error}",
                marker.display()
            ))
        })?;
        let (socket, name) = match api::inherited()? {
            Some(socket) => (socket, "of the service manager".to_owned()),
            None => {
                let path = &config.daemon.socket;
                let socket = once_free(
                    |error| matches!(error, SocketError::InUse { .. }),
                    || api::bind(path, config.daemon.socket_mode),
                )?;
                (socket, path.display().to_string())
            }
        };
        let failed = |error| Failure::io(format!("cannot serve the socket: {error}"));
        let listener = socket.listener().map_err(failed)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(API_THREADS)
            .max_blocking_threads(WAITING_THREADS)
            .thread_name("woolly-api")
            .enable_all()
            .build()
            .map_err(failed)?;

        let longest_line = batches::longest_line(config.api.max_body_bytes);
        let batches = batches::start(queue.clone(), longest_line, control.clone());
        let batches =
            batches.map_err(|error| Failure::io(format!("cannot start a thread: {error}")))?;
        let spool = config.spool.dir.as_deref();
        let spool = spool.map(|dir| Spool::start(dir, &config.api, queue.clone(), control.clone()));
        let spool = spool.transpose()?;
        let slot = ModelSlot::default();
        let lifecycle = Lifecycle::new();
        let api = Api {
            queue: queue.clone(),
            model: slot.clone(),
            rights: Rights::new(own_uid, config.daemon.admin_uids.clone()),
            lifecycle: lifecycle.clone(),
            max_body_bytes: config.api.max_body_bytes,
            max_file_bytes: config.api.max_file_bytes,
        };
        let control_of_store = control.clone();
        let server = runtime.spawn(async move {
            if let Err(error) = api::serve(listener, api).await {
                let _ = control.try_send(Control::Failed(failed(error)));
            }
        });
        watch(&runtime, queue.failed(), control_of_store);
        tracing::info!(socket = name, "accepting jobs");
        Ok(Front {
            queue,
            slot,
            lifecycle,
            runtime,
            server,
            socket,
            batches,
            spool,
            guard,
            presence,
        })
    }

    /// The daemon ends with its engine. Without one nothing runs, and a new process may have the memory that this one
    /// had not.
    pub(super) fn watch_engine(&self, pool: &Pool, control: SyncSender<Control>) {
        watch(&self.runtime, pool.failed(), control);
    }

    /// For tests that ask the queue as a connection does.
    #[cfg(test)]
    pub(super) fn block_on<T>(&self, asked: impl Future<Output = T>) -> T {
        self.runtime.block_on(asked)
    }

    /// It is decided that the daemon ends, and no job is to blame. To be told at once: the way out may be long, and the
    /// service manager may lose its patience.
    pub(super) fn ends(&self) {
        self.presence.end();
    }

    /// New work is refused from here on.
    pub(super) fn drain(&self) {
        self.lifecycle.advance(Phase::Draining);
    }

    /// Sends away those who still wait, then closes the queue: its last commits must not be lost. A store that failed
    /// on the way out, when nobody listened any more, is the error.
    pub(super) fn stop(self) -> Result<(), Failure> {
        self.lifecycle.advance(Phase::Stopped);
        let answered = self
            .runtime
            .block_on(async { tokio::time::timeout(LAST_WORDS, self.server).await });
        if answered.is_err() {
            tracing::info!("some clients did not read their last answer in time");
        }
        self.runtime.shutdown_background();
        drop(self.socket);
        // Before the queue lets go of the state directory: the marker is its next holder's then.
        drop(self.guard);
        if let Some(spool) = self.spool {
            spool.stop();
        }
        self.queue.close();
        // It catches its own panics.
        let _ = self.batches.join();
        match self.queue.failure() {
            Some(error) => Err(error.into()),
            None => Ok(()),
        }
    }
}

/// Takes what a killed daemon may still hold for a moment. What is in use for longer belongs to a live one.
fn once_free<T, E>(in_use: impl Fn(&E) -> bool, take: impl Fn() -> Result<T, E>) -> Result<T, E> {
    let deadline = Instant::now() + PREDECESSOR;
    loop {
        match take() {
            Err(error) if in_use(&error) && Instant::now() < deadline => {
                std::thread::sleep(LOOK_AGAIN);
            }
            taken => return taken,
        }
    }
}

/// A part that cannot go on ends the daemon: the next start finds everything on disk.
fn watch<E>(runtime: &Runtime, failed: async_channel::Receiver<E>, control: SyncSender<Control>)
where
    E: Into<Failure> + Send + 'static,
{
    runtime.spawn(async move {
        if let Ok(error) = failed.recv().await {
            let _ = control.try_send(Control::Failed(error.into()));
        }
    });
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn what_a_dying_daemon_holds_is_waited_for_and_other_refusals_are_not() {
        let tries = Cell::new(0);
        let take = || {
            tries.set(tries.get() + 1);
            if tries.get() < 3 {
                Err("in use")
            } else {
                Ok(tries.get())
            }
        };
        assert_eq!(once_free(|error| *error == "in use", take), Ok(3));

        tries.set(0);
        assert_eq!(once_free(|_| false, take), Err("in use"));
        assert_eq!(tries.get(), 1);
    }
}
