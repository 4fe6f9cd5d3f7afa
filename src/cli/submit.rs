//! `woollyctl submit`: prompts in, texts out.
//!
//! Each prompt becomes a job of its own under a random idempotency key, so that a connection that breaks
//! between the request and the answer cannot make two jobs of it.

use std::io::{self, IsTerminal, Read, Write};
use std::path::PathBuf;

use clap::Args;
use rand::TryRng;
use serde_json::{Value, json};

use crate::job::{JobId, State};
use crate::protocol::JobRequest;

use super::interrupt::Interrupt;
use super::reconnect::Link;
use super::sampling::Sampling;
use super::schedule::Schedule;
use super::watch::{self, Viewer};
use super::wire::{self, Job};
use super::{Error, render};

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  woollyctl submit \"The capital of France is\" --max-tokens 8
  woollyctl submit --chat --stream \"Tell me a story about a sheep.\"
  woollyctl submit --file a.txt --file b.txt --detach
  woollyctl submit --file long.txt --detach --not-before 8h --deadline 1d --refuse-late
  echo \"Once upon a time\" | woollyctl submit --temperature 0")]
pub(super) struct Submit {
    /// The prompt; read from standard input when it is missing and no --file is given. A line break at the very end of
    /// standard input or of a file is not part of it
    #[arg(conflicts_with = "file")]
    prompt: Option<String>,

    /// A file that holds one prompt; may be given several times
    #[arg(long, value_name = "PATH")]
    file: Vec<PathBuf>,

    /// Print the job's id and do not wait. Without it Ctrl-C cancels the job
    #[arg(long, conflicts_with = "stream")]
    detach: bool,

    /// Print the text while it is generated
    #[arg(long)]
    stream: bool,

    #[command(flatten)]
    schedule: Schedule,

    #[command(flatten)]
    sampling: Sampling,
}

/// A prompt and the file it came from.
struct Prompt {
    name: String,
    text: String,
}

pub(super) async fn run(link: &Link, args: Submit, json: bool) -> Result<(), Error> {
    let prompts = prompts(args.prompt, &args.file)?;
    let now_s = render::now();
    let request = |prompt: &Prompt| {
        let mut request = wire::request(&prompt.text, &args.sampling);
        args.schedule.put_into(&mut request, now_s);
        request
    };
    let requests: Vec<JobRequest> = prompts.iter().map(request).collect();
    if args.detach {
        detached(link, &requests, json).await
    } else {
        attached(link, &prompts, &requests, args.stream, json).await
    }
}

/// Every id is printed as soon as its job is accepted: it runs whatever becomes of the next one.
async fn detached(link: &Link, requests: &[JobRequest], json: bool) -> Result<(), Error> {
    for request in requests {
        let job = link.submit(request, &random_key()?).await?;
        let mut out = io::stdout().lock();
        if json {
            render::json_line(&mut out, &job.raw)?;
        } else {
            writeln!(out, "{}", job.id)?;
        }
    }
    Ok(())
}

/// From the first submit on, whatever ends this command early takes its jobs along: nobody waits for them.
async fn attached(
    link: &Link,
    prompts: &[Prompt],
    requests: &[JobRequest],
    stream: bool,
    json: bool,
) -> Result<(), Error> {
    let mut interrupt = Interrupt::install()?;
    let mut jobs = Vec::new();
    let mut ended = 0;
    let waited = match submit_all(link, requests, &mut interrupt, &mut jobs).await {
        Err(error) => Err(error),
        Ok(()) => {
            let names = prompts.iter().map(|prompt| prompt.name.as_str());
            tokio::select! {
                result = wait_for_all(link, names.zip(&jobs), stream, json, &mut ended) => result,
                () = interrupt.wait() => Err(Error::Interrupted),
            }
        }
    };
    match waited {
        Ok(0) => Ok(()),
        Ok(1) if jobs.len() == 1 => Err(Error::Failed("the job did not complete".into())),
        Ok(failed) => {
            let all = jobs.len();
            Err(Error::Failed(format!(
                "{failed} of {all} jobs did not complete"
            )))
        }
        Err(error) => {
            // Nobody is there to be told when the output is closed.
            let quiet = matches!(error, Error::OutputClosed);
            for job in jobs.iter().skip(ended) {
                abandon(link, job, quiet).await;
            }
            Err(error)
        }
    }
}

/// Fills `jobs`, also when it fails.
async fn submit_all(
    link: &Link,
    requests: &[JobRequest],
    interrupt: &mut Interrupt,
    jobs: &mut Vec<Job>,
) -> Result<(), Error> {
    for request in requests {
        let key = random_key()?;
        let job = tokio::select! {
            job = link.submit(request, &key) => job?,
            () = interrupt.wait() => {
                // The request may have arrived although its answer has not: the same key finds that job.
                jobs.extend(link.submit_once(request, &key).await);
                return Err(Error::Interrupted);
            }
        };
        jobs.push(job);
    }
    Ok(())
}

