//! The output of `woollyctl batch run`: one line for each input line, in input order, all or nothing.
//!
//! The file has its name only when it is complete and on disk. A run that is broken off leaves an older output
//! untouched.

use std::collections::BTreeMap;
use std::io::{BufWriter, Write};
use std::path::Path;

use crate::job::State;
use crate::protocol::batch_line::OutputLine;

use super::Error;
use super::new_file::NewFile;
use super::wire::Job;

/// The file while it is written.
pub(super) struct Output {
    file: BufWriter<NewFile>,
    /// The index of the next line to write.
    next: usize,
    /// Lines that came before their turn. As many as lie between the slowest job and the last that ended.
    early: BTreeMap<usize, OutputLine>,
}

impl Output {
    pub(super) fn create(path: &Path) -> Result<Self, Error> {
        Ok(Output {
            file: BufWriter::new(NewFile::create(path)?),
            next: 0,
            early: BTreeMap::new(),
        })
    }

    /// Takes the line of input line `index`, in any order.
    pub(super) fn put(&mut self, index: usize, line: OutputLine) -> Result<(), Error> {
        self.early.insert(index, line);
        while let Some(line) = self.early.remove(&self.next) {
            writeln!(self.file, "{}", line.to_json())
                .map_err(|problem| self.file.get_ref().failed(&problem))?;
            self.next += 1;
        }
        Ok(())
    }

    /// Gives the file its name.
    pub(super) fn finish(mut self) -> Result<(), Error> {
        let flushed = self.file.flush();
        flushed.map_err(|problem| self.file.get_ref().failed(&problem))?;
        let (file, _) = self.file.into_parts();
        file.publish(true)
    }
}

/// The output line of a job that has ended.
pub(super) fn ended(custom_id: &str, job: &Job) -> OutputLine {
    let id = job.id.to_string();
    match job.state {
        State::Completed => {
            let body = job.raw.get("result").cloned().unwrap_or_default();
            OutputLine::answered(custom_id, &id, 200, body)
        }
        state => {
            let code = format!("job_{}", state.as_str());
            OutputLine::unanswered(custom_id, &id, &code, &job.problem())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::{Value, json};

    use super::*;

    fn line(id: &str) -> OutputLine {
        OutputLine::answered(id, "job_1", 200, Value::Null)
    }

    #[test]
    fn lines_are_written_in_input_order_and_the_name_appears_at_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out.jsonl");
        let mut output = Output::create(&path).unwrap();
        for (index, id) in [(2, "c"), (0, "a"), (1, "b")] {
            output.put(index, line(id)).unwrap();
        }
        assert!(!path.exists());
        output.finish().unwrap();
        let expected = ["a", "b", "c"].map(|id| line(id).to_json() + "\n").concat();
        assert_eq!(fs::read_to_string(&path).unwrap(), expected);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_run_that_is_broken_off_leaves_the_older_output() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out.jsonl");
        fs::write(&path, "older").unwrap();
        let mut output = Output::create(&path).unwrap();
        output.put(0, line("a")).unwrap();
        drop(output);
        assert_eq!(fs::read_to_string(&path).unwrap(), "older");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_directory_is_no_output() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Output::create(dir.path()).err().unwrap().code(), 2);
        assert_eq!(
            Output::create(&dir.path().join("missing/out"))
                .err()
                .unwrap()
                .code(),
            1
        );
    }

    #[test]
    fn a_job_is_answered_with_its_result_or_with_why_it_has_none() {
        let result = json!({"choices": [{"text": "x"}]});
        let job =
            Job::read(json!({"id": "job_9", "status": "completed", "result": result})).unwrap();
        assert_eq!(
            ended("a", &job),
            OutputLine::answered("a", "job_9", 200, result)
        );
        let job =
            Job::read(json!({"id": "job_9", "status": "failed", "error": "no luck"})).unwrap();
        assert_eq!(
            ended("a", &job),
            OutputLine::unanswered("a", "job_9", "job_failed", "job_9 failed: no luck")
        );
    }
}
