//! The best way to cut a text into the entries of a unigram vocabulary.
//!
//! From left to right, each place is reached by the entries that end there; the one that makes the sum of scores
//! largest is kept, the first of equal ones. A character without an entry of its own may also be unknown, for a score
//! below all others. Sums are taken in double precision and compared as in llama.cpp, so that ties fall alike.

use super::tree::Tree;
use crate::text::Error;
use crate::text::vocabulary::{Kind, Vocabulary};

/// The longest entry, in bytes. SentencePiece makes them 16 characters long where nobody asks for more.
const LONGEST_ENTRY: usize = 512;
/// So far below the lowest score of a normal entry is that of an unknown character.
const PENALTY: f32 = 10.0;

pub(super) struct Lattice {
    entries: Tree,
    /// What ends at each node of it.
    ends: Vec<Option<Entry>>,
    unknown: u32,
    unknown_score: f32,
}

#[derive(Clone, Copy)]
struct Entry {
    id: u32,
    score: f64,
}

/// How a place is reached.
#[derive(Clone, Copy)]
struct Step {
    id: u32,
    from: u32,
    sum: f64,
}

impl Lattice {
    /// Of the normal, unused and user-defined entries; `scores` are finite.
    pub(super) fn new(
        vocabulary: &Vocabulary,
        scores: &[f32],
        unknown: u32,
    ) -> Result<Self, Error> {
        let mut lattice = Lattice {
            entries: Tree::default(),
            ends: vec![None],
            unknown,
            unknown_score: 0.0,
        };
        let mut lowest = f32::MAX;
        let all = vocabulary.names.iter().zip(&vocabulary.kinds).zip(scores);
        for (id, ((name, kind), &score)) in (0..).zip(all) {
            let score = match kind {
                Kind::Normal => {
                    lowest = lowest.min(score);
                    f64::from(score)
                }
                Kind::Unused => f64::from(score),
                Kind::UserDefined => 0.0,
                Kind::Unknown | Kind::Control | Kind::Byte(_) | Kind::Undefined => continue,
            };
            if name.len() > LONGEST_ENTRY {
                return Err(Error::TokenLength {
                    id: id as usize,
                    length: name.len(),
                    limit: LONGEST_ENTRY,
                });
            }
            lattice.insert(name, Entry { id, score });
        }
        lattice.unknown_score = lowest - PENALTY;
        Ok(lattice)
    }

    fn insert(&mut self, name: &str, entry: Entry) {
        let node = self.entries.insert(name.as_bytes()) as usize;
        if self.ends.len() <= node {
            self.ends.resize(node + 1, None);
        }
        self.ends[node] = Some(entry);
    }

    /// The ids of the best way through `text`, unknown ones in a row as one.
    ///
    /// # Panics
    /// When `text` is longer than 4 GiB.
    pub(super) fn best(&self, text: &[u8]) -> Vec<u32> {
        assert!(u32::try_from(text.len()).is_ok());
        let nothing = Step {
            id: self.unknown,
            from: 0,
            sum: f64::MIN,
        };
        let mut steps = vec![nothing; text.len() + 1];
        steps[0].sum = 0.0;
        let mut at = 0;
        while at < text.len() {
            let character = character_len(text[at]).min(text.len() - at);
            let sum = steps[at].sum;
            let mut reach = |length: usize, id: u32, score: f64| {
                let step = &mut steps[at + length];
                if sum + score > step.sum {
                    let from = at as u32;
                    let sum = sum + score;
                    *step = Step { id, from, sum };
                }
            };
            let mut is_entry = false;
            let mut node = 0;
            for (byte, length) in text[at..].iter().zip(1..) {
                let Some(next) = self.entries.child(node, *byte) else {
                    break;
                };
                node = next;
                if let Some(&Some(Entry { id, score })) = self.ends.get(node as usize) {
                    is_entry |= length == character;
                    reach(length, id, score);
                }
            }
            if !is_entry {
                reach(character, self.unknown, f64::from(self.unknown_score));
            }
            at += character;
        }
        self.backwards(&steps)
    }

