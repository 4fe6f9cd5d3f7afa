//! Stop strings over text that arrives in pieces.
//!
//! The text is read as one stream of characters, so the result does not depend on how tokens cut it:
//! the sequence ends at the first character that completes a stop string, and where several are
//! completed by the same character, at the one that begins first.
//!
//! Invariant: text that is given out is never taken back. What could still become a stop string is
//! held; nothing else is.

/// Looks for stop strings in the text of one sequence.
#[derive(Debug)]
pub(super) struct StopMatcher {
    stops: Vec<String>,
    /// The end of the text so far: the longest one that a stop string begins with.
    held: String,
}

/// What a piece of text brought.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Matched {
    /// Text that is certain to be output, without any stop string.
    pub(super) text: String,
    /// Whether a stop string is complete; the rest of the piece is dropped then.
    pub(super) stopped: bool,
}

impl StopMatcher {
    /// An empty stop string would end every sequence before its first character; it is ignored.
    pub(super) fn new(stops: &[String]) -> Self {
        let stops = stops
            .iter()
            .filter(|stop| !stop.is_empty())
            .cloned()
            .collect();
        StopMatcher {
            stops,
            held: String::new(),
        }
    }

    pub(super) fn push(&mut self, piece: &str) -> Matched {
        let mut text = std::mem::take(&mut self.held);
        text.push_str(piece);
        if let Some(start) = self.first_match(&text) {
            text.truncate(start);
            return Matched {
                text,
                stopped: true,
            };
        }
        self.held = text.split_off(self.hold_from(&text));
        Matched {
            text,
            stopped: false,
        }
    }

    /// The held text, when no more can come.
    pub(super) fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }

    /// Where the first stop string to be completed begins. Earlier pieces held no complete one, and a
    /// match that began before the held text would have been held itself, so `text` is all there is
    /// to look at.
    fn first_match(&self, text: &str) -> Option<usize> {
        self.stops
            .iter()
            .filter_map(|stop| {
                text.find(stop.as_str())
                    .map(|start| (start + stop.len(), start))
            })
            .min()
            .map(|(_, start)| start)
    }

    /// The first position from which everything to the end is the beginning of some stop string.
    fn hold_from(&self, text: &str) -> usize {
        let longest = self.stops.iter().map(String::len).max().unwrap_or(0);
        let earliest = (text.len() + 1).saturating_sub(longest);
        (earliest..text.len())
            .filter(|&from| text.is_char_boundary(from))
            .find(|&from| {
                self.stops
                    .iter()
                    .any(|stop| stop.starts_with(&text[from..]))
            })
            .unwrap_or(text.len())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn run<'a>(stops: &[&str], pieces: impl IntoIterator<Item = &'a str>) -> (Vec<String>, bool) {
        let stops: Vec<String> = stops.iter().map(|s| s.to_string()).collect();
        let mut matcher = StopMatcher::new(&stops);
        let mut out = Vec::new();
        for piece in pieces {
            let matched = matcher.push(piece);
            out.push(matched.text);
            if matched.stopped {
                assert_eq!(matcher.finish(), "");
                return (out, true);
            }
        }
        out.push(matcher.finish());
        (out, false)
    }

    #[test]
    fn text_passes_at_once_without_stop_strings() {
        assert_eq!(
            run(&[], ["ab", "", "c"]),
            (vec!["ab".into(), "".into(), "c".into(), "".into()], false)
        );
        assert_eq!(run(&[""], ["ab"]), (vec!["ab".into(), "".into()], false));
    }

    #[test]
    fn a_possible_beginning_is_held_and_given_back() {
        assert_eq!(
            run(&["</s>"], ["a<", "/", "b", "<", "/s"]),
            (
                vec![
                    "a".into(),
                    "".into(),
                    "</b".into(),
                    "".into(),
                    "".into(),
                    "</s".into()
                ],
                false
            )
        );
    }

    #[test]
    fn a_stop_string_over_three_pieces_is_not_output() {
        assert_eq!(
            run(&["STOP"], ["xS", "TO", "Pyz"]),
            (vec!["x".into(), "".into(), "".into()], true)
        );
    }

    #[test]
    fn a_failed_beginning_may_contain_the_real_one() {
        assert_eq!(run(&["aab"], ["a", "a", "a", "b"]).0.concat(), "a");
        assert_eq!(
            run(&["abac"], ["aba", "bac"]),
            (vec!["".into(), "ab".into()], true)
        );
    }

    #[test]
    fn the_first_to_be_complete_wins_then_the_first_to_begin() {
        assert_eq!(
            run(&["world", "lo"], ["hello world"]),
            (vec!["hel".into()], true)
        );
        assert_eq!(run(&["abcde", "bcd"], ["abcde"]), (vec!["a".into()], true));
        assert_eq!(run(&["cd", "bcd"], ["abcd"]), (vec!["a".into()], true));
    }

    #[test]
    fn characters_of_several_bytes_are_held_whole() {
        assert_eq!(
            run(&["é!"], ["né", "e"]),
            (vec!["n".into(), "ée".into(), "".into()], false)
        );
        assert_eq!(
            run(&["é!"], ["né", "!"]),
            (vec!["n".into(), "".into()], true)
        );
    }

    proptest! {
        /// The plain rule over the whole text, one character at a time.
        #[test]
        fn cutting_the_text_elsewhere_changes_nothing(
            stops in prop::collection::vec("[abé]{1,4}", 0..4),
            pieces in prop::collection::vec("[abé]{0,4}", 0..8),
        ) {
            let whole = pieces.concat();
            let ends = whole.char_indices().map(|(at, c)| at + c.len_utf8());
            let expected = ends
                .filter_map(|end| {
                    let starts = stops.iter().filter(|s| whole[..end].ends_with(s.as_str()));
                    starts.map(|s| end - s.len()).min()
                })
                .next();
            let stops: Vec<&str> = stops.iter().map(String::as_str).collect();
            let (out, stopped) = run(&stops, pieces.iter().map(String::as_str));
            prop_assert_eq!(stopped, expected.is_some());
            prop_assert_eq!(out.concat(), &whole[..expected.unwrap_or(whole.len())]);
        }
    }
}
