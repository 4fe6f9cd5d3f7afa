//! The input of `woollyctl batch run`: a file, read record by record as requests.
//!
//! A file that cannot be used is refused before anything is submitted, so it is read three times: for its hash, to
//! look through it, and to run it. A line that cannot run is kept with its reason, for the output.
//!
//! Invariant: memory holds one record, and of the lines before it some 70 bytes each where ids are given.

use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::io::{self, Read, Seek, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::SystemTime;

use crate::protocol::batch_line::BatchLine;
use crate::protocol::{JobRequest, RequestError};

use super::batch_key::key;
use super::batch_problem::Problem;
use super::batch_records::{Record, Records};
use super::batch_shape::{Reading, Shape};
use super::new_file::{Identity, identity, nameless};
use super::sampling::Sampling;
use super::schedule::Schedule;
use super::{render, wire};

/// Bytes of standard input that are copied at once.
const PIECE: usize = 64 << 10;
/// The path that means standard input.
pub(super) const STANDARD_INPUT: &str = "-";

/// One request.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Request {
    pub(super) custom_id: String,
    /// What to submit, or why this line cannot run.
    pub(super) job: Result<JobRequest, RequestError>,
    /// The idempotency key, and the name of a request without a job.
    pub(super) key: String,
}

/// A file that was looked through.
#[derive(Debug)]
pub(super) struct Input {
    file: File,
    /// What the path means: `file`, or what came through a pipe into it.
    source: Identity,
    stamp: Stamp,
    shape: Shape,
    hash: [u8; 32],
    asked: Asked,
    count: u64,
}

/// What the command line asks for, besides the file.
#[derive(Debug, Clone, Default)]
pub(super) struct Asked {
    pub(super) reading: Reading,
    pub(super) sampling: Sampling,
    pub(super) schedule: Schedule,
    /// The name of the run: another name computes everything again.
    pub(super) run: String,
}

/// Changes when somebody writes the file.
type Stamp = (u64, Option<SystemTime>);

fn stamp(metadata: &Metadata) -> Stamp {
    (metadata.len(), metadata.modified().ok())
}

impl Input {
    /// Opens the file and looks through it. What comes through a pipe is kept meanwhile in `scratch`, a directory.
    pub(super) fn open(path: &Path, scratch: &Path, asked: &Asked) -> Result<Self, Problem> {
        let mut file = match path == Path::new(STANDARD_INPUT) {
            true => File::from(io::stdin().as_fd().try_clone_to_owned()?),
            false => File::open(path)?,
        };
        let source = identity(&file.metadata()?);
        // Somebody else may have read the beginning of standard input: only the rest is meant.
        if !file.metadata()?.is_file() || file.stream_position()? > 0 {
            file = copy(&mut file, scratch)?;
        }
        // Taken before the first look at the content, so that no change falls between them.
        let stamp = stamp(&file.metadata()?);
        let mut hasher = blake3::Hasher::new();
        hasher.update_reader(At::start(&file))?;
        let mut input = Input {
            source,
            stamp,
            shape: Shape::of(&file, path, &asked.reading)?,
            file,
            hash: *hasher.finalize().as_bytes(),
            asked: asked.clone(),
            count: 0,
        };
        if matches!(input.shape, Shape::Requests) && asked.sampling != Sampling::default() {
            return Err(Problem::FlagsForRequests);
        }
        input.count = input.look_through()?;
        Ok(input)
    }

    /// Whether the input is the file at `path`.
    pub(super) fn is(&self, path: &Path) -> bool {
        std::fs::metadata(path).is_ok_and(|there| identity(&there) == self.source)
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
                let request = wire::request(text, &self.asked.sampling);
                Ok(BatchLine::prompt(line, request))
            }
            (Shape::Records { columns, .. }, record) => {
                let (prompt, id) = columns
                    .read(record)
                    .map_err(|problem| Problem::Record { line, problem })?;
                let mut made =
                    BatchLine::prompt(line, wire::request(&prompt, &self.asked.sampling));
                made.custom_id = id.unwrap_or(made.custom_id);
                Ok(made)
            }
            (_, Record::Row(_)) => Err(Problem::record(line, "a row where a line was expected")),
        }
    }

    fn request(&self, line: u64, record: &Record) -> Result<Request, Problem> {
        let BatchLine { custom_id, request } = self.line(line, record)?;
        let job = request.map(|mut job| {
            self.asked.schedule.put_into(&mut job, render::now());
            job
        });
        Ok(Request {
            key: key(&self.hash, &self.asked.run, line, job.as_ref().ok()),
            custom_id,
            job,
        })
    }
}

/// All that is left to read, in a file without a name.
fn copy(from: &mut File, directory: &Path) -> Result<File, Problem> {
    let failed = |problem: io::Error| Problem::Copy {
        directory: directory.display().to_string(),
        problem: problem.to_string(),
    };
    let mut kept = nameless(directory).map_err(failed)?;
    let mut piece = vec![0; PIECE];
    loop {
        match from.read(&mut piece)? {
            0 => return Ok(kept),
            count => kept
                .write_all(piece.get(..count).unwrap_or_default())
                .map_err(failed)?,
        }
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::super::batch_shape::Format;
    use super::*;

    fn job(request: &Request) -> &JobRequest {
        request.job.as_ref().unwrap()
    }

    fn read(name: &str, bytes: &[u8], asked: &Asked) -> Result<Vec<Request>, Problem> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let input = Input::open(&path, dir.path(), asked)?;
        let requests: Vec<Request> = input.requests().collect::<Result<_, _>>()?;
        assert_eq!(input.count(), requests.len() as u64);
        input.check_unchanged()?;
        Ok(requests)
    }

    fn auto(text: &str) -> Result<Vec<Request>, Problem> {
        read("in", text.as_bytes(), &Asked::default())
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
    fn a_line_that_begins_with_a_brace_is_a_prompt_where_the_format_says_so() {
        let mut plain = Asked::default();
        plain.reading.format = Format::Plain;
        for text in [line("a"), "{curly".to_owned()] {
            let requests = read("in", text.as_bytes(), &plain).unwrap();
            assert_eq!(job(&requests[0]).body["prompt"], json!(text));
        }
    }

    #[test]
    fn a_file_that_changes_is_not_taken_for_the_one_that_was_looked_through() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("in");
        std::fs::write(&path, "one\n").unwrap();
        let input = Input::open(&path, dir.path(), &Asked::default()).unwrap();
        assert_eq!(input.check_unchanged(), Ok(()));
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
        let mut asked = Asked::default();
        asked.sampling.max_tokens = Some(4);
        let refused = read("in", line("a").as_bytes(), &asked);
        assert_eq!(refused, Err(Problem::FlagsForRequests));
    }

    proptest! {
        #[test]
        fn any_file_is_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut column = Asked::default();
            column.reading.column = Some("a".to_owned());
            for name in ["in", "in.csv"] {
                let _ = read(name, &bytes, &Asked::default());
                let _ = read(name, &bytes, &column);
            }
        }
    }
}
