//! The input of `woollyctl batch run`: a file, read record by record as requests.
//!
//! A file that cannot be used is refused before anything is submitted, so it is read three times: for its hash, to
//! look through it, and to run it. A line that cannot run is kept with its reason, for the output. Each request gets an
//! idempotency key that depends only on the file's bytes, the run's name, the line and the request, so that the
//! same command finds the same jobs again.
//!
//! Invariant: memory holds one record, and of the lines before it some 70 bytes each where ids are given.

use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::SystemTime;

use crate::protocol::batch_line::BatchLine;
use crate::protocol::{JobRequest, RequestError};

use super::batch_records::{Record, Records};
use super::batch_shape::{Reading, Shape};
use super::new_file::nameless;
use super::sampling::Sampling;
use super::{Error, wire};

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
    #[error("line {line}: {problem}")]
    Record { line: u64, problem: String },
    #[error("line {line}: custom_id {id:?} was used before, in line {first}")]
    Duplicate { line: u64, first: u64, id: String },
    #[error(
        "its lines are batch requests, which say themselves how to sample: a sampling flag is for prompts"
    )]
    FlagsForRequests,
    #[error(
        "its lines are {what}: --column, --template and --id-column are for tables and JSON objects (--format csv, tsv or jsonl)"
    )]
    ColumnsForLines { what: &'static str },
    #[error("it has no column {name:?}; there are {there}")]
    NoColumn { name: String, there: String },
    #[error(
        "which column holds the prompts? --column NAME or --template TEXT says so; there are {there}"
    )]
    WhichColumn { there: String },
    #[error("it has more than one column {name:?}")]
    SameColumns { name: String },
    #[error("cannot read it: {0}")]
    Read(String),
    #[error("it changed while it was read; nothing is written, and the same command begins again")]
    Changed,
}

impl Problem {
    pub(super) fn record(line: u64, problem: impl Into<String>) -> Self {
        Problem::Record {
            line,
            problem: problem.into(),
        }
    }

    /// The sentence with the name of the file before it.
    pub(super) fn of(self, path: &Path) -> Error {
        Error::Failed(format!("{}: {self}", path.display()))
    }
}

impl From<io::Error> for Problem {
    fn from(problem: io::Error) -> Self {
        Problem::Read(problem.to_string())
    }
}

/// A file that was looked through.
#[derive(Debug)]
pub(super) struct Input {
    file: File,
    stamp: Stamp,
    shape: Shape,
    hash: [u8; 32],
    run: String,
    sampling: Sampling,
    count: u64,
}

/// Changes when somebody writes the file.
type Stamp = (u64, Option<SystemTime>);

fn stamp(metadata: &Metadata) -> Stamp {
    (metadata.len(), metadata.modified().ok())
}

impl Input {
    /// Opens the file and looks through it. What comes through a pipe is kept meanwhile in `scratch`, a
    /// directory. `run` names a run: another name computes everything again.
    pub(super) fn open(
        path: &Path,
        scratch: &Path,
        reading: &Reading,
        sampling: &Sampling,
        run: &str,
    ) -> Result<Self, Problem> {
        let mut file = File::open(path)?;
        if !file.metadata()?.is_file() {
            let mut copy = nameless(scratch)?;
            io::copy(&mut file, &mut copy)?;
            file = copy;
        }
        let mut hasher = blake3::Hasher::new();
        hasher.update_reader(At::start(&file))?;
        let mut input = Input {
            stamp: stamp(&file.metadata()?),
            shape: Shape::of(&file, path, reading)?,
            file,
            hash: *hasher.finalize().as_bytes(),
            run: run.to_owned(),
            sampling: sampling.clone(),
            count: 0,
        };
        if matches!(input.shape, Shape::Requests) && *sampling != Sampling::default() {
            return Err(Problem::FlagsForRequests);
        }
        input.count = input.look_through()?;
        Ok(input)
    }

    /// How many requests there are.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// The requests in the order of the file.
    pub(super) fn requests(&self) -> impl Iterator<Item = Result<Request, Problem>> {
        let records = Records::new(At::start(&self.file), self.shape.layout());
        records.map(|record| {
            let (line, record) = record?;
            self.request(line, &record)
        })
    }

    /// Fails if the file is not the one that was looked through any more.
    pub(super) fn check_unchanged(&self) -> Result<(), Problem> {
        match stamp(&self.file.metadata()?) == self.stamp {
            true => Ok(()),
            false => Err(Problem::Changed),
        }
    }

