//! The server: what every request shares, and the accept loop.

use std::io;
use std::sync::Arc;

use tokio::net::UnixListener;

use crate::queue::Queue;

use super::access::{Peer, Rights};
use super::connections::Limited;
use super::lifecycle::{Lifecycle, Phase};
use super::model_slot::{ModelSlot, Served};
use super::refusal::Refusal;
use super::routes;

/// What the API is made of.
pub struct Api {
    pub queue: Queue,
    pub model: ModelSlot,
    pub rights: Rights,
    pub lifecycle: Lifecycle,
    /// Larger bodies are answered 413.
    pub max_body_bytes: usize,
    /// The same for uploaded files.
    pub max_file_bytes: u64,
}

/// [`Api`], shared by all requests.
pub(super) type Shared = Arc<Api>;

impl Api {
    /// The model, for requests that need it now.
    pub(super) fn served(&self) -> Result<Arc<Served>, Refusal> {
        self.model.get().ok_or_else(Refusal::warming)
    }

    /// Refuses new work once the daemon is draining.
    pub(super) fn takes_work(&self) -> Result<(), Refusal> {
        match self.lifecycle.phase() {
            Phase::Serving => Ok(()),
            Phase::Draining | Phase::Stopped => Err(Refusal::draining()),
        }
    }
}

/// Answers requests on `listener` (which does not block) until the lifecycle is stopped and every open request is answered.
///
/// There are places for as many connections as the files of the process allow; others wait in the backlog. Should it
/// run out of files all the same, accepting pauses for a second and goes on.
pub async fn serve(listener: std::os::unix::net::UnixListener, api: Api) -> io::Result<()> {
    let listener = Limited::new(UnixListener::from_std(listener)?);
    let lifecycle = api.lifecycle.clone();
    let service = routes::router(Arc::new(api)).into_make_service_with_connect_info::<Peer>();
    axum::serve(listener, service)
        .with_graceful_shutdown(async move { lifecycle.stopped().await })
        .await
}
