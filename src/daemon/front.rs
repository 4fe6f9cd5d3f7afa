//! What accepts work: the queue, and the API in front of it. It stands before the model is warm.

use std::sync::mpsc::SyncSender;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use crate::api::{self, Api, Bound, Lifecycle, ModelSlot, Phase, Rights};
use crate::config::Config;
use crate::queue::Queue;

use super::control::Control;
use super::failure::Failure;

/// Threads for sockets; the CPUs belong to the decode workers.
const API_THREADS: usize = 2;
/// Threads for tokenizing long prompts of requests that are just coming in.
const TOKENIZING_THREADS: usize = 2;
/// How long open answers get to be written after the end.
const LAST_WORDS: Duration = Duration::from_secs(2);

pub(super) struct Front {
    pub(super) queue: Queue,
    pub(super) slot: ModelSlot,
    lifecycle: Lifecycle,
    runtime: Runtime,
    server: JoinHandle<()>,
    socket: Bound,
}

impl Front {
    pub(super) fn start(config: &Config, control: SyncSender<Control>) -> Result<Self, Failure> {
        let own_uid = rustix::process::geteuid().as_raw();
        let queue = Queue::open(&config.daemon.state_dir, &config.queue)?;
        let (socket, name) = match api::inherited()? {
            Some(socket) => (socket, "of the service manager".to_owned()),
            None => {
                let path = &config.daemon.socket;
                (
                    api::bind(path, config.daemon.socket_mode)?,
                    path.display().to_string(),
                )
            }
        };
        let failed = |error| Failure::io(format!("cannot serve the socket: {error}"));
        let listener = socket.listener().map_err(failed)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(API_THREADS)
            .max_blocking_threads(TOKENIZING_THREADS)
            .thread_name("woolly-api")
            .enable_all()
            .build()
            .map_err(failed)?;

        let slot = ModelSlot::default();
        let lifecycle = Lifecycle::new();
        let api = Api {
            queue: queue.clone(),
            model: slot.clone(),
            rights: Rights::new(own_uid, config.daemon.admin_uids.clone()),
            lifecycle: lifecycle.clone(),
            max_body_bytes: config.api.max_body_bytes,
        };
        let control_of_store = control.clone();
        let server = runtime.spawn(async move {
            if let Err(error) = api::serve(listener, api).await {
                let _ = control.try_send(Control::Failed(failed(error)));
            }
        });
        watch_store(&runtime, &queue, control_of_store);
        tracing::info!(socket = name, "accepting jobs");
        Ok(Front {
            queue,
            slot,
            lifecycle,
            runtime,
            server,
            socket,
        })
    }

    /// New work is refused from here on.
    pub(super) fn drain(&self) {
        self.lifecycle.advance(Phase::Draining);
    }

    /// Sends away those who still wait, then closes the queue: its last commits must not be lost.
    pub(super) fn stop(self) {
        self.lifecycle.advance(Phase::Stopped);
        let answered = self
            .runtime
            .block_on(async { tokio::time::timeout(LAST_WORDS, self.server).await });
        if answered.is_err() {
            tracing::info!("some clients did not read their last answer in time");
        }
        self.runtime.shutdown_background();
        drop(self.socket);
        self.queue.close();
    }
}

/// A store that cannot go on ends the daemon: the next start recovers what is on disk.
fn watch_store(runtime: &Runtime, queue: &Queue, control: SyncSender<Control>) {
    let failed = queue.failed();
    runtime.spawn(async move {
        if let Ok(error) = failed.recv().await {
            let _ = control.try_send(Control::Failed(Failure::from(error)));
        }
    });
}
