//! The output of `woollyctl batch run`: one line for each input line, all or nothing.
//!
//! The file has its name only when it is complete and on disk. A run that is broken off leaves an older output
//! untouched.
//!
//! Invariant: lines that wait for their turn wait on disk; memory holds where.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::job::State;
use crate::protocol::batch_line::OutputLine;

use super::Error;
use super::new_file::{self, NewFile};
use super::wire::Job;

/// In which order answers are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// As they come.
    Completion,
    /// As their lines stand in the input.
    Input,
}

/// The file while it is written.
pub(super) struct Output {
    file: BufWriter<NewFile>,
    /// `None` writes lines as they come.
    turns: Option<Turns>,
}

/// Lines that came before their turn. As many as lie between the slowest job and the last that ended.
struct Turns {
    /// The index of the next line to write.
    next: u64,
    early: File,
    /// Where each of them stands in `early`.
    places: BTreeMap<u64, (u64, usize)>,
    /// The end of `early`.
    end: u64,
}

impl Output {
    pub(super) fn create(path: &Path, order: Order) -> Result<Self, Error> {
        let file = NewFile::create(path)?;
        let turns = match order {
            Order::Completion => None,
            Order::Input => {
                let early = new_file::nameless(new_file::directory(path));
                Some(Turns {
                    next: 0,
                    early: early.map_err(|problem| file.failed(&problem))?,
                    places: BTreeMap::new(),
                    end: 0,
                })
            }
        };
        Ok(Output {
            file: BufWriter::new(file),
            turns,
        })
    }

    /// Takes the line of input line `index`, in any order.
    pub(super) fn put(&mut self, index: u64, line: &OutputLine) -> Result<(), Error> {
        let mut text = line.to_json().into_bytes();
        text.push(b'\n');
        let written = match &mut self.turns {
            None => self.file.write_all(&text),
            Some(turns) => turns.put(index, &text, &mut self.file),
        };
        written.map_err(|problem| self.file.get_ref().failed(&problem))
    }

    /// Gives the file its name.
    pub(super) fn finish(mut self) -> Result<(), Error> {
        let flushed = self.file.flush();
        flushed.map_err(|problem| self.file.get_ref().failed(&problem))?;
        let (file, _) = self.file.into_parts();
        file.publish(true)
    }
}

impl Turns {
    fn put(&mut self, index: u64, text: &[u8], file: &mut impl Write) -> io::Result<()> {
        if index != self.next {
            self.early.write_all_at(text, self.end)?;
            self.places.insert(index, (self.end, text.len()));
            self.end += text.len() as u64;
            return Ok(());
        }
        file.write_all(text)?;
        self.next += 1;
        while let Some((place, bytes)) = self.places.remove(&self.next) {
            let mut text = vec![0; bytes];
            self.early.read_exact_at(&mut text, place)?;
            file.write_all(&text)?;
            self.next += 1;
        }
        if self.places.is_empty() {
            self.end = 0;
        }
        Ok(())
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

    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn line(id: &str) -> OutputLine {
        OutputLine::answered(id, "job_1", 200, Value::Null)
    }

    fn written(order: Order, lines: &[(u64, String)]) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out.jsonl");
        let mut output = Output::create(&path, order).unwrap();
        for (index, id) in lines {
            output.put(*index, &line(id)).unwrap();
        }
        assert!(!path.exists());
        output.finish().unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        let text = fs::read_to_string(&path).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn lines_are_written_as_they_come_and_the_name_appears_at_the_end() {
        let lines = [(2, "c".into()), (0, "a".into()), (1, "b".into())];
        let expected = ["c", "a", "b"].map(|id| line(id).to_json());
        assert_eq!(written(Order::Completion, &lines), expected);
    }

    proptest! {
        #[test]
        fn lines_are_written_in_input_order_whatever_order_they_come_in(
            lines in (0u64..40).prop_flat_map(|count| {
                let line = |index| (index, format!("{index}{}", "x".repeat(index as usize % 7)));
                Just((0..count).map(line).collect::<Vec<_>>()).prop_shuffle()
            }),
        ) {
            let mut expected = lines.clone();
            expected.sort();
            let expected: Vec<_> = expected.iter().map(|(_, id)| line(id).to_json()).collect();
            prop_assert_eq!(written(Order::Input, &lines), expected);
        }
    }

    #[test]
    fn a_run_that_is_broken_off_leaves_the_older_output() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out.jsonl");
        fs::write(&path, "older").unwrap();
        let mut output = Output::create(&path, Order::Input).unwrap();
        output.put(1, &line("a")).unwrap();
        drop(output);
        assert_eq!(fs::read_to_string(&path).unwrap(), "older");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_directory_is_no_output() {
        let dir = tempfile::tempdir().unwrap();
        let code = |path: &Path| Output::create(path, Order::Input).err().unwrap().code();
        assert_eq!(code(dir.path()), 2);
        assert_eq!(code(&dir.path().join("missing/out")), 1);
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
