//! Answers that are streams of server-sent events.
//!
//! Format: <https://html.spec.whatwg.org/multipage/server-sent-events.html>; each event is one `data:`
//! line, the last one is `[DONE]`, as OpenAI's clients expect it.

use std::convert::Infallible;
use std::future::Future;
use std::time::Duration;

use async_channel::{Receiver, Sender};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};

/// The last event of a stream that was not cut off.
const DONE: &str = "[DONE]";

/// A comment after this long without an event shows proxies and clients that the stream is alive, and
/// shows the daemon that the client is gone.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Events that wait for a slow client. When it is full the stream's task waits, and events pile up in the
/// live log, which has them anyway; decoding never waits for a client.
const WAITING_EVENTS: usize = 32;

/// The client is gone.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Gone;

/// Where a stream's events are written.
pub(super) struct EventWriter {
    events: Sender<Result<Event, Infallible>>,
}

impl EventWriter {
    pub(super) async fn data(&self, data: &str) -> Result<(), Gone> {
        self.events
            .send(Ok(Event::default().data(data)))
            .await
            .map_err(|_| Gone)
    }

    /// An event with an id, which a client that comes back names as the last one it has.
    pub(super) async fn data_with_id(&self, data: &str, id: &str) -> Result<(), Gone> {
        self.events
            .send(Ok(Event::default().id(id).data(data)))
            .await
            .map_err(|_| Gone)
    }

    /// An event that is no data.
    pub(super) async fn named(&self, name: &str, data: &str) -> Result<(), Gone> {
        self.events
            .send(Ok(Event::default().event(name).data(data)))
            .await
            .map_err(|_| Gone)
    }

    pub(super) async fn done(&self) -> Result<(), Gone> {
        self.data(DONE).await
    }

    /// Returns once the client is gone.
    pub(super) async fn gone(&self) {
        self.events.closed().await;
    }
}

/// An answer whose events are written by `write`, in a task of its own. The task must end when
/// [`EventWriter::gone`] returns or when it is told [`Gone`].
pub(super) fn response<F>(write: impl FnOnce(EventWriter) -> F) -> Response
where
    F: Future<Output = Result<(), Gone>> + Send + 'static,
{
    let (events, waiting): (_, Receiver<Result<Event, Infallible>>) =
        async_channel::bounded(WAITING_EVENTS);
    let writing = write(EventWriter { events });
    tokio::spawn(async move {
        // A client that goes away is nothing to report: what it means for the job is decided by `write`.
        let _ = writing.await;
    });
    Sse::new(waiting)
        .keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
        .into_response()
}
