//! From sampling flags to the engine's parameters, for `woolly run`, which has no daemon to do it.

use crate::job::SamplingParams;

use super::Error;
use super::sampling::Sampling;

/// What a flag that is not given means. Temperature 0 and a fixed seed: the same command prints the same text.
const TEMPERATURE: f64 = 0.0;
const TOP_P: f64 = 1.0;
const SEED: u64 = 0;

/// Checks ranges; `max_tokens` is the default for that flag.
pub(super) fn params(sampling: &Sampling, max_tokens: u32) -> Result<SamplingParams, Error> {
    let temperature = sampling.temperature.unwrap_or(TEMPERATURE);
    if !(0.0..=1e3).contains(&temperature) {
        return Err(Error::Usage(format!(
            "--temperature is {temperature}; expected 0 to 1000"
        )));
    }
    let top_p = sampling.top_p.unwrap_or(TOP_P);
    if !(top_p > 0.0 && top_p <= 1.0) {
        return Err(Error::Usage(format!(
            "--top-p is {top_p}; expected more than 0 and at most 1"
        )));
    }
    if sampling.stop.iter().any(String::is_empty) {
        return Err(Error::Usage("--stop is empty; expected some text".into()));
    }
    Ok(SamplingParams {
        max_tokens: sampling.max_tokens.unwrap_or(max_tokens),
        temperature: temperature as f32,
        top_k: sampling.top_k.unwrap_or(0),
        top_p: top_p as f32,
        seed: sampling.seed.unwrap_or(SEED),
        stop: sampling.stop.clone(),
        ignore_eos: sampling.ignore_eos,
        logprobs: None,
        shaping: crate::job::Shaping::default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_that_are_not_given_mean_greedy() {
        let params = params(&Sampling::default(), 7).unwrap();
        assert_eq!(
            (params.max_tokens, params.temperature, params.top_p),
            (7, 0.0, 1.0)
        );
    }

    #[test]
    fn values_out_of_range_are_usage_errors_that_name_the_flag() {
        let cases = [
            (
                Sampling {
                    temperature: Some(-0.1),
                    ..Sampling::default()
                },
                "--temperature",
            ),
            (
                Sampling {
                    top_p: Some(0.0),
                    ..Sampling::default()
                },
                "--top-p",
            ),
            (
                Sampling {
                    top_p: Some(1.5),
                    ..Sampling::default()
                },
                "--top-p",
            ),
            (
                Sampling {
                    stop: vec![String::new()],
                    ..Sampling::default()
                },
                "--stop",
            ),
        ];
        for (sampling, flag) in cases {
            let error = params(&sampling, 1).unwrap_err();
            assert_eq!(error.code(), 2);
            assert!(error.to_string().contains(flag), "{error}");
        }
    }
}
