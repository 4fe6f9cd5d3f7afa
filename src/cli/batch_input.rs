//! The input of `woollyctl batch run`: a file whose lines `protocol` reads.
//!
//! A file that cannot be used is refused before anything is submitted; a line that cannot run is kept with its
//! reason, for the output. Each request gets an idempotency key that
//! depends only on the file's bytes, the run's name, the line and the request, so that the same command finds
//! the same jobs again.

use std::collections::HashMap;

use crate::protocol::batch_line::{self, BatchLine, LineFormat};
use crate::protocol::{JobRequest, RequestError};

use super::sampling::Sampling;
use super::wire;

/// How the lines of a file are meant. (The variants have plain comments: with help texts of their own, clap
/// would print every flag of the verb in its long form.)
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    // By the first line: a JSON object makes it a batch file.
    Auto,
    // OpenAI batch lines.
    Openai,
    // Every line that is not blank is a prompt.
    Plain,
}

/// One request.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Request {
    pub(super) custom_id: String,
    /// What to submit, or why this line cannot run.
    pub(super) job: Result<JobRequest, RequestError>,
    /// The idempotency key, and the name of a request without a job.
    pub(super) key: String,
}

/// Why a file is refused; the sentence goes behind the file's name.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Problem {
    #[error("line {line}: {problem}")]
    Line { line: u64, problem: RequestError },
    #[error("line {line}: custom_id {id:?} was used before, in line {first}")]
    Duplicate { line: u64, first: u64, id: String },
    #[error(
        "its lines are batch requests, which say themselves how to sample: {flag} is for plain prompts"
    )]
    FlagsForRequests { flag: &'static str },
}

/// The requests of a file, in its order. `run` names a run: another name computes everything again.
pub(super) fn read(
    bytes: &[u8],
    format: Format,
    sampling: &Sampling,
    run: &str,
) -> Result<Vec<Request>, Problem> {
    let bad = |line| move |problem| Problem::Line { line, problem };
    let mut lines = Vec::new();
    for (number, line) in batch_line::lines(bytes) {
        lines.push((number, line.map_err(bad(number))?));
    }
    let format = match (format, lines.first()) {
        (Format::Openai, _) => LineFormat::OpenAi,
        (Format::Auto, Some((_, first))) => LineFormat::of(first),
        (Format::Plain, _) | (Format::Auto, None) => LineFormat::Prompts,
    };
    if format == LineFormat::OpenAi && *sampling != Sampling::default() {
        return Err(Problem::FlagsForRequests {
            flag: "a sampling flag",
        });
    }
    let file = *blake3::hash(bytes).as_bytes();
    let mut seen = HashMap::new();
    let mut requests = Vec::with_capacity(lines.len());
    for (number, text) in lines {
        let line = match format {
            LineFormat::OpenAi => BatchLine::openai(text).map_err(bad(number))?,
            LineFormat::Prompts => BatchLine::prompt(number, wire::request(text, sampling)),
        };
        let BatchLine { custom_id, request } = line;
        if let Some(first) = seen.insert(custom_id.clone(), number) {
            return Err(Problem::Duplicate {
                line: number,
                first,
                id: custom_id,
            });
        }
        requests.push(Request {
            key: key(&file, run, number, request.as_ref().ok()),
            custom_id,
            job: request,
        });
    }
    Ok(requests)
}

