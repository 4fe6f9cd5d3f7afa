//! A form whose file may be large, and nothing else of it.
//!
//! Who takes a form apart keeps what it has read until it finds the next boundary. So it gets small pieces, one at a
//! time, and no more of them once too much was read that is not the content of the file.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use axum::body::Body;
use hyper::body::{Bytes, Frame};

/// Bytes at once.
const PIECE: usize = 16 << 10;
/// Bytes of boundaries, headers and small fields at most.
pub(super) const MOST_AROUND: u64 = 64 << 10;

/// How much of a form was read, and how much of that was content of its file.
#[derive(Default)]
pub(super) struct Counted {
    read: AtomicU64,
    content: AtomicU64,
}

impl Counted {
    /// So much more of what was read is content of the file.
    pub(super) fn add_content(&self, bytes: usize) {
        self.content.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Whether that is why the form broke off.
    pub(super) fn is_too_much_around(&self) -> bool {
        let content = self.content.load(Ordering::Relaxed);
        self.read.load(Ordering::Relaxed).saturating_sub(content) > MOST_AROUND
    }
}

/// The body of such a form.
pub(super) struct FormBody {
    body: Body,
    counted: Arc<Counted>,
    /// What came and was not given yet.
    rest: Bytes,
    /// The reader has a piece that it did not look at.
    has_given: bool,
}

impl FormBody {
    pub(super) fn new(body: Body, counted: Arc<Counted>) -> Self {
        FormBody {
            body,
            counted,
            rest: Bytes::new(),
            has_given: false,
        }
    }
}

/// The form has too much that is not its file.
#[derive(Debug, thiserror::Error)]
#[error("a form may have {MOST_AROUND} bytes beside the content of file")]
pub(super) struct TooMuchAround;

impl hyper::body::Body for FormBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if std::mem::take(&mut self.has_given) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        if self.counted.is_too_much_around() {
            return Poll::Ready(Some(Err(axum::Error::new(TooMuchAround))));
        }
        while self.rest.is_empty() {
            match ready!(Pin::new(&mut self.body).poll_frame(context)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.rest = data,
                    Err(_trailers) => return Poll::Ready(None),
                },
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
        let count = self.rest.len().min(PIECE);
        let piece = self.rest.split_to(count);
        let read = &self.counted.read;
        read.fetch_add(count as u64, Ordering::Relaxed);
        self.has_given = true;
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }
}