    fn look_through(&self) -> Result<u64, Problem> {
        // Half a hash is enough to tell ids apart, and has the same size for all of them.
        let mut seen: HashMap<[u8; 16], u64> = HashMap::new();
        let mut count = 0;
        let records = Records::new(At::start(&self.file), self.shape.layout());
        for record in records {
            let (line, record) = record?;
            let id = self.line(line, &record)?.custom_id;
            count += 1;
            if !self.shape.names_its_lines() {
                continue;
            }
            let mut half = [0; 16];
            blake3::Hasher::new()
                .update(id.as_bytes())
                .finalize_xof()
                .fill(&mut half);
            if let Some(first) = seen.insert(half, line) {
                return Err(Problem::Duplicate { line, first, id });
            }
        }
        Ok(count)
    }

    fn line(&self, line: u64, record: &Record) -> Result<BatchLine, Problem> {
        match (&self.shape, record) {
            (Shape::Requests, Record::Line(text)) => {
                BatchLine::openai(text).map_err(|problem| Problem::Line { line, problem })
            }
            (Shape::Prompts, Record::Line(text)) => {
                let request = wire::request(text, &self.sampling);
                Ok(BatchLine::prompt(line, request))
            }
            (Shape::Records { columns, .. }, record) => {
                let (prompt, id) = columns
                    .read(record)
                    .map_err(|problem| Problem::Record { line, problem })?;
                let mut made = BatchLine::prompt(line, wire::request(&prompt, &self.sampling));
                made.custom_id = id.unwrap_or(made.custom_id);
                Ok(made)
            }
            (_, Record::Row(_)) => Err(Problem::record(line, "a row where a line was expected")),
        }
    }

    fn request(&self, line: u64, record: &Record) -> Result<Request, Problem> {
        let BatchLine { custom_id, request } = self.line(line, record)?;
        Ok(Request {
            key: key(&self.hash, &self.run, line, request.as_ref().ok()),
            custom_id,
            job: request,
        })
    }
}

/// Reads a file from its start, whatever else reads it.
pub(super) struct At<'a> {
    file: &'a File,
    position: u64,
}

impl<'a> At<'a> {
    pub(super) fn start(file: &'a File) -> Self {
        At { file, position: 0 }
    }
}

impl Read for At<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buffer, self.position)?;
        self.position += read as u64;
        Ok(read)
    }
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

    use super::super::batch_shape::Format;
    use super::*;

    fn job(request: &Request) -> &JobRequest {
        request.job.as_ref().unwrap()
    }

    fn read(
        name: &str,
        bytes: &[u8],
        reading: &Reading,
        sampling: &Sampling,
        run: &str,
    ) -> Result<Vec<Request>, Problem> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let input = Input::open(&path, dir.path(), reading, sampling, run)?;
        let requests: Vec<Request> = input.requests().collect::<Result<_, _>>()?;
        assert_eq!(input.count(), requests.len() as u64);
        input.check_unchanged()?;
        Ok(requests)
    }

    fn auto(text: &str) -> Result<Vec<Request>, Problem> {
        let bytes = text.as_bytes();
        read("in", bytes, &Reading::default(), &Sampling::default(), "")
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
        let reading = Reading {
            format: Format::Plain,
            ..Reading::default()
        };
        let plain = read("in", text.as_bytes(), &reading, &Sampling::default(), "").unwrap();
        assert_eq!(job(&plain[0]).body["prompt"], json!(text));
    }

    #[test]
    fn a_file_that_changes_is_not_taken_for_the_one_that_was_looked_through() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("in");
        std::fs::write(&path, "one\n").unwrap();
        let (reading, sampling) = (Reading::default(), Sampling::default());
        let input = Input::open(&path, dir.path(), &reading, &sampling, "").unwrap();
        std::fs::write(&path, "one\ntwo\n").unwrap();
        assert_eq!(input.check_unchanged(), Err(Problem::Changed));
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
        let text = line("a");
        let refused = read("in", text.as_bytes(), &Reading::default(), &sampling, "");
        assert_eq!(refused, Err(Problem::FlagsForRequests));
    }

    #[test]
    fn keys_are_the_same_for_the_same_command_and_differ_otherwise() {
        let keys = |text: &str, sampling: &Sampling, run: &str| -> Vec<String> {
            let requests = read("in", text.as_bytes(), &Reading::default(), sampling, run);
            requests
                .unwrap()
                .into_iter()
                .map(|request| request.key)
                .collect()
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
            let column = Reading {
                column: Some("a".to_owned()),
                ..Reading::default()
            };
            for name in ["in", "in.csv"] {
                let _ = read(name, &bytes, &Reading::default(), &Sampling::default(), "");
                let _ = read(name, &bytes, &column, &Sampling::default(), "");
            }
        }
    }
}
