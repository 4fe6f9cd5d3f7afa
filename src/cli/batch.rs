//! `woollyctl batch run`: a file of prompts in, a file of answers out.
//!
//! Every line is a job of its own that the daemon keeps. This client may be killed at any time: the same
//! command submits the same idempotency keys, gets the same jobs, and only waits for what is left.

use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use serde_json::json;
use tokio::task::JoinSet;

use crate::job::State;
use crate::protocol::batch_line::OutputLine;

use super::batch_fetch::Fetch;
use super::batch_input::{self, Input, Request};
use super::batch_output::{self, Order, Output};
use super::batch_pace::{self, Pace};
use super::batch_remote::{Cancel, Delete, Status, Submit};
use super::batch_shape::Reading;
use super::client::Client;
use super::interrupt::Interrupt;
use super::new_file;
use super::progress::{Meter, Unit};
use super::reconnect::Link;
use super::sampling::Sampling;
use super::{Error, render, watch};

/// Between two attempts when the queue is full and the daemon names no time.
const FULL_QUEUE_DELAY_S: u64 = 1;

#[derive(Debug, Subcommand)]
pub(super) enum Batch {
    /// Submit every line, wait for all of them, and write the answers to a file
    Run(Box<Run>),
    /// Give a file of requests to the daemon, which works through it by itself
    Submit(Submit),
    /// How far a batch is, or all batches
    Status(Status),
    /// Wait for a batch and write its answers to a file
    Fetch(Fetch),
    /// Cancel what has not run of a batch
    Cancel(Cancel),
    /// Delete the files of batches: requests, answers, errors
    Delete(Delete),
}

#[derive(Debug, Args)]
#[command(after_help = "Input: OpenAI batch lines
  {\"custom_id\": \"a\", \"method\": \"POST\", \"url\": \"/v1/completions\", \"body\": {\"prompt\": \"...\"}}
or one prompt a line, or a table (CSV, TSV, JSON objects a line) whose columns make the prompts. Output: one
line for each, in OpenAI's batch output shape, as they are done or --ordered. A line that cannot run gets an
answer with status 400. A file is refused as a whole when a line has no custom_id or one that was used before,
or lacks a column.

Broken off (Ctrl-C, a reboot, a crash of the daemon), the same command goes on where it was: lines that are
already answered are not computed again while the daemon keeps their jobs.

Examples:
  woollyctl batch run -i requests.jsonl -o answers.jsonl
  woollyctl batch run -i prompts.txt -o answers.jsonl --ordered --max-tokens 32 --temperature 0
  woollyctl batch run -i reviews.csv -o answers.jsonl --id-column id --template \"Summarize: {text}\"")]
pub(super) struct Run {
    /// The file of requests, prompts or columns
    #[arg(short, long, value_name = "FILE")]
    input: PathBuf,

    /// The file of answers; it appears when all are there
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,

    /// Write the answers in the order of the input, not as they are done
    #[arg(long)]
    ordered: bool,

    /// Keep at most this many lines submitted and unanswered
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=1024))]
    outstanding: u16,

    /// Go on trying for this many seconds when the daemon is away
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    retry_for: u64,

    /// A name for this run: under a new name everything is computed again
    #[arg(long, value_name = "NAME", default_value = "")]
    run: String,

    #[command(flatten)]
    reading: Reading,

    #[command(flatten)]
    sampling: Sampling,
}

/// What became of one line.
struct Answered {
    line: OutputLine,
    completed: bool,
    /// The job had already ended when this run submitted it.
    earlier: bool,
    prompt_tokens: u64,
    completion_tokens: u64,
}

/// Sums over all lines.
#[derive(Debug, Default)]
struct Summary {
    completed: u64,
    failed: u64,
    earlier: u64,
    prompt_tokens: u64,
    completion_tokens: u64,
    /// Generated while this run waited.
    fresh_tokens: u64,
}