    fn backwards(&self, steps: &[Step]) -> Vec<u32> {
        let mut ids = vec![];
        let mut at = steps.len() - 1;
        while at > 0 {
            let step = steps[at];
            if step.id != self.unknown || ids.last() != Some(&step.id) {
                ids.push(step.id);
            }
            at = step.from as usize;
        }
        ids.reverse();
        ids
    }
}

/// Bytes of the character that begins with `first`; 1 for what begins none.
fn character_len(first: u8) -> usize {
    match first {
        0xC0..=0xDF => 2,
        0xE0..=0xEF => 3,
        0xF0.. => 4,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::text::vocabulary::Roles;

    fn lattice(entries: &[(&str, Kind, f32)]) -> Lattice {
        let vocabulary = Vocabulary {
            names: entries
                .iter()
                .map(|(name, _, _)| (*name).to_owned())
                .collect(),
            kinds: entries.iter().map(|(_, kind, _)| *kind).collect(),
            roles: Roles::default(),
        };
        let scores: Vec<f32> = entries.iter().map(|(_, _, score)| *score).collect();
        Lattice::new(&vocabulary, &scores, 0).unwrap()
    }

    #[test]
    fn kinds_decide_what_text_may_become() {
        let lattice = lattice(&[
            ("<unk>", Kind::Unknown, 0.0),
            ("ab", Kind::Control, 0.0),
            ("a", Kind::Normal, -1.0),
            ("b", Kind::Normal, -2.0),
            ("aa", Kind::Unused, -1.5),
            ("bb", Kind::UserDefined, -90.0),
            ("<0x63>", Kind::Byte(0x63), 0.0),
            ("cc", Kind::Undefined, 0.0),
        ]);
        let best = |text: &str| lattice.best(text.as_bytes());
        assert_eq!(best("ab"), [2, 3]);
        // As good as [4, 2, 3]: the end of "aaa" is reached by the entry that begins first.
        assert_eq!(best("aaab"), [2, 4, 3]);
        assert_eq!(best("abb"), [2, 5]);
        // Unknown characters in a row are one.
        assert_eq!(best("aéccb€"), [2, 0, 3, 0]);
        assert!(best("").is_empty());
        assert_eq!(best("<unk><0x63>"), [0]);
    }

    #[test]
    fn an_entry_too_long_is_refused() {
        let name = "x".repeat(LONGEST_ENTRY + 1);
        let vocabulary = Vocabulary {
            names: vec![name],
            kinds: vec![Kind::Normal],
            roles: Roles::default(),
        };
        assert!(Lattice::new(&vocabulary, &[0.0], 0).is_err());
    }

    proptest! {
        /// All ways to cut a short text, one by one, are the oracle.
        #[test]
        fn no_way_has_a_higher_sum(
            names in prop::collection::btree_map("[abé]{1,4}", -9i8..0, 1..12),
            text in "[abéc]{0,10}",
        ) {
            let mut entries = vec![("<unk>", Kind::Unknown, 0.0)];
            entries.extend(names.iter().map(|(name, &score)| (name.as_str(), Kind::Normal, f32::from(score))));
            let lattice = lattice(&entries);
            let lowest = f32::from(*names.values().min().unwrap()) - PENALTY;
            let mut best = vec![f32::MIN; text.len() + 1];
            best[0] = 0.0;
            for (end, _) in text.char_indices().map(|(at, c)| (at + c.len_utf8(), c)) {
                for (start, c) in text[..end].char_indices() {
                    let part = &text[start..end];
                    let score = match names.get(part) {
                        Some(&score) => f32::from(score),
                        None if part.len() == c.len_utf8() => lowest,
                        None => continue,
                    };
                    best[end] = best[end].max(best[start] + score);
                }
            }
            let ids = lattice.best(text.as_bytes());
            // Without unknown characters the ids spell the text, and their scores are the best sum.
            if !ids.contains(&0) {
                let spelled: String = ids.iter().map(|&id| entries[id as usize].0).collect();
                prop_assert_eq!(&spelled, &text);
                let sum: f32 = ids.iter().map(|&id| entries[id as usize].2).sum();
                prop_assert_eq!(sum, best[text.len()]);
            } else {
                prop_assert!(best[text.len()] <= lowest);
            }
        }
    }
}
