//! Logits as a job wants them changed before a draw: biases, then penalties on tokens that occurred.
//!
//! `repeat_penalty` divides a positive logit and multiplies any other, for tokens of the prompt and the output;
//! `frequency_penalty` is subtracted once for each occurrence in the output, `presence_penalty` once if there is
//! any. Each token is changed by itself, so no order matters.

use std::collections::BTreeMap;

use crate::job::Shaping;

/// Occurrences of one token.
#[derive(Debug, Clone, Copy, Default)]
struct Occurrences {
    in_prompt: bool,
    in_output: u32,
}

/// The changes of one sequence; see [`Shaper::new`].
#[derive(Debug)]
pub(super) struct Shaper {
    shaping: Shaping,
    seen: BTreeMap<u32, Occurrences>,
}

impl Shaper {
    /// `None` when no logit is ever changed.
    pub(super) fn new(shaping: &Shaping, prompt: &[u32]) -> Option<Self> {
        let Shaping {
            repeat_penalty,
            presence_penalty,
            frequency_penalty,
            ref logit_bias,
            ..
        } = *shaping;
        let penalizes =
            repeat_penalty != 1.0 || presence_penalty != 0.0 || frequency_penalty != 0.0;
        if !penalizes && logit_bias.is_empty() {
            return None;
        }
        let mut seen = BTreeMap::new();
        if repeat_penalty != 1.0 {
            let occurred = Occurrences {
                in_prompt: true,
                in_output: 0,
            };
            seen.extend(prompt.iter().map(|&id| (id, occurred)));
        }
        Some(Shaper {
            shaping: shaping.clone(),
            seen,
        })
    }

    /// A token was generated.
    pub(super) fn note(&mut self, id: u32) {
        self.seen.entry(id).or_default().in_output += 1;
    }

    /// The changed logits, in `row`.
    pub(super) fn apply<'r>(&self, logits: &[f32], row: &'r mut Vec<f32>) -> &'r [f32] {
        row.clear();
        row.extend_from_slice(logits);
        for &(id, bias) in &self.shaping.logit_bias {
            if let Some(logit) = row.get_mut(id as usize) {
                *logit += bias;
            }
        }
        let Shaping {
            repeat_penalty,
            presence_penalty,
            frequency_penalty,
            ..
        } = self.shaping;
        for (&id, occurrences) in &self.seen {
            let Some(logit) = row.get_mut(id as usize) else {
                continue;
            };
            let Occurrences {
                in_prompt,
                in_output,
            } = *occurrences;
            if in_prompt || in_output > 0 {
                *logit = match *logit > 0.0 {
                    true => *logit / repeat_penalty,
                    false => *logit * repeat_penalty,
                };
            }
            if in_output > 0 {
                *logit -= in_output as f32 * frequency_penalty + presence_penalty;
            }
        }
        row
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOGITS: [f32; 5] = [2.0, -2.0, 4.0, 0.0, 1.0];

    fn applied(shaping: &Shaping, prompt: &[u32], output: &[u32]) -> Vec<f32> {
        let mut shaper = Shaper::new(shaping, prompt).unwrap();
        output.iter().for_each(|&id| shaper.note(id));
        shaper.apply(&LOGITS, &mut vec![9.0; 3]).to_vec()
    }

    #[test]
    fn what_changes_nothing_is_not_there() {
        let shaping = Shaping {
            min_p: 0.5,
            typical_p: 0.5,
            min_tokens: 3,
            stop_tokens: vec![1],
            ..Shaping::default()
        };
        assert!(Shaper::new(&shaping, &[1, 2]).is_none());
    }

    #[test]
    fn biases_are_added_to_their_tokens() {
        let shaping = Shaping {
            logit_bias: vec![(1, 3.0), (4, -100.0), (77, 1.0)],
            ..Shaping::default()
        };
        assert_eq!(applied(&shaping, &[], &[1, 1]), [2.0, 1.0, 4.0, 0.0, -99.0]);
    }

    #[test]
    fn repetition_counts_prompt_and_output_and_pushes_logits_down_on_both_sides_of_zero() {
        let shaping = Shaping {
            repeat_penalty: 2.0,
            ..Shaping::default()
        };
        assert_eq!(
            applied(&shaping, &[0, 1], &[2, 2]),
            [1.0, -4.0, 2.0, 0.0, 1.0]
        );
    }

    #[test]
    fn presence_and_frequency_count_the_output_only() {
        let shaping = Shaping {
            presence_penalty: 0.5,
            frequency_penalty: 0.25,
            ..Shaping::default()
        };
        assert_eq!(
            applied(&shaping, &[0], &[2, 2, 3]),
            [2.0, -2.0, 3.0, -0.75, 1.0]
        );
        let rewarding = Shaping {
            frequency_penalty: -1.0,
            ..Shaping::default()
        };
        assert_eq!(applied(&rewarding, &[], &[1]), [2.0, -1.0, 4.0, 0.0, 1.0]);
    }

    #[test]
    fn a_bias_comes_before_the_penalty() {
        let shaping = Shaping {
            repeat_penalty: 2.0,
            logit_bias: vec![(1, 6.0)],
            ..Shaping::default()
        };
        assert_eq!(applied(&shaping, &[1], &[])[1], 2.0);
    }
}
