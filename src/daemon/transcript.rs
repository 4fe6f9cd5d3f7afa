//! What a job generated, as bytes for the queue and back: pure.
//!
//! Invariant: log-probabilities come back with the same bits; a text that cannot be read is no transcript.

use serde::{Deserialize, Serialize};

use crate::job::{Event, FinishReason, Outcome, Token};

/// An event and the sequence that it belongs to.
pub(super) type Entry = (usize, Event);

/// As it is written: one letter for the kind.
#[derive(Serialize, Deserialize)]
enum Written {
    #[serde(rename = "s")]
    Scored(usize, WrittenToken),
    #[serde(rename = "t")]
    Token(usize, WrittenToken),
    #[serde(rename = "f")]
    Finished(usize, FinishReason, String),
}

/// Id, text, and the bits of log-probabilities: JSON has no infinities.
type WrittenToken = (u32, String, Option<u32>, Vec<(u32, u32)>);

/// One part. Events that end a job badly are not part of what it generated.
pub(super) fn encode<'a>(events: impl IntoIterator<Item = (usize, &'a Event)>) -> Vec<u8> {
    let written = |(sequence, event): (usize, &Event)| match event {
        Event::Scored(token) => Some(Written::Scored(sequence, written_token(token))),
        Event::Token(token) => Some(Written::Token(sequence, written_token(token))),
        Event::Finished { reason, text } => {
            Some(Written::Finished(sequence, *reason, text.clone()))
        }
        Event::Failed { .. } | Event::Stopped => None,
    };
    let written: Vec<Written> = events.into_iter().filter_map(written).collect();
    serde_json::to_vec(&written).unwrap_or_default()
}

/// All of a job that has completed.
pub(super) fn of_outcome(outcome: &Outcome) -> Vec<u8> {
    let mut events: Vec<Entry> = vec![];
    for (number, sequence) in outcome.sequences.iter().enumerate() {
        let shown: usize = sequence.tokens.iter().map(|token| token.text.len()).sum();
        let scored = sequence.scored.iter().cloned().map(Event::Scored);
        let tokens = sequence.tokens.iter().cloned().map(Event::Token);
        events.extend(scored.chain(tokens).map(|event| (number, event)));
        // What was held back until the end.
        let text = sequence.text.get(shown..).unwrap_or_default().to_owned();
        let reason = sequence.finish;
        events.push((number, Event::Finished { reason, text }));
    }
    encode(events.iter().map(|(number, event)| (*number, event)))
}

/// The events of all parts, in their order.
pub(super) fn decode(parts: &[Vec<u8>]) -> Option<Vec<Entry>> {
    let mut events = vec![];
    for part in parts {
        let written: Vec<Written> = serde_json::from_slice(part).ok()?;
        events.extend(written.into_iter().map(|written| match written {
            Written::Scored(sequence, token) => (sequence, Event::Scored(read_token(token))),
            Written::Token(sequence, token) => (sequence, Event::Token(read_token(token))),
            Written::Finished(sequence, reason, text) => {
                (sequence, Event::Finished { reason, text })
            }
        }));
    }
    Some(events)
}

/// Without what a sequence that has not finished cannot go on behind: its last token, which may have been its end, and
/// scores of a prompt behind which nothing was generated.
pub(super) fn to_go_on(mut events: Vec<Entry>, sequences: usize) -> Vec<Entry> {
    let mut tokens = vec![0_usize; sequences];
    let mut finished = vec![false; sequences];
    for (sequence, event) in &events {
        match event {
            _ if *sequence >= sequences => {}
            Event::Token(_) => tokens[*sequence] += 1,
            Event::Finished { .. } => finished[*sequence] = true,
            _ => {}
        }
    }
    let mut seen = vec![0_usize; sequences];
    events.retain(|(sequence, event)| {
        let Some(seen) = seen.get_mut(*sequence) else {
            return false;
        };
        *seen += usize::from(matches!(event, Event::Token(_)));
        let tokens = tokens[*sequence];
        finished[*sequence]
            || match event {
                Event::Token(_) => *seen < tokens,
                _ => tokens > 1,
            }
    });
    events
}

/// The token ids of one sequence.
pub(super) fn ids(events: &[Entry], sequence: usize) -> Vec<u32> {
    let id = |(number, event): &Entry| match event {
        Event::Token(token) if *number == sequence => Some(token.id),
        _ => None,
    };
    events.iter().filter_map(id).collect()
}

