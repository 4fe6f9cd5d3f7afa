//! What clients sent and what they were told: kept by the test, so no fault of the daemon can touch it.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use super::figure::Faults;

/// How a job came to the daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Detached {
        keyed: bool,
    },
    /// A stream that the client asks for again with its key.
    Streamed,
    /// Nobody can come back for it.
    Attached,
    /// A line of a batch.
    Line,
    /// To be cancelled, or to fail.
    Doomed,
}

impl Way {
    pub fn is_keyed(self) -> bool {
        matches!(self, Way::Detached { keyed: true } | Way::Streamed)
    }

    /// Whether the row stays until the end of the test.
    pub fn is_kept(self) -> bool {
        matches!(self, Way::Detached { .. } | Way::Line)
    }
}

#[derive(Debug, Clone)]
pub(super) struct Sent {
    /// Number of the request in `work`.
    pub request: usize,
    pub way: Way,
    /// The ids under which it was accepted: one at most.
    pub ids: BTreeSet<i64>,
    /// When the client was told the first of them, in seconds since 1970.
    pub accepted_at: Option<f64>,
    /// The client has read the whole answer.
    pub answered: bool,
}

#[derive(Debug, Clone)]
pub(super) struct SentBatch {
    pub name: String,
    /// The marks of its lines.
    pub lines: Vec<usize>,
    pub ids: BTreeSet<String>,
    pub accepted_at: Option<f64>,
}

#[derive(Debug, Default)]
pub(super) struct Book {
    /// By mark.
    pub sent: Vec<Sent>,
    pub batches: Vec<SentBatch>,
    pub faults: Faults,
}

/// Shared by all clients of a test.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    book: Mutex<Book>,
    /// The daemon is about to go, or has gone.
    is_ending: AtomicBool,
}

impl Ledger {
    pub fn with(book: Book) -> Self {
        Ledger {
            book: Mutex::new(book),
            is_ending: AtomicBool::new(false),
        }
    }

    pub fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Before clients set out, and before the daemon is killed or stopped: in between no connection may break.
    pub fn ends(&self, is_ending: bool) {
        self.is_ending.store(is_ending, Ordering::SeqCst);
    }

    /// A connection broke.
    pub fn broke(&self, how: &str) {
        if !self.is_ending.load(Ordering::SeqCst) {
            self.wrong(format!("a connection broke, and the daemon lived: {how}"));
        }
    }

    /// Before it goes out: the mark of a new job.
    pub fn send(&self, request: usize, way: Way) -> usize {
        let mut book = self.book();
        book.sent.push(Sent {
            request,
            way,
            ids: BTreeSet::new(),
            accepted_at: None,
            answered: false,
        });
        book.sent.len() - 1
    }

    pub fn accepted(&self, mark: usize, id: i64) {
        let sent = &mut self.book().sent[mark];
        sent.ids.insert(id);
        sent.accepted_at.get_or_insert_with(now_s);
    }

    pub fn answered(&self, mark: usize) {
        self.book().sent[mark].answered = true;
    }

    pub fn wrong(&self, sentence: String) {
        self.book().faults.wrong.push(sentence);
    }

    /// Before it goes out: the number of a new batch.
    pub fn send_batch(&self, lines: Vec<usize>) -> (usize, String) {
        let mut book = self.book();
        let number = book.batches.len();
        let name = format!("batch {number}");
        book.batches.push(SentBatch {
            name: name.clone(),
            lines,
            ids: BTreeSet::new(),
            accepted_at: None,
        });
        (number, name)
    }

    pub fn accepted_batch(&self, number: usize, id: &str) {
        let batch = &mut self.book().batches[number];
        batch.ids.insert(id.to_owned());
        batch.accepted_at.get_or_insert_with(now_s);
    }

    /// A job with a key that was never answered, if there is one, to be sent again by who sent it.
    pub fn unanswered(&self, way: Way, random: &mut impl FnMut(u64) -> u64) -> Option<usize> {
        let open = |sent: &Sent| sent.way == way && sent.ids.is_empty();
        self.find(open, random)
    }

    /// A job with a key that was accepted, to be sent again.
    pub fn known(&self, way: Way, random: &mut impl FnMut(u64) -> u64) -> Option<usize> {
        let known = |sent: &Sent| sent.way == way && !sent.ids.is_empty();
        self.find(known, random)
    }

    fn find(
        &self,
        suits: impl Fn(&Sent) -> bool,
        random: &mut impl FnMut(u64) -> u64,
    ) -> Option<usize> {
        let book = self.book();
        let marks: Vec<usize> = (0..book.sent.len())
            .filter(|mark| suits(&book.sent[*mark]))
            .collect();
        let chosen = random(marks.len().max(1) as u64) as usize;
        marks.get(chosen).copied()
    }
}

impl Book {
    /// As it stood at a moment.
    pub fn at(&self, moment_s: f64) -> Self {
        let later = |at: Option<f64>| at.is_some_and(|at| at >= moment_s);
        let mut book = Book {
            sent: self.sent.clone(),
            batches: self.batches.clone(),
            faults: Faults::default(),
        };
        for sent in book.sent.iter_mut().filter(|sent| later(sent.accepted_at)) {
            (sent.ids, sent.answered) = (BTreeSet::new(), false);
        }
        for batch in book.batches.iter_mut() {
            if later(batch.accepted_at) {
                batch.ids = BTreeSet::new();
            }
        }
        book
    }

    /// Jobs and batches of which the client was told after a moment, in seconds since 1970.
    pub fn accepted_after(&self, moment_s: f64) -> usize {
        let jobs = self.sent.iter().map(|sent| sent.accepted_at);
        let batches = self.batches.iter().map(|batch| batch.accepted_at);
        let after = |at: &Option<f64>| at.is_some_and(|at| at > moment_s);
        jobs.chain(batches).filter(after).count()
    }

    /// The jobs that the daemon has accepted.
    pub fn accepted(&self) -> usize {
        let lines = self.batches.iter().filter(|batch| !batch.ids.is_empty());
        let lines: usize = lines.map(|batch| batch.lines.len()).sum();
        self.sent.iter().filter(|sent| !sent.ids.is_empty()).count() + lines
    }
}

/// By the clock that strace uses.
fn now_s() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    since.as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_accepted_after_a_moment_is_counted_job_by_job() {
        let ledger = Ledger::default();
        let marks = [0, 1, 2].map(|request| ledger.send(request, Way::Attached));
        let (batch, _) = ledger.send_batch(vec![]);
        ledger.accepted(marks[0], 1);
        ledger.accepted(marks[1], 2);
        ledger.accepted_batch(batch, "batch_1");
        let mut book = ledger.book();
        for (mark, at) in [(0, 10.0), (1, 12.0)] {
            book.sent[mark].accepted_at = Some(at);
        }
        book.batches[0].accepted_at = Some(13.0);
        let after = [9.0, 10.0, 12.5, 13.0].map(|moment| book.accepted_after(moment));
        assert_eq!(after, [3, 2, 1, 0]);
    }

    #[test]
    fn a_connection_may_break_only_when_the_daemon_goes() {
        let ledger = Ledger::default();
        ledger.ends(true);
        ledger.broke("reset");
        assert_eq!(ledger.book().faults.count(), 0);
        ledger.ends(false);
        ledger.broke("reset");
        assert_eq!(ledger.book().faults.wrong.len(), 1);
    }
}
