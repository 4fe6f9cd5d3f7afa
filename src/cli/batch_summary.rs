//! What `woollyctl batch run` says at its end.

use std::io;
use std::path::Path;
use std::time::Duration;

use serde_json::json;

use super::batch_lines::Answered;
use super::{Error, render};

/// Sums over all lines.
#[derive(Debug, Default)]
pub(super) struct Summary {
    completed: u64,
    pub(super) failed: u64,
    /// Of `completed` and of `failed`: the job had ended before this run came.
    completed_earlier: u64,
    pub(super) failed_earlier: u64,
    prompt_tokens: u64,
    completion_tokens: u64,
    /// Generated while this run waited.
    fresh_tokens: u64,
}

impl Summary {
    pub(super) fn add(&mut self, answered: &Answered) {
        let (all, earlier) = match answered.completed {
            true => (&mut self.completed, &mut self.completed_earlier),
            false => (&mut self.failed, &mut self.failed_earlier),
        };
        *all += 1;
        *earlier += u64::from(answered.earlier);
        self.prompt_tokens += answered.prompt_tokens;
        self.completion_tokens += answered.completion_tokens;
        if !answered.earlier {
            self.fresh_tokens += answered.completion_tokens;
        }
    }

    pub(super) fn done(&self) -> u64 {
        self.completed + self.failed
    }

    pub(super) fn print(&self, elapsed: Duration, output: &Path, json: bool) -> Result<(), Error> {
        let seconds = elapsed.as_secs_f64();
        let rate = self.fresh_tokens as f64 / seconds.max(1e-3);
        let output = output.display();
        if json {
            let summary = json!({
                "output": output.to_string(),
                "completed": self.completed,
                "failed": self.failed,
                "answered_earlier": self.completed_earlier,
                "failed_earlier": self.failed_earlier,
                "prompt_tokens": self.prompt_tokens,
                "completion_tokens": self.completion_tokens,
                "seconds": seconds,
                "tokens_per_second": rate,
            });
            let told = render::json_line(&mut io::stdout().lock(), &summary);
            return Ok(render::read_or_not(told)?);
        }
        let Summary {
            completed,
            failed,
            prompt_tokens,
            completion_tokens,
            ..
        } = self;
        let lines = if *completed == 1 { "line" } else { "lines" };
        let answered = among(self.completed_earlier, "answered earlier");
        let ended = among(self.failed_earlier, "earlier");
        render::say(format_args!(
            "{completed} {lines} completed{answered}, {failed} failed{ended}; \
             {prompt_tokens} prompt and {completion_tokens} generated tokens in {seconds:.1} s, \
             {rate:.1} tokens/s; answers in {output}"
        ));
        Ok(())
    }
}

/// How many of a count, if there are any.
fn among(count: u64, what: &str) -> String {
    match count {
        0 => String::new(),
        count => format!(" ({count} {what})"),
    }
}
