//! A store in whose place something happens to every group.

use woolly::job::JobId;
use woolly::queue::{Applied, Blame, Change, Error, JobReader, JobStore};

/// The answers to a group, or what befell all of it.
pub(crate) type Answers = Result<Vec<Result<Applied, Error>>, Error>;

/// A store whose groups go through a function, which may hand them on.
pub(crate) struct Double<S, F> {
    pub(crate) store: S,
    pub(crate) apply: F,
}

impl<S, F> JobStore for Double<S, F>
where
    S: JobStore,
    F: FnMut(&mut S, &[Change], i64) -> Answers + Send,
{
    fn recover(&mut self, now_ms: i64, blame: Blame, limit: u32) -> Result<Vec<JobId>, Error> {
        self.store.recover(now_ms, blame, limit)
    }

    fn apply(&mut self, group: &[Change], now_ms: i64) -> Answers {
        (self.apply)(&mut self.store, group, now_ms)
    }

    fn reader(&self) -> Result<Box<dyn JobReader>, Error> {
        self.store.reader()
    }

    fn close(self: Box<Self>) -> Result<(), Error> {
        Box::new(self.store).close()
    }
}