/// Lengths go in front, so that no two different sets of parts give the same bytes.
fn key(file: &[u8; 32], run: &str, line: u64, job: Option<&JobRequest>) -> String {
    let (endpoint, body) = match job {
        Some(job) => (job.endpoint.path(), job.body_text()),
        None => ("", Vec::new()),
    };
    let number = line.to_string();
    let mut hasher = blake3::Hasher::new();
    hasher.update(file);
    for part in [
        run.as_bytes(),
        number.as_bytes(),
        endpoint.as_bytes(),
        &body,
    ] {
        hasher.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_le_bytes());
        hasher.update(part);
    }
    let hash = hasher.finalize().to_hex();
    format!(
        "woollyctl-batch-{}",
        hash.chars().take(32).collect::<String>()
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn job(request: &Request) -> &JobRequest {
        request.job.as_ref().unwrap()
    }

    fn auto(text: &str) -> Result<Vec<Request>, Problem> {
        read(text.as_bytes(), Format::Auto, &Sampling::default(), "")
    }

    fn line(id: &str) -> String {
        let body = json!({"prompt": "x"});
        json!({"custom_id": id, "method": "POST", "url": "/v1/completions", "body": body})
            .to_string()
    }

    #[test]
    fn plain_lines_are_prompts_and_blank_ones_are_not() {
        let requests = auto("one\r\n\n  two\n").unwrap();
        let seen: Vec<_> = requests
            .iter()
            .map(|r| (r.custom_id.as_str(), &job(r).body["prompt"]))
            .collect();
        assert_eq!(
            seen,
            [("line-1", &json!("one")), ("line-3", &json!("  two"))]
        );
        assert_eq!(auto("").unwrap(), []);
    }

    #[test]
    fn a_prompt_that_begins_with_a_brace_is_still_a_prompt() {
        assert_eq!(auto("{curly\n").unwrap().len(), 1);
        let text = line("a");
        let plain = read(text.as_bytes(), Format::Plain, &Sampling::default(), "").unwrap();
        assert_eq!(job(&plain[0]).body["prompt"], json!(text));
    }

    #[test]
    fn a_file_with_a_line_that_nobody_could_be_answered_for_is_refused() {
        for (bad, word) in [("no json", "JSON"), (r#"{"method": "POST"}"#, "custom_id")] {
            let problem = auto(&format!("{}\n\n{bad}", line("a"))).unwrap_err();
            let problem = problem.to_string();
            assert!(
                problem.starts_with("line 3: ") && problem.contains(word),
                "{problem}"
            );
        }
    }

    #[test]
    fn a_line_that_cannot_run_leaves_the_others() {
        let requests = auto(&format!("{}\n{}", line("a"), r#"{"custom_id": "b"}"#)).unwrap();
        assert_eq!(job(&requests[0]).body["prompt"], "x");
        let problem = requests[1].job.as_ref().unwrap_err();
        assert_eq!(problem.param.as_deref(), Some("method"));
        assert_ne!(requests[0].key, requests[1].key);
    }

    #[test]
    fn a_custom_id_used_twice_is_refused_with_both_lines() {
        let text = format!("{}\n{}\n{}", line("a"), line("b"), line("a"));
        assert_eq!(
            auto(&text),
            Err(Problem::Duplicate {
                line: 3,
                first: 1,
                id: "a".into()
            })
        );
    }

    #[test]
    fn flags_for_prompts_are_refused_for_requests() {
        let sampling = Sampling {
            max_tokens: Some(4),
            ..Sampling::default()
        };
        let refused = read(line("a").as_bytes(), Format::Auto, &sampling, "");
        assert!(matches!(refused, Err(Problem::FlagsForRequests { .. })));
    }

    #[test]
    fn keys_are_the_same_for_the_same_command_and_differ_otherwise() {
        let keys = |text: &str, sampling: &Sampling, run: &str| -> Vec<String> {
            let requests = read(text.as_bytes(), Format::Auto, sampling, run).unwrap();
            requests.into_iter().map(|request| request.key).collect()
        };
        let default = Sampling::default();
        let first = keys("a\na\n", &default, "");
        assert_eq!(first, keys("a\na\n", &default, ""));
        assert_ne!(
            first[0], first[1],
            "equal prompts in two lines are two jobs"
        );
        assert_ne!(first[0], keys("a\na\nb\n", &default, "")[0], "another file");
        assert_ne!(
            first[0],
            keys("a\na\n", &default, "second")[0],
            "another run"
        );
        let cooler = Sampling {
            temperature: Some(0.0),
            ..default
        };
        assert_ne!(first[0], keys("a\na\n", &cooler, "")[0], "another request");
    }

    proptest! {
        #[test]
        fn any_file_is_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = read(&bytes, Format::Auto, &Sampling::default(), "");
            let _ = read(&bytes, Format::Openai, &Sampling::default(), "");
        }
    }
}
