//! Which piece of a completed job's text came with which event, so that its stream can be told again: pure.
//!
//! A result has the text of a job, and an outline how long each piece of it was: two or three bytes for a token, where
//! a transcript has all that is known of it.
//!
//! Invariant: what does not fit the result tells nothing.

use serde::{Deserialize, Serialize};

use crate::job::{Event, FinishReason, JobId, Outcome, SequenceEvent, SequenceOutcome, Token};

/// As it is written: what the events come from, in short, and the sequences.
#[derive(Serialize, Deserialize)]
struct Outline(u32, Vec<SequenceOutline>);

/// How many tokens of the prompt were scored, and the bytes of each piece: one for a token, and one for the end.
#[derive(Serialize, Deserialize)]
struct SequenceOutline(usize, Vec<usize>);

/// A stream to be told again: the events of one sequence after those of another, without ids and log-probabilities.
#[derive(Debug, PartialEq)]
pub struct Retold {
    /// As it was given to [`outline`].
    pub fingerprint: u32,
    pub sequences: usize,
    pub events: Vec<SequenceEvent>,
}

/// The outline of a job that has completed, to be kept with its result.
pub fn outline(fingerprint: u32, outcome: &Outcome) -> Vec<u8> {
    let of_sequence = |sequence: &SequenceOutcome| {
        let mut pieces: Vec<usize> = sequence.tokens.iter().map(|t| t.text.len()).collect();
        let shown: usize = pieces.iter().sum();
        pieces.push(sequence.text.len().saturating_sub(shown));
        SequenceOutline(sequence.scored.len(), pieces)
    };
    let sequences = outcome.sequences.iter().map(of_sequence).collect();
    serde_json::to_vec(&Outline(fingerprint, sequences)).unwrap_or_default()
}

/// The events of a job, out of its outline and its result, a body of either endpoint.
pub fn retell(job: JobId, outline: &[u8], result: &[u8]) -> Option<Retold> {
    /// What both bodies have.
    #[derive(Deserialize)]
    struct Answer {
        choices: Vec<Choice>,
    }
    #[derive(Deserialize)]
    struct Choice {
        text: Option<String>,
        message: Option<Message>,
        finish_reason: FinishReason,
    }
    #[derive(Deserialize)]
    struct Message {
        content: String,
    }
    let Outline(fingerprint, sequences) = serde_json::from_slice(outline).ok()?;
    let Answer { choices } = serde_json::from_slice(result).ok()?;
    if sequences.len() != choices.len() {
        return None;
    }
    let mut events = vec![];
    for (sequence, (SequenceOutline(scored, pieces), choice)) in
        sequences.iter().zip(choices).enumerate()
    {
        let text = choice.text.or(choice.message.map(|said| said.content))?;
        // The text of an echoed prompt comes before.
        let length = pieces
            .iter()
            .try_fold(0_usize, |sum, n| sum.checked_add(*n))?;
        let mut rest = text.get(text.len().checked_sub(length)?..)?;
        let mut tell = |event| {
            events.push(SequenceEvent {
                job,
                sequence,
                event,
            });
        };
        (0..*scored).for_each(|_| tell(Event::Scored(Token::default())));
        let (_, of_tokens) = pieces.split_last()?;
        for piece in of_tokens {
            let (text, behind) = rest.split_at_checked(*piece)?;
            rest = behind;
            tell(Event::Token(Token {
                text: text.to_owned(),
                ..Token::default()
            }));
        }
        tell(Event::Finished {
            reason: choice.finish_reason,
            text: rest.to_owned(),
        });
    }
    Some(Retold {
        fingerprint,
        sequences: sequences.len(),
        events,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const JOB: JobId = JobId(4);

    fn token(text: &str) -> Token {
        Token {
            text: text.to_owned(),
            ..Token::default()
        }
    }

    fn outcome(tokens: &[&str], tail: &str) -> Outcome {
        let sequence = SequenceOutcome {
            scored: vec![],
            tokens: tokens.iter().map(|text| token(text)).collect(),
            text: tokens.concat() + tail,
            finish: FinishReason::Length,
        };
        Outcome {
            sequences: vec![sequence],
        }
    }

    fn answer(choice: serde_json::Value) -> Vec<u8> {
        json!({"choices": [choice]}).to_string().into_bytes()
    }

    #[test]
    fn an_answer_is_told_in_the_pieces_it_came_in() {
        let mut outcome = outcome(&["h", "", "é"], "!");
        outcome.sequences[0].scored = vec![token(""); 2];
        let kept = outline(7, &outcome);
        assert_eq!(kept, b"[7,[[2,[1,0,2,1]]]]");
        let retold = |choice| retell(JOB, &kept, &answer(choice)).unwrap();
        let echoed = retold(json!({"text": "Say: hé!", "finish_reason": "length"}));
        assert_eq!((echoed.fingerprint, echoed.sequences), (7, 1));
        let scored = || Event::Scored(Token::default());
        let end = Event::Finished {
            reason: FinishReason::Length,
            text: "!".to_owned(),
        };
        let tokens = ["h", "", "é"].map(|text| Event::Token(token(text)));
        let expected = [scored(), scored()].into_iter().chain(tokens).chain([end]);
        let events = |retold: &Retold| -> Vec<Event> {
            let events = retold.events.iter();
            events.map(|event| event.event.clone()).collect()
        };
        assert_eq!(events(&echoed), expected.collect::<Vec<_>>());
        assert!(
            echoed
                .events
                .iter()
                .all(|e| (e.job, e.sequence) == (JOB, 0))
        );
        let chat =
            json!({"message": {"role": "assistant", "content": "hé!"}, "finish_reason": "length"});
        assert_eq!(events(&retold(chat)), events(&echoed));
    }

    #[test]
    fn what_does_not_fit_tells_nothing() {
        let fits = answer(json!({"text": "hé!", "finish_reason": "stop"}));
        assert!(retell(JOB, b"[7,[[0,[1,2,1]]]]", &fits).is_some());
        for outline in [
            "",
            "{}",
            "[7,[]]",
            "[7,[[0,[]]]]",
            "[7,[[0,[5]]]]",
            // Within a character.
            "[7,[[0,[2,1,1]]]]",
            "[7,[[0,[2]]]]",
            "[7,[[0,[18446744073709551615,1]]]]",
            "[7,[[0,[1,2,1]],[0,[0]]]]",
        ] {
            assert_eq!(retell(JOB, outline.as_bytes(), &fits), None, "{outline}");
        }
        for other in ["", "{}", r#"{"choices":[{"finish_reason":"stop"}]}"#] {
            assert_eq!(
                retell(JOB, b"[7,[[0,[0]]]]", other.as_bytes()),
                None,
                "{other}"
            );
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(outline in r#"\[7,\[(\[[0-9],\[[0-9](,[0-9]){0,3}\]\],?){0,3}\]\]"#, text in ".{0,6}") {
            let answer = answer(json!({"text": text, "finish_reason": "stop"}));
            if let Some(retold) = retell(JOB, outline.as_bytes(), &answer) {
                prop_assert!(retold.events.len() >= retold.sequences);
            }
        }
    }
}
