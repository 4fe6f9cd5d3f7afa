//! Prompt-lookup speculation: what followed the last tokens when they occurred before may follow again.
//!
//! A draft is computed in the same step as the last token, which costs little where a step is bound by reading
//! the weights. Each of its tokens is kept only if it is what would have been drawn anyway, from the same logits
//! with the same random numbers: so drafts change the speed and no byte.

/// Tokens of a draft at most.
pub(super) const MAX_DRAFT: usize = 7;
/// Last tokens that must have occurred before: the longer match is looked for first.
const MATCHES: [usize; 2] = [3, 2];
/// Drafted tokens after which the share that was kept is looked at.
const WINDOW: u32 = 32;
/// One of so many must have been kept, or the sequence is left alone for a while.
const KEPT_ONE_OF: u32 = 5;
/// Tokens for which it is.
const PAUSE: u32 = 64;

/// The tokens that followed the latest earlier occurrence of the last ones, at most `most`.
pub(super) fn propose(tokens: &[u32], most: usize) -> &[u32] {
    for length in MATCHES {
        let Some(start) = tokens.len().checked_sub(length).filter(|&start| start > 0) else {
            continue;
        };
        let last = &tokens[start..];
        let earlier = tokens[..tokens.len() - 1]
            .windows(length)
            .rposition(|window| window == last);
        if let Some(place) = earlier {
            let follow = place + length;
            return &tokens[follow..tokens.len().min(follow + most)];
        }
    }
    &[]
}

/// Whether drafts pay for one sequence.
#[derive(Debug, Default)]
pub(super) struct Record {
    drafted: u32,
    kept: u32,
    pause: u32,
}

impl Record {
    /// Asked before each token.
    pub(super) fn wants_draft(&mut self) -> bool {
        let wants = self.pause == 0;
        self.pause = self.pause.saturating_sub(1);
        wants
    }

    pub(super) fn learn(&mut self, drafted: usize, kept: usize) {
        self.drafted += drafted as u32;
        self.kept += kept as u32;
        if self.drafted >= WINDOW {
            if self.kept * KEPT_ONE_OF < self.drafted {
                self.pause = PAUSE;
            }
            (self.drafted, self.kept) = (0, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_followed_the_last_tokens_is_proposed() {
        assert_eq!(propose(&[1, 2, 3, 4, 5, 1, 2, 3], 3), [4, 5, 1]);
        assert_eq!(propose(&[1, 2, 3, 4, 5, 1, 2, 3], 9), [4, 5, 1, 2, 3]);
        // The latest occurrence counts, and two tokens are enough.
        assert_eq!(propose(&[7, 8, 1, 7, 8, 2, 9, 7, 8], 2), [2, 9]);
        assert_eq!(propose(&[4, 4, 4, 4], 2), [4]);
        assert!(propose(&[1, 2, 3, 4], 5).is_empty());
        assert!(propose(&[1, 1], 5).is_empty());
        assert!(propose(&[1], 5).is_empty());
        assert!(propose(&[], 5).is_empty());
    }

    #[test]
    fn a_sequence_whose_drafts_fail_is_left_alone_for_a_while() {
        let mut record = Record::default();
        for _ in 0..4 {
            assert!(record.wants_draft());
            record.learn(7, 1);
        }
        assert!(record.wants_draft(), "28 of the window of 32");
        record.learn(7, 1);
        let paused = (0..100).take_while(|_| !record.wants_draft()).count();
        assert_eq!(paused, PAUSE as usize);
        for _ in 0..20 {
            record.learn(5, 1);
            assert!(record.wants_draft(), "one of five is enough");
        }
    }
}
