//! How much of a running job is stored, and when more of it is to be: pure.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::job::SequenceEvent;
use crate::queue::Part;

use super::transcript;

/// What a slow model has generated is stored after this time, however little it is.
const EVERY: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct Checkpoint {
    fingerprint: [u8; 32],
    /// Events of one part; 0: nothing is stored.
    every: usize,
    /// The number of the next part.
    next: u32,
    /// What goes into it.
    events: Vec<Arc<SequenceEvent>>,
    /// Those of them that are not stored elsewhere.
    fresh: usize,
    /// Of the last part that was stored, or of the start.
    at: Instant,
}

impl Checkpoint {
    pub(super) fn new(fingerprint: [u8; 32], every: usize, now: Instant) -> Self {
        Checkpoint {
            fingerprint,
            every,
            next: 0,
            events: Vec::new(),
            fresh: 0,
            at: now,
        }
    }

    /// Of what the events come from.
    pub(super) fn fingerprint(&self) -> [u8; 32] {
        self.fingerprint
    }

    /// Something that an earlier run stored. The first part of this run takes the place of all of that one's, because
    /// where they were cut off is not where it goes on.
    pub(super) fn repeat(&mut self, event: Arc<SequenceEvent>) {
        if self.every > 0 {
            self.events.push(event);
        }
    }

    pub(super) fn note(&mut self, event: Arc<SequenceEvent>) {
        if self.every > 0 {
            self.events.push(event);
            self.fresh += 1;
        }
    }

    /// Whether the next part is to be stored: after so many events, or some time.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.fresh > 0 && (self.fresh >= self.every || now.duration_since(self.at) >= EVERY)
    }

    /// The next part, if there is anything new.
    pub(super) fn part(&self) -> Option<Part> {
        let events = self.events.iter();
        (self.fresh > 0).then(|| Part {
            number: self.next,
            fingerprint: self.fingerprint,
            body: transcript::encode(events.map(|event| (event.sequence, &event.event))),
        })
    }

    /// The next part was handed over, or not: then it is tried again as if it had just begun, with what comes.
    pub(super) fn handed_over(&mut self, taken: bool, now: Instant) {
        self.at = now;
        self.fresh = 0;
        if taken {
            self.events.clear();
            self.next += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::job::{Event, JobId, Token};

    use super::*;

    fn event(id: u32) -> Arc<SequenceEvent> {
        let token = Token {
            id,
            ..Token::default()
        };
        Arc::new(SequenceEvent {
            job: JobId(1),
            sequence: 0,
            event: Event::Token(token),
        })
    }

    fn ids(checkpoint: &Checkpoint) -> (u32, Vec<u32>) {
        let part = checkpoint.part().unwrap();
        let events = transcript::decode(&[part.body]).unwrap();
        (part.number, transcript::ids(&events, 0))
    }

    #[test]
    fn parts_follow_each_other() {
        let start = Instant::now();
        let mut checkpoint = Checkpoint::new([7; 32], 2, start);
        assert_eq!(checkpoint.part(), None);
        checkpoint.note(event(1));
        assert!(!checkpoint.is_due(start));
        checkpoint.note(event(2));
        assert!(checkpoint.is_due(start));
        assert_eq!(ids(&checkpoint), (0, vec![1, 2]));
        checkpoint.handed_over(true, start);
        assert!(checkpoint.part().is_none() && !checkpoint.is_due(start + EVERY));
        checkpoint.note(event(3));
        assert!(!checkpoint.is_due(start + EVERY / 2));
        assert!(checkpoint.is_due(start + EVERY));
        assert_eq!(ids(&checkpoint), (1, vec![3]));
    }

    #[test]
    fn what_was_not_taken_is_part_of_the_next_try() {
        let now = Instant::now();
        let mut checkpoint = Checkpoint::new([7; 32], 1, now);
        checkpoint.note(event(1));
        checkpoint.handed_over(false, now);
        assert!(!checkpoint.is_due(now));
        checkpoint.note(event(2));
        assert_eq!(ids(&checkpoint), (0, vec![1, 2]));
    }

    #[test]
    fn who_goes_on_stores_all_anew_with_what_comes() {
        let now = Instant::now();
        let mut checkpoint = Checkpoint::new([7; 32], 1, now);
        checkpoint.repeat(event(1));
        assert!(checkpoint.part().is_none() && !checkpoint.is_due(now + EVERY));
        checkpoint.note(event(2));
        assert_eq!(ids(&checkpoint), (0, vec![1, 2]));
    }

    #[test]
    fn a_part_of_nothing_is_never_due() {
        let now = Instant::now();
        let mut checkpoint = Checkpoint::new([7; 32], 0, now);
        checkpoint.repeat(event(1));
        checkpoint.note(event(2));
        assert!(!checkpoint.is_due(now + EVERY) && checkpoint.part().is_none());
    }
}
