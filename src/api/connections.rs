//! How many connections are let in at once, and how long one may say nothing at first.
//!
//! Files are what a process runs out of first, and the store and the model need some too: clients must not be able to
//! take them all.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::serve::Listener;
use rustix::process::{Resource, getrlimit};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::unix::SocketAddr;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Sleep, sleep};

use crate::queue::batch::{FILES_AT_WORK, MOST_AT_WORK};

/// Files that the daemon itself has open: those of batches, and the store and its readers, the model, the log, and some
/// to spare.
const OWN_FILES: u64 = (MOST_AT_WORK * FILES_AT_WORK) as u64 + 48;
/// A connection is one, and may read or write another.
const FILES_OF_ONE: u64 = 2;
const FEWEST: u64 = 8;
const MOST: u64 = 1 << 16;

/// After this a connection is closed that has not said a word.
const SILENT_FOR: Duration = Duration::from_secs(30);

/// A listener with a place for each connection. Without a free one clients wait in the backlog.
pub(super) struct Limited {
    listener: UnixListener,
    places: Arc<Semaphore>,
}

impl Limited {
    pub(super) fn new(listener: UnixListener) -> Self {
        let limit = getrlimit(Resource::Nofile).current;
        Limited {
            listener,
            places: Arc::new(Semaphore::new(places(limit))),
        }
    }
}

/// As many as the files of a process allow; `None`: any number.
fn places(files: Option<u64>) -> usize {
    let files = files.unwrap_or(u64::MAX).saturating_sub(OWN_FILES);
    (files / FILES_OF_ONE).clamp(FEWEST, MOST) as usize
}

impl Listener for Limited {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        // Nobody closes the semaphore.
        let place = self.places.clone().acquire_owned().await.ok();
        let (stream, address) = Listener::accept(&mut self.listener).await;
        let connection = Connection {
            stream,
            silence: Some(Box::pin(sleep(SILENT_FOR))),
            _place: place,
        };
        (connection, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// One client.
pub(super) struct Connection {
    stream: UnixStream,
    /// Until the first byte has come.
    silence: Option<Pin<Box<Sleep>>>,
    _place: Option<OwnedSemaphorePermit>,
}

impl Connection {
    pub(super) fn stream(&self) -> &UnixStream {
        &self.stream
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if read.is_ready() {
            self.silence = None;
        } else if let Some(silence) = &mut self.silence
            && silence.as_mut().poll(context).is_ready()
        {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        read
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_daemon_keeps_files_for_itself() {
        assert_eq!(places(Some(1_024)), 464);
        assert_eq!(places(Some(16)), 8);
        assert_eq!(places(None), 1 << 16);
    }
}
