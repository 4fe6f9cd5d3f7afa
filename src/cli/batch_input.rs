//! The input of `woollyctl batch run`: OpenAI batch lines, or one prompt a line.
//!
//! The whole file is checked before anything is submitted. Each request gets an idempotency key that
//! depends only on the file's bytes, the run's name, the line and the request, so that the same command finds
//! the same jobs again.

use std::collections::HashMap;

use serde_json::Value;

use crate::job::Endpoint;

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
    pub(super) endpoint: Endpoint,
    pub(super) body: Value,
    /// The idempotency key.
    pub(super) key: String,
}

/// Why a file is refused; the sentence goes behind the file's name.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Problem {
    #[error("line {line}: {problem}")]
    Line { line: usize, problem: String },
    #[error("line {line}: custom_id {id:?} was used before, in line {first}")]
    Duplicate {
        line: usize,
        first: usize,
        id: String,
    },
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
    let mut lines = Vec::new();
    for (index, line) in bytes.split(|&byte| byte == b'\n').enumerate() {
        let number = index + 1;
        let text = std::str::from_utf8(line).map_err(|_| bad(number, "this is no UTF-8 text"))?;
        let text = text.strip_suffix('\r').unwrap_or(text);
        if !text.trim().is_empty() {
            lines.push((number, text));
        }
    }
    let first_is_object = || {
        let first = lines
            .first()
            .map(|(_, text)| serde_json::from_str::<Value>(text));
        matches!(first, Some(Ok(Value::Object(_))))
    };
    let openai = match format {
        Format::Openai => true,
        Format::Plain => false,
        Format::Auto => first_is_object(),
    };
    if openai && *sampling != Sampling::default() {
        return Err(Problem::FlagsForRequests {
            flag: "a sampling flag",
        });
    }
    let file = *blake3::hash(bytes).as_bytes();
    let mut seen = HashMap::new();
    let mut requests = Vec::with_capacity(lines.len());
    for (number, text) in lines {
        let (custom_id, endpoint, body) = if openai {
            batch_line(text).map_err(|problem| bad(number, &problem))?
        } else {
            let (endpoint, body) = wire::request(text, sampling);
            (format!("line-{number}"), endpoint, body)
        };
        if let Some(first) = seen.insert(custom_id.clone(), number) {
            return Err(Problem::Duplicate {
                line: number,
                first,
                id: custom_id,
            });
        }
        let key = key(&file, run, number, endpoint, &body);
        requests.push(Request {
            custom_id,
            endpoint,
            body,
            key,
        });
    }
    Ok(requests)
}

fn bad(line: usize, problem: &str) -> Problem {
    Problem::Line {
        line,
        problem: problem.to_owned(),
    }
}

/// `{"custom_id": "..", "method": "POST", "url": "/v1/..", "body": {..}}`
fn batch_line(text: &str) -> Result<(String, Endpoint, Value), String> {
    let mut line: Value =
        serde_json::from_str(text).map_err(|problem| format!("this is no JSON: {problem}"))?;
    let custom_id = match line.get("custom_id").and_then(Value::as_str) {
        Some(id) => id.to_owned(),
        None => return Err("custom_id is missing or no string".into()),
    };
    match line.get("method").and_then(Value::as_str) {
        Some("POST") => {}
        _ => return Err("method must be \"POST\"".into()),
    }
    let url = line.get("url").and_then(Value::as_str).unwrap_or_default();
    let endpoint = Endpoint::from_path(url).ok_or_else(|| {
        let known: Vec<&str> = Endpoint::ALL.into_iter().map(Endpoint::path).collect();
        format!("url is {url:?} and must be one of {}", known.join(", "))
    })?;
    let body = line.get_mut("body").map(Value::take).unwrap_or_default();
    if !body.is_object() {
        return Err("body is missing or no object".into());
    }
    if body
        .get("stream")
        .is_some_and(|stream| stream != &Value::Bool(false))
    {
        return Err("stream has no meaning in a batch".into());
    }
    Ok((custom_id, endpoint, body))
}

/// Lengths go in front, so that no two different sets of parts give the same bytes.
fn key(file: &[u8; 32], run: &str, line: usize, endpoint: Endpoint, body: &Value) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(file);
    for part in [run, &line.to_string(), endpoint.path(), &body.to_string()] {
        hasher.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_le_bytes());
        hasher.update(part.as_bytes());
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
            .map(|r| (r.custom_id.as_str(), &r.body["prompt"]))
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
        assert_eq!(plain[0].body["prompt"], json!(text));
    }

    #[test]
    fn batch_lines_are_taken_as_they_are() {
        let requests = auto(&line("a")).unwrap();
        assert_eq!(requests[0].custom_id, "a");
        assert_eq!(requests[0].endpoint, Endpoint::Completions);
        assert_eq!(requests[0].body, json!({"prompt": "x"}));
    }

    #[test]
    fn every_mistake_names_its_line() {
        let good = line("a");
        let cases = [
            ("no json", "no JSON"),
            (r#"{"method": "POST"}"#, "custom_id"),
            (r#"{"custom_id": "b", "method": "GET"}"#, "method"),
            (
                r#"{"custom_id": "b", "method": "POST", "url": "/v1/embeddings"}"#,
                "/v1/embeddings",
            ),
            (
                r#"{"custom_id": "b", "method": "POST", "url": "/v1/completions"}"#,
                "body",
            ),
            (
                r#"{"custom_id": "b", "method": "POST", "url": "/v1/completions", "body": {"stream": true}}"#,
                "stream",
            ),
        ];
        for (bad, word) in cases {
            let problem = auto(&format!("{good}\n\n{bad}")).unwrap_err().to_string();
            assert!(
                problem.starts_with("line 3: ") && problem.contains(word),
                "{problem}"
            );
        }
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