fn prompts(argument: Option<String>, files: &[PathBuf]) -> Result<Vec<Prompt>, Error> {
    if let Some(text) = argument {
        return Ok(vec![Prompt {
            name: "argument".into(),
            text,
        }]);
    }
    if files.is_empty() {
        if io::stdin().is_terminal() {
            return Err(Error::Usage(
                "give a prompt, a --file, or text on standard input".into(),
            ));
        }
        let mut text = String::new();
        io::stdin()
            .read_to_string(&mut text)
            .map_err(|problem| Error::Failed(format!("cannot read standard input: {problem}")))?;
        return Ok(vec![Prompt {
            name: "standard input".into(),
            text: without_last_break(text),
        }]);
    }
    let read = |path: &PathBuf| {
        let text = std::fs::read_to_string(path)
            .map_err(|problem| Error::file("cannot read", path, &problem))?;
        Ok(Prompt {
            name: path.display().to_string(),
            text: without_last_break(text),
        })
    };
    files.iter().map(read).collect()
}

/// The line break that `echo` and editors put behind a text is not part of the prompt.
fn without_last_break(mut text: String) -> String {
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    text
}

/// A name that nobody else has.
pub(super) fn random_key() -> Result<String, Error> {
    let mut bytes = [0; 16];
    rand::rngs::SysRng
        .try_fill_bytes(&mut bytes)
        .map_err(|problem| {
            Error::Failed(format!("the system gives no random numbers: {problem}"))
        })?;
    Ok(format!("woollyctl-{:032x}", u128::from_le_bytes(bytes)))
}

/// Prints the jobs in order and returns how many did not complete. `ended` counts those that are terminal.
async fn wait_for_all<'a>(
    link: &Link,
    jobs: impl ExactSizeIterator<Item = (&'a str, &'a Job)>,
    stream: bool,
    json: bool,
    ended: &mut usize,
) -> Result<usize, Error> {
    let several = jobs.len() > 1;
    let mut failed = 0;
    for (index, (name, job)) in jobs.enumerate() {
        if several && !json {
            let gap = if index == 0 { "" } else { "\n" };
            writeln!(io::stdout(), "{gap}==> {name} <==")?;
        }
        let mut printer = Printer {
            stream,
            json,
            at_line_start: true,
        };
        let job = watch::to_the_end(link, job.id, &mut printer).await?;
        *ended += 1;
        printer.end(&job)?;
        failed += usize::from(job.state != State::Completed);
        if job.state != State::Completed {
            link.say(&job.problem());
        }
    }
    Ok(failed)
}

/// Cancels what nobody will wait for. A job that cannot be cancelled is named, so that somebody can.
async fn abandon(link: &Link, job: &Job, quiet: bool) {
    match link.cancel(job.id).await {
        Ok(_) if quiet => {}
        Ok(job) => link.say(&format!("{} is {}", job.id, job.state.as_str())),
        Err(error) => link.say(&format!("{} goes on: {error}", job.id)),
    }
}

/// Writes a job to standard output, as it comes or when it is there.
pub(super) struct Printer {
    pub(super) stream: bool,
    pub(super) json: bool,
    pub(super) at_line_start: bool,
}

impl Printer {
    /// What is left to print when the job is terminal.
    pub(super) fn end(&mut self, job: &Job) -> Result<(), Error> {
        let mut out = io::stdout().lock();
        if self.json {
            render::json_line(&mut out, &job.raw)?;
        } else if !self.stream {
            for text in job.texts() {
                writeln!(out, "{text}")?;
            }
        } else if !self.at_line_start {
            writeln!(out)?;
        }
        Ok(())
    }
}

impl Viewer for Printer {
    fn text(&mut self, _choice: usize, text: &str) -> Result<(), Error> {
        if self.stream && !self.json {
            let mut out = io::stdout().lock();
            out.write_all(text.as_bytes())?;
            out.flush()?;
            self.at_line_start = text.ends_with('\n');
        }
        Ok(())
    }

    fn chunk(&mut self, chunk: &Value) -> Result<(), Error> {
        if self.stream && self.json {
            render::json_line(&mut io::stdout().lock(), chunk)?;
        }
        Ok(())
    }

    /// As JSON it stands among the chunks: standard error would not tell which of them came before.
    fn restarted(&mut self, id: JobId) -> Result<(), Error> {
        if !self.stream {
            return Ok(());
        }
        let mut out = io::stdout().lock();
        if self.json {
            let event = json!({"event": wire::RESTARTED, "id": id.to_string()});
            return Ok(render::json_line(&mut out, &event)?);
        }
        if !std::mem::replace(&mut self.at_line_start, true) {
            writeln!(out)?;
        }
        render::say(format_args!(
            "woollyctl: {id} runs anew with another model, and its text follows from the beginning"
        ));
        Ok(())
    }
}
