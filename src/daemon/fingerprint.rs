//! Everything that the output of a job depends on, in one word: pure.
//!
//! Equal fingerprints give equal events. What only changes how they are written down (the endpoint, whether the ids of
//! tokens are listed) is not part of it; nor is the seed where nothing is drawn.

use crate::job::{SamplingParams, Sequence, Shaping, Spec};

/// Hashes the job with the fingerprint of the model that runs it.
pub(super) fn of(spec: &Spec, model: &str) -> [u8; 32] {
    // Taken apart without a rest, so that what is new must find its place here.
    let Spec {
        sequences,
        params,
        echo: _,
        return_token_ids: _,
        reuse: _,
        warnings: _,
    } = spec;
    let mut words = Words(blake3::Hasher::new());
    words.bytes(model.as_bytes());
    words.number(sequences.len() as u64);
    for Sequence { prompt } in sequences {
        words.number(prompt.len() as u64);
        for &id in prompt {
            words.number(u64::from(id));
        }
    }
    words.number(u64::from(spec.scores_prompts()));
    words.params(params);
    *words.0.finalize().as_bytes()
}

/// Enough of it to tell the few apart that one job can have.
pub(super) fn in_short([a, b, c, d, ..]: [u8; 32]) -> u32 {
    u32::from_be_bytes([a, b, c, d])
}

/// Every part has a fixed size or its length before it, so that no two jobs give the same bytes.
struct Words(blake3::Hasher);

impl Words {
    fn number(&mut self, number: u64) {
        self.0.update(&number.to_le_bytes());
    }

    fn float(&mut self, float: f32) {
        self.number(u64::from(float.to_bits()));
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.update(bytes);
    }

    fn params(&mut self, params: &SamplingParams) {
        let SamplingParams {
            max_tokens,
            temperature,
            top_k,
            top_p,
            seed,
            stop,
            ignore_eos,
            logprobs,
            shaping,
        } = params;
        self.number(u64::from(*max_tokens));
        self.float(*temperature);
        self.number(u64::from(*top_k));
        self.float(*top_p);
        self.number(if *temperature == 0.0 { 0 } else { *seed });
        self.number(stop.len() as u64);
        for text in stop {
            self.bytes(text.as_bytes());
        }
        self.number(u64::from(*ignore_eos));
        self.number(logprobs.map_or(0, |top| u64::from(top) + 1));
        self.shaping(shaping);
    }

    fn shaping(&mut self, shaping: &Shaping) {
        let Shaping {
            min_p,
            typical_p,
            repeat_penalty,
            presence_penalty,
            frequency_penalty,
            logit_bias,
            min_tokens,
            stop_tokens,
        } = shaping;
        for float in [
            min_p,
            typical_p,
            repeat_penalty,
            presence_penalty,
            frequency_penalty,
        ] {
            self.float(*float);
        }
        self.number(logit_bias.len() as u64);
        for (id, bias) in logit_bias {
            self.number(u64::from(*id));
            self.float(*bias);
        }
        self.number(u64::from(*min_tokens));
        self.number(stop_tokens.len() as u64);
        for id in stop_tokens {
            self.number(u64::from(*id));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> Spec {
        Spec {
            sequences: vec![
                Sequence { prompt: vec![1, 2] },
                Sequence { prompt: vec![3] },
            ],
            params: SamplingParams {
                max_tokens: 9,
                temperature: 0.5,
                top_k: 0,
                top_p: 1.0,
                seed: 7,
                stop: vec!["ab".to_owned(), "c".to_owned()],
                ignore_eos: false,
                logprobs: None,
                shaping: Shaping::default(),
            },
            echo: false,
            return_token_ids: false,
            reuse: None,
            warnings: vec![],
        }
    }

    #[test]
    fn everything_that_changes_the_output_changes_the_fingerprint() {
        type Change = fn(&mut Spec);
        let changes: [Change; 21] = [
            |_| {},
            |spec| spec.sequences[0].prompt = vec![1],
            |spec| spec.sequences[1].prompt = vec![2, 3],
            |spec| spec.sequences.swap(0, 1),
            |spec| spec.params.max_tokens = 8,
            |spec| spec.params.temperature = 0.25,
            |spec| spec.params.top_k = 1,
            |spec| spec.params.top_p = 0.5,
            |spec| spec.params.seed = 8,
            |spec| spec.params.stop = vec!["a".to_owned(), "bc".to_owned()],
            |spec| spec.params.ignore_eos = true,
            |spec| spec.params.logprobs = Some(0),
            |spec| spec.params.logprobs = Some(1),
            |spec| spec.params.shaping.min_p = 0.1,
            |spec| spec.params.shaping.typical_p = 0.1,
            |spec| spec.params.shaping.repeat_penalty = 1.1,
            |spec| spec.params.shaping.presence_penalty = 1.1,
            |spec| spec.params.shaping.frequency_penalty = 1.1,
            |spec| spec.params.shaping.logit_bias = vec![(1, 1.0)],
            |spec| spec.params.shaping.min_tokens = 1,
            |spec| spec.params.shaping.stop_tokens = vec![1],
        ];
        let mut all: Vec<[u8; 32]> = vec![of(&spec(), "other")];
        for change in changes {
            let mut changed = spec();
            change(&mut changed);
            let fingerprint = of(&changed, "model");
            assert!(!all.contains(&fingerprint), "{changed:?}");
            all.push(fingerprint);
        }
        let echoed = |logprobs| {
            let mut spec = spec();
            spec.echo = true;
            spec.params.logprobs = logprobs;
            of(&spec, "model")
        };
        assert_eq!(echoed(None), all[1], "only written down otherwise");
        assert!(!all.contains(&echoed(Some(0))), "prompts are scored");
    }

    #[test]
    fn the_seed_counts_where_something_is_drawn() {
        let greedy = |seed| {
            let mut spec = spec();
            (spec.params.temperature, spec.params.seed) = (0.0, seed);
            of(&spec, "model")
        };
        assert_eq!(greedy(1), greedy(2));
    }
}