pub(super) async fn run(client: Client, args: Run, json: bool) -> Result<(), Error> {
    let refused = |problem: batch_input::Problem| problem.of(&args.input);
    let scratch = new_file::directory(&args.output);
    let input = Input::open(
        &args.input,
        scratch,
        &args.reading,
        &args.sampling,
        &args.run,
    )
    .map_err(refused)?;
    let order = match args.ordered {
        true => Order::Input,
        false => Order::Completion,
    };
    let mut output = Output::create(&args.output, order)?;
    let mut interrupt = Interrupt::install()?;
    let total = input.count();

    let meter = Rc::new(Meter::new("batch", Unit::Lines, total));
    let say = {
        let meter = Rc::clone(&meter);
        Box::new(move |line: &str| meter.say(&format!("woollyctl: {line}")))
    };
    let link = Rc::new(Link::new(client, Duration::from_secs(args.retry_for), say));

    let started = Instant::now();
    let mut pace = Pace::start(started);
    let mut waiting = (0..).zip(input.requests());
    let mut running = JoinSet::new();
    let mut summary = Summary::default();
    loop {
        while running.len() < usize::from(args.outstanding)
            && let Some((index, request)) = waiting.next()
        {
            let request = request.map_err(refused)?;
            let link = Rc::clone(&link);
            running.spawn_local(async move { (index, answer(&link, request).await) });
        }
        let ended = tokio::select! {
            ended = running.join_next() => ended,
            () = interrupt.wait() => Some(Ok((0, Err(Error::Interrupted)))),
        };
        let Some(ended) = ended else { break };
        let (index, answered) =
            ended.map_err(|problem| Error::Failed(format!("a line was lost: {problem}")))?;
        let answered = answered.inspect_err(|_| {
            let done = summary.done();
            meter.finish();
            link.say(&format!(
                "{done} of {total} lines are answered; the same command goes on from there"
            ));
        })?;
        summary.add(&answered);
        if !answered.earlier {
            pace.add(Instant::now(), answered.completion_tokens);
        }
        output.put(index, &answered.line)?;
        let left = total.saturating_sub(summary.done());
        meter.note(&batch_pace::note(pace.rates(), summary.failed, left));
        meter.advance(1);
    }
    input.check_unchanged().map_err(refused)?;
    output.finish()?;
    meter.finish();

    summary.print(started.elapsed(), &args, json)?;
    match summary.failed {
        0 => Ok(()),
        failed => Err(Error::Failed(format!(
            "{failed} of {total} lines have no answer; the output says why"
        ))),
    }
}

/// Submits one line and waits for its end. An error is one of the run, not of the line.
async fn answer(link: &Link, request: Request) -> Result<Answered, Error> {
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
    let refused =
        |status, body| Answered::refused(OutputLine::answered(&custom_id, &key, status, body));
    let submitted = loop {
        match link.submit(&job, &key).await {
            Ok(job) => break job,
            // The daemon is there and works: waiting for it is no outage and needs no limit.
            Err(Error::Refused {
                status: 429,
                retry_after_s,
                ..
            }) => {
                let delay = retry_after_s
                    .unwrap_or(FULL_QUEUE_DELAY_S)
                    .max(FULL_QUEUE_DELAY_S);
                tokio::time::sleep(Duration::from_secs(delay)).await;
            }
            Err(Error::Refused { status, body, .. }) if status != 503 => {
                return Ok(refused(status, body));
            }
            Err(error) => return Err(error),
        }
    };
    let earlier = submitted.state.is_terminal();
    let job = match watch::to_the_end(link, submitted.id, &mut watch::Silent).await {
        Ok(job) => job,
        // The job was deleted while this line waited for it.
        Err(Error::Refused { status, body, .. }) if status != 503 => {
            return Ok(refused(status, body));
        }
        Err(error) => return Err(error),
    };
    let (prompt_tokens, completion_tokens) = job.usage();
    Ok(Answered {
        line: batch_output::ended(&custom_id, &job),
        completed: job.state == State::Completed,
        earlier,
        prompt_tokens,
        completion_tokens,
    })
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

impl Summary {
    fn add(&mut self, answered: &Answered) {
        self.completed += u64::from(answered.completed);
        self.failed += u64::from(!answered.completed);
        self.earlier += u64::from(answered.earlier);
        self.prompt_tokens += answered.prompt_tokens;
        self.completion_tokens += answered.completion_tokens;
        if !answered.earlier {
            self.fresh_tokens += answered.completion_tokens;
        }
    }

    fn done(&self) -> u64 {
        self.completed + self.failed
    }

    /// Generated tokens per second of this run.
    fn rate(&self, elapsed: Duration) -> f64 {
        self.fresh_tokens as f64 / elapsed.as_secs_f64().max(1e-3)
    }

    fn print(&self, elapsed: Duration, args: &Run, json: bool) -> Result<(), Error> {
        let seconds = elapsed.as_secs_f64();
        let rate = self.rate(elapsed);
        let output = args.output.display();
        if json {
            let summary = json!({
                "output": output.to_string(),
                "completed": self.completed,
                "failed": self.failed,
                "answered_earlier": self.earlier,
                "prompt_tokens": self.prompt_tokens,
                "completion_tokens": self.completion_tokens,
                "seconds": seconds,
                "tokens_per_second": rate,
            });
            return Ok(render::json_line(&mut std::io::stdout().lock(), &summary)?);
        }
        let Summary {
            completed,
            failed,
            earlier,
            prompt_tokens,
            completion_tokens,
            ..
        } = self;
        let earlier = if *earlier > 0 {
            format!(" ({earlier} answered earlier)")
        } else {
            String::new()
        };
        render::say(format_args!(
            "{completed} lines completed{earlier}, {failed} failed; \
             {prompt_tokens} prompt and {completion_tokens} generated tokens in {seconds:.1} s, \
             {rate:.1} tokens/s; answers in {output}"
        ));
        Ok(())
    }
}
