//! The end of the daemon, which no copy of a large file holds up.

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, TryRecvError};

/// Tells whether the thread is to end.
#[derive(Clone, Copy)]
pub(super) struct Ending<'a>(pub(super) &'a Receiver<()>);

/// Reads while the daemon lives.
pub(super) struct Reading<'a, R> {
    from: R,
    ending: Ending<'a>,
}

impl<'a> Ending<'a> {
    pub(super) fn has_come(self) -> bool {
        matches!(self.0.try_recv(), Err(TryRecvError::Disconnected))
    }

    pub(super) fn reads<R: Read>(self, from: R) -> Reading<'a, R> {
        Reading { from, ending: self }
    }
}

impl<R: Read> Read for Reading<'_, R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        if self.ending.has_come() {
            return Err(io::Error::other("the daemon ends; its next start goes on"));
        }
        self.from.read(bytes)
    }
}