/// Whether one sequence is over.
pub(super) fn is_finished(events: &[Entry], sequence: usize) -> bool {
    let ends =
        |(number, event): &Entry| *number == sequence && matches!(event, Event::Finished { .. });
    events.iter().any(ends)
}

fn written_token(token: &Token) -> WrittenToken {
    let top = token.top.iter().map(|(id, log)| (*id, log.to_bits()));
    let logprob = token.logprob.map(f32::to_bits);
    (token.id, token.text.clone(), logprob, top.collect())
}

fn read_token((id, text, logprob, top): WrittenToken) -> Token {
    let top = top.into_iter().map(|(id, bits)| (id, f32::from_bits(bits)));
    Token {
        id,
        text,
        logprob: logprob.map(f32::from_bits),
        top: top.collect(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::job::SequenceOutcome;

    use super::*;

    fn token(id: u32, text: &str) -> Token {
        Token {
            id,
            text: text.to_owned(),
            logprob: None,
            top: vec![],
        }
    }

    fn finished(text: &str) -> Event {
        Event::Finished {
            reason: FinishReason::Stop,
            text: text.to_owned(),
        }
    }

    fn encoded(events: &[Entry]) -> Vec<u8> {
        encode(events.iter().map(|(number, event)| (*number, event)))
    }

    #[test]
    fn what_is_no_transcript_is_none() {
        let part = encoded(&[(0, Event::Token(token(1, "a")))]);
        assert_eq!(decode(&[part.clone(), b"[".to_vec()]), None);
        assert_eq!(decode(&[part.clone(), part]).unwrap().len(), 2);
    }

    #[test]
    fn who_goes_on_computes_its_last_token_again() {
        let token = |id| Event::Token(token(id, "x"));
        let scored = |id| {
            Event::Scored(super::Token {
                id,
                ..Default::default()
            })
        };
        let events = vec![
            (0, scored(9)),
            (1, token(1)),
            (2, scored(9)),
            (3, scored(9)),
            (0, token(2)),
            (3, token(3)),
            (0, token(4)),
            (1, finished("")),
            (7, token(5)),
        ];
        let kept = to_go_on(events, 5);
        assert_eq!(
            kept,
            [
                (0, scored(9)),
                (1, token(1)),
                (0, token(2)),
                (1, finished(""))
            ]
        );
        assert_eq!((ids(&kept, 0), ids(&kept, 2)), (vec![2], vec![]));
        assert!(is_finished(&kept, 1) && !is_finished(&kept, 0));
    }

    #[test]
    fn an_outcome_gives_the_events_that_it_came_from() {
        let outcome = Outcome {
            sequences: vec![SequenceOutcome {
                scored: vec![token(7, "")],
                tokens: vec![token(1, "h"), token(2, "é")],
                text: "hé!".to_owned(),
                finish: FinishReason::Length,
            }],
        };
        let end = Event::Finished {
            reason: FinishReason::Length,
            text: "!".to_owned(),
        };
        assert_eq!(
            decode(&[of_outcome(&outcome)]).unwrap(),
            [
                (0, Event::Scored(token(7, ""))),
                (0, Event::Token(token(1, "h"))),
                (0, Event::Token(token(2, "é"))),
                (0, end),
            ]
        );
    }

    fn any_event() -> impl Strategy<Value = Event> {
        let token = || {
            let top = prop::collection::vec((any::<u32>(), any::<f32>()), 0..3);
            (any::<u32>(), ".{0,4}", prop::option::of(any::<f32>()), top).prop_map(
                |(id, text, logprob, top)| Token {
                    id,
                    text,
                    logprob,
                    top,
                },
            )
        };
        prop_oneof![
            token().prop_map(Event::Scored),
            token().prop_map(Event::Token),
            ".{0,4}".prop_map(|text| finished(&text)),
        ]
    }

    proptest! {
        #[test]
        fn events_come_back(events in prop::collection::vec((0..5_usize, any_event()), 0..20), cut in 0..20_usize) {
            let cut = cut.min(events.len());
            let parts = [encoded(&events[..cut]), encoded(&events[cut..])];
            let back = decode(&parts).unwrap();
            // Compared as text: the oracle must not take -0.0 for 0.0.
            prop_assert_eq!(format!("{back:?}"), format!("{events:?}"));
        }
    }
}
