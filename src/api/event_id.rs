//! The id of an event: what a client has that got it.
//!
//! `9f3a01c2-12.7.30`: what the events come from, and how many there were of each sequence.

use std::fmt;
use std::str::FromStr;

use crate::protocol::MAX_SEQUENCES;

/// Digits of what the events come from.
const FINGERPRINT_DIGITS: usize = 8;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct EventId {
    pub(super) fingerprint: u32,
    pub(super) counts: Vec<usize>,
}

impl EventId {
    /// How many events of a sequence the client has.
    pub(super) fn count(&self, sequence: usize) -> usize {
        self.counts.get(sequence).copied().unwrap_or(0)
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts: Vec<String> = self.counts.iter().map(usize::to_string).collect();
        write!(f, "{:08x}-{}", self.fingerprint, counts.join("."))
    }
}

/// The text is not the id of an event.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Invalid;

impl FromStr for EventId {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let (fingerprint, counts) = text.split_once('-').ok_or(Invalid)?;
        // Numbers of Rust may have a sign.
        let is_hex = fingerprint.bytes().all(|b| b.is_ascii_hexdigit());
        if fingerprint.len() != FINGERPRINT_DIGITS || !is_hex {
            return Err(Invalid);
        }
        let count = |text: &str| {
            let is_number = text.bytes().all(|b| b.is_ascii_digit());
            text.parse().ok().filter(|_| is_number)
        };
        let counts: Option<Vec<usize>> = counts
            .split('.')
            .take(MAX_SEQUENCES + 1)
            .map(count)
            .collect();
        Ok(EventId {
            fingerprint: u32::from_str_radix(fingerprint, 16).map_err(|_| Invalid)?,
            counts: counts
                .filter(|counts| counts.len() <= MAX_SEQUENCES)
                .ok_or(Invalid)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_as_it_is_written() {
        let id = EventId {
            fingerprint: 0x00ab_cdef,
            counts: vec![5, 0, 3],
        };
        assert_eq!(id.to_string(), "00abcdef-5.0.3");
        assert_eq!("00abcdef-5.0.3".parse(), Ok(id));
    }

    #[test]
    fn what_is_no_id_is_refused() {
        for text in [
            "",
            "x",
            "5",
            "5.2",
            "00abcdef",
            "00abcdef-",
            "00abcdef-1.",
            "00abcdef--1",
            "00abcdef-+5",
            "+0abcdef-5",
            "abcdef-5",
            "00abcdef-1..2",
            "00abcdef-99999999999999999999",
        ] {
            assert_eq!(text.parse::<EventId>(), Err(Invalid), "{text}");
        }
        let of = |sequences: usize| format!("00abcdef-{}", vec!["1"; sequences].join("."));
        assert!(of(MAX_SEQUENCES).parse::<EventId>().is_ok());
        assert_eq!(of(MAX_SEQUENCES + 1).parse::<EventId>(), Err(Invalid));
    }
}
