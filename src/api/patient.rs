//! A request body that has to come on.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::{Sleep, sleep};

/// Ends with an error when somebody waited too long for its next bytes. However long the whole takes is nobody's matter.
pub(super) struct Patient<B> {
    body: B,
    patience: Duration,
    /// While somebody waits.
    waiting: Option<Pin<Box<Sleep>>>,
}

impl<B> Patient<B> {
    pub(super) fn new(body: B, patience: Duration) -> Self {
        Patient {
            body,
            patience,
            waiting: None,
        }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Patient<B>
where
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        if let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(context) {
            this.waiting = None;
            return Poll::Ready(frame.map(|frame| frame.map_err(axum::Error::new)));
        }
        let patience = this.patience;
        let waiting = this
            .waiting
            .get_or_insert_with(|| Box::pin(sleep(patience)));
        ready!(waiting.as_mut().poll(context));
        let seconds = patience.as_secs();
        let problem = format!("nothing more of it came for {seconds} seconds");
        let error = io::Error::new(io::ErrorKind::TimedOut, problem);
        Poll::Ready(Some(Err(axum::Error::new(error))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::Waker;

    use http_body_util::StreamBody;

    use super::*;

    #[test]
    fn only_waiting_counts_and_each_time_anew() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        let _in_runtime = runtime.enter();
        let (sender, pieces) = async_channel::unbounded::<Result<Frame<Bytes>, io::Error>>();
        let hour = Duration::from_secs(3_600);
        let mut body = pin!(Patient::new(StreamBody::new(Box::pin(pieces)), hour));
        let mut context = Context::from_waker(Waker::noop());
        assert!(body.waiting.is_none());
        assert!(body.as_mut().poll_frame(&mut context).is_pending());
        let until = body.waiting.as_ref().unwrap().deadline();
        assert!(body.as_mut().poll_frame(&mut context).is_pending());
        assert_eq!(body.waiting.as_ref().unwrap().deadline(), until);
        sender
            .try_send(Ok(Frame::data(Bytes::from_static(b"x"))))
            .unwrap();
        assert!(body.as_mut().poll_frame(&mut context).is_ready());
        assert!(body.waiting.is_none());
    }
}
