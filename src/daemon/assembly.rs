//! From the events of its sequences to the end of a job: pure.

use crate::job::{Event, FinishReason, Outcome, SequenceOutcome, Token};

/// How a job ended, once all of its sequences have.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum End {
    Completed(Outcome),
    /// With the sentence of the first sequence that failed, and whether it failed through a fault of ours.
    Failed {
        error: String,
        fault: bool,
    },
    /// Sequences were stopped from outside.
    Stopped,
}

/// What an event means for the job.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Step {
    /// Sequences are still running.
    Running,
    /// The job cannot complete any more: the other sequences are to be stopped.
    StopTheRest,
    Ended(End),
}

/// The sequences of one running job as far as they are known.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Assembly {
    sequences: Vec<Partial>,
    failure: Option<(String, bool)>,
    stopped: bool,
}

#[derive(Debug, Clone, PartialEq, Default)]
struct Partial {
    scored: Vec<Token>,
    tokens: Vec<Token>,
    text: String,
    finish: Option<FinishReason>,
    /// Whether its last event has come.
    over: bool,
}

impl Assembly {
    pub(super) fn new(sequences: usize) -> Self {
        Assembly {
            sequences: vec![Partial::default(); sequences],
            failure: None,
            stopped: false,
        }
    }

    /// Takes the next event of one sequence. Events of sequences that are over, or that the job does not
    /// have, change nothing.
    pub(super) fn apply(&mut self, sequence: usize, event: &Event) -> Step {
        let Some(partial) = self
            .sequences
            .get_mut(sequence)
            .filter(|partial| !partial.over)
        else {
            return Step::Running;
        };
        match event {
            Event::Scored(token) => {
                partial.scored.push(token.clone());
                return Step::Running;
            }
            Event::Token(token) => {
                partial.text.push_str(&token.text);
                partial.tokens.push(token.clone());
                return Step::Running;
            }
            Event::Finished { reason, text } => {
                partial.text.push_str(text);
                partial.finish = Some(*reason);
            }
            Event::Failed { message, fault } => {
                self.failure
                    .get_or_insert_with(|| (message.clone(), *fault));
            }
            Event::Stopped => self.stopped = true,
        }
        partial.over = true;
        if self.running() == 0 {
            return Step::Ended(self.end());
        }
        match event {
            Event::Failed { .. } => Step::StopTheRest,
            _ => Step::Running,
        }
    }

    /// Sequences that are not over.
    pub(super) fn running(&self) -> usize {
        self.sequences
            .iter()
            .filter(|partial| !partial.over)
            .count()
    }

    fn end(&mut self) -> End {
        if let Some((error, fault)) = self.failure.take() {
            return End::Failed { error, fault };
        }
        let outcomes = self.sequences.drain(..).map(|partial| {
            let finish = partial.finish?;
            Some(SequenceOutcome {
                scored: partial.scored,
                tokens: partial.tokens,
                text: partial.text,
                finish,
            })
        });
        match outcomes.collect::<Option<Vec<_>>>() {
            Some(sequences) if !self.stopped => End::Completed(Outcome { sequences }),
            _ => End::Stopped,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn token(id: u32, text: &str) -> Event {
        Event::Token(Token {
            id,
            text: text.to_owned(),
            ..Token::default()
        })
    }

    fn finished(text: &str) -> Event {
        Event::Finished {
            reason: FinishReason::Stop,
            text: text.to_owned(),
        }
    }

    fn failed(message: &str) -> Event {
        Event::Failed {
            message: message.to_owned(),
            fault: false,
        }
    }

    #[test]
    fn a_job_completes_when_all_sequences_have() {
        let mut assembly = Assembly::new(2);
        assert_eq!(assembly.apply(1, &token(7, "b")), Step::Running);
        assert_eq!(assembly.apply(0, &token(5, "a")), Step::Running);
        assert_eq!(assembly.apply(1, &finished("!")), Step::Running);
        assert_eq!(assembly.running(), 1);
        assert_eq!(assembly.apply(0, &token(6, "")), Step::Running);
        let Step::Ended(End::Completed(outcome)) = assembly.apply(0, &finished("")) else {
            panic!("not completed");
        };
        let texts: Vec<&str> = outcome
            .sequences
            .iter()
            .map(|sequence| sequence.text.as_str())
            .collect();
        assert_eq!(texts, ["a", "b!"]);
        let ids: Vec<u32> = outcome.sequences[0]
            .tokens
            .iter()
            .map(|token| token.id)
            .collect();
        assert_eq!(ids, [5, 6]);
        assert_eq!(outcome.sequences[1].finish, FinishReason::Stop);
    }

    #[test]
    fn one_failure_fails_the_job_after_the_rest_has_stopped() {
        let mut assembly = Assembly::new(3);
        assert_eq!(assembly.apply(1, &failed("no memory")), Step::StopTheRest);
        assert_eq!(assembly.apply(0, &failed("also")), Step::StopTheRest);
        assert_eq!(
            assembly.apply(2, &Event::Stopped),
            Step::Ended(End::Failed {
                error: "no memory".to_owned(),
                fault: false,
            })
        );
    }

    #[test]
    fn a_stopped_sequence_stops_the_job() {
        let mut assembly = Assembly::new(2);
        assert_eq!(assembly.apply(0, &finished("done")), Step::Running);
        assert_eq!(
            assembly.apply(1, &Event::Stopped),
            Step::Ended(End::Stopped)
        );
    }

    #[test]
    fn events_without_a_running_sequence_change_nothing() {
        let mut assembly = Assembly::new(2);
        assert_eq!(assembly.apply(0, &finished("x")), Step::Running);
        let before = assembly.clone();
        for event in [
            token(1, "late"),
            finished("again"),
            failed("late"),
            Event::Stopped,
        ] {
            assert_eq!(assembly.apply(0, &event), Step::Running);
            assert_eq!(assembly.apply(9, &event), Step::Running);
        }
        assert_eq!(assembly, before);
    }

    proptest! {
        /// Whatever the order, a job ends exactly once, with its last sequence.
        #[test]
        fn a_job_ends_once(
            count in 1_usize..5,
            events in prop::collection::vec((0_usize..5, 0_u8..4), 0..60),
        ) {
            let mut assembly = Assembly::new(count);
            let mut open: Vec<bool> = vec![true; count];
            let mut ends = 0;
            for (sequence, kind) in events {
                let event = match kind {
                    0 => token(1, "t"),
                    1 => finished("f"),
                    2 => failed("x"),
                    _ => Event::Stopped,
                };
                let was_open = open.iter().any(|open| *open);
                if kind != 0 && sequence < count {
                    open[sequence] = false;
                }
                let ended = matches!(assembly.apply(sequence, &event), Step::Ended(_));
                ends += usize::from(ended);
                prop_assert_eq!(ended, was_open && open.iter().all(|open| !*open));
            }
            prop_assert!(ends <= 1);
        }
    }
}
