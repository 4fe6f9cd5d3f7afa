//! One line of `woollyctl batch run`, from its request to its answer.

use crate::job::State;
use crate::protocol::JobRequest;
use crate::protocol::batch_line::OutputLine;

use super::batch_gate::Gate;
use super::batch_input::Request;
use super::batch_key::attempt;
use super::reconnect::Link;
use super::wire::Job;
use super::{Error, batch_output, watch};

/// What became of one line.
pub(super) struct Answered {
    pub(super) line: OutputLine,
    pub(super) completed: bool,
    /// The job had already ended when this run submitted it.
    pub(super) earlier: bool,
    pub(super) prompt_tokens: u64,
    pub(super) completion_tokens: u64,
}

/// What all lines of a run share.
pub(super) struct Lines {
    pub(super) link: Link,
    pub(super) gate: Gate,
    /// Whether a line whose job ended without an answer before this run gets another job.
    pub(super) retry_failed: bool,
}

impl Lines {
    /// Submits one line and waits for its end. An error is one of the run, not of the line.
    pub(super) async fn answer(&self, request: Request) -> Result<Answered, Error> {
        let Request {
            custom_id,
            job,
            key,
        } = request;
        let job = match job {
            Ok(job) => job,
            Err(error) => {
                let line = OutputLine::refused(&custom_id, &key, error);
                return Ok(Answered::refused(line));
            }
        };
        let answered = match self.ended(&job, &key).await {
            Ok((job, earlier)) => {
                let (prompt_tokens, completion_tokens) = job.usage();
                Answered {
                    line: batch_output::ended(&custom_id, &job),
                    completed: job.state == State::Completed,
                    earlier,
                    prompt_tokens,
                    completion_tokens,
                }
            }
            Err(Unanswered::Line(status, body)) => {
                Answered::refused(OutputLine::answered(&custom_id, &key, status, body))
            }
            Err(Unanswered::Run(error)) => return Err(error),
        };
        self.gate.leave();
        Ok(answered)
    }

    /// The job of a line when it has ended, and whether it had ended before.
    async fn ended(&self, job: &JobRequest, key: &str) -> Result<(Job, bool), Unanswered> {
        let mut attempts = 0;
        let submitted = loop {
            let key = attempt(key, attempts);
            let submitted = self.gate.submit(&self.link, job, &key).await;
            let submitted = submitted.map_err(Unanswered::of_submit)?;
            // A job that was just accepted has not failed yet: this one is of an earlier run.
            match submitted.state {
                State::Failed | State::Cancelled if self.retry_failed => attempts += 1,
                _ => break submitted,
            }
        };
        let earlier = submitted.state.is_terminal();
        let ended = watch::to_the_end(&self.link, submitted.id, &mut watch::Silent).await;
        let ended = ended.map_err(Unanswered::of_wait)?;
        Ok((ended, earlier))
    }
}

/// Why there is no job to answer with.
enum Unanswered {
    /// The daemon refuses this line, with a status and a body.
    Line(u16, serde_json::Value),
    /// There is no going on for any line.
    Run(Error),
}

impl Unanswered {
    /// Who calls, or what is called, does not change from line to line.
    fn of_submit(error: Error) -> Self {
        match error {
            Error::Refused {
                status: 401 | 403 | 404,
                ..
            } => Unanswered::Run(error),
            error => Unanswered::of_line(error),
        }
    }

    /// The job was taken in: that it was deleted meanwhile is an answer, and nothing else is.
    fn of_wait(error: Error) -> Self {
        match error {
            Error::Refused { status: 404, .. } => Unanswered::of_line(error),
            error => Unanswered::Run(error),
        }
    }

    fn of_line(error: Error) -> Self {
        match error {
            Error::Refused { status, body, .. } if status != 503 => Unanswered::Line(status, body),
            error => Unanswered::Run(error),
        }
    }
}

impl Answered {
    fn refused(line: OutputLine) -> Self {
        Answered {
            line,
            completed: false,
            earlier: false,
            prompt_tokens: 0,
            completion_tokens: 0,
        }
    }
}
