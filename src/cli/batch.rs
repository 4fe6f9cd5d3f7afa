//! `woollyctl batch run`: a file of prompts in, a file of answers out.
//!
//! Every line is a job of its own that the daemon keeps. This client may be killed at any time: the same
//! command submits the same idempotency keys, gets the same jobs, and only waits for what is left.

use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use super::Error;
use super::batch_fetch::Fetch;
use super::batch_gate::Gate;
use super::batch_input::{Asked, Input};
use super::batch_lines::Lines;
use super::batch_output::{Order, Output};
use super::batch_pace::{self, Pace};
use super::batch_problem::Problem;
use super::batch_remote::{Cancel, Delete, Status, Submit};
use super::batch_shape::Reading;
use super::batch_summary::Summary;
use super::client::Client;
use super::interrupt::Interrupt;
use super::new_file;
use super::progress::{Meter, Unit};
use super::reconnect::Link;
use super::sampling::Sampling;
use super::schedule::Schedule;

/// Between two looks whether the input is still what it was. Hours of work on a file that is another one by now are
/// for nothing.
const LOOK_EVERY: Duration = Duration::from_secs(1);

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
or lacks a column. An output that is there already is replaced when the new one is complete.

Broken off (Ctrl-C, a reboot, a crash of the daemon), the same command goes on where it was: lines that are
already answered are not computed again while the daemon keeps their jobs. So --not-before and --deadline take a
moment (@ and Unix seconds), which is the same one then; for another moment everything is computed again. Write the
date in full: \"Monday\" is another one a week later.

Examples:
  woollyctl batch run -i requests.jsonl -o answers.jsonl
  woollyctl batch run -i prompts.txt -o answers.jsonl --ordered --max-tokens 32 --temperature 0
  woollyctl batch run -i reviews.csv -o answers.jsonl --id-column id --template \"Summarize: {text}\"
  woollyctl batch run -i prompts.txt -o answers.jsonl --retry-failed
  zcat prompts.gz | woollyctl batch run -i - -o answers.jsonl --priority -5 --deadline @$(date -d '2027-03-01 6:00' +%s)")]
pub(super) struct Run {
    /// The file of requests, prompts or columns; - is standard input
    #[arg(short, long, value_name = "FILE")]
    input: PathBuf,

    /// The file of answers; it appears, and replaces an older one, when all are there
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

    /// Run lines again that failed or were cancelled in an earlier run; what is answered is not computed again.
    /// Without it such a line is what it was at first, also when a run with it has answered it since
    #[arg(long)]
    retry_failed: bool,

    #[command(flatten)]
    reading: Reading,

    #[command(flatten)]
    schedule: Schedule,

    #[command(flatten)]
    sampling: Sampling,
}

pub(super) async fn run(client: Client, args: Run, json: bool) -> Result<(), Error> {
    let refused = |problem: Problem| problem.of(&args.input);
    if args.schedule.counts_from_now() {
        return Err(Error::Usage(
            "a time from now is another one when the same command goes on; name the moment: @ and Unix seconds, \
             as @$(date -d '2027-03-01 6:00' +%s)"
                .to_owned(),
        ));
    }
    let order = match args.ordered {
        true => Order::Input,
        false => Order::Completion,
    };
    // Only to find mistakes before a large file is looked through, which Ctrl-C ends at once.
    drop(Output::create(&args.output, order)?);
    let asked = Asked {
        reading: args.reading,
        sampling: args.sampling,
        schedule: args.schedule,
        run: args.run,
    };
    let scratch = new_file::directory(&args.output);
    let input = Input::open(&args.input, scratch, &asked).map_err(refused)?;
    if input.is(&args.output) {
        let output = args.output.display();
        return Err(Error::Usage(format!("the output {output} is the input")));
    }
    let mut interrupt = Interrupt::install()?;
    let mut output = Output::create(&args.output, order)?;
    let total = input.count();

    let meter = Rc::new(Meter::new("batch", Unit::Lines, total));
    let say = {
        let meter = Rc::clone(&meter);
        Box::new(move |line: &str| meter.say(&format!("woollyctl: {line}")))
    };
    let lines = Rc::new(Lines {
        link: Link::new(client, Duration::from_secs(args.retry_for), say),
        gate: Gate::default(),
        retry_failed: args.retry_failed,
    });

    let started = Instant::now();
    let mut pace = Pace::start(started);
    let mut look = tokio::time::interval(LOOK_EVERY);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut waiting = (0..).zip(input.requests());
    let mut running = JoinSet::new();
    let mut summary = Summary::default();
    loop {
        while running.len() < usize::from(args.outstanding)
            && let Some((index, request)) = waiting.next()
        {
            let request = request.map_err(refused)?;
            let lines = Rc::clone(&lines);
            running.spawn_local(async move { (index, lines.answer(request).await) });
        }
        let ended = tokio::select! {
            ended = running.join_next() => ended,
            _ = look.tick() => {
                input.check_unchanged().map_err(refused)?;
                continue;
            }
            () = interrupt.wait() => Some(Ok((0, Err(Error::Interrupted)))),
        };
        let Some(ended) = ended else { break };
        let (index, answered) =
            ended.map_err(|problem| Error::Failed(format!("a line was lost: {problem}")))?;
        let answered = answered.inspect_err(|error| {
            meter.finish();
            let here = matches!(error, Error::Interrupted | Error::NoFiles(_));
            let goes_on = error.is_outage() || here;
            if goes_on && lines.gate.was_reached() {
                let done = summary.done();
                lines.link.say(&format!(
                    "{done} of {total} lines are answered; the same command goes on from there"
                ));
            }
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

    summary.print(started.elapsed(), &args.output, json)?;
    if summary.failed == 0 {
        return Ok(());
    }
    let failed = summary.failed;
    let again = match summary.failed_earlier {
        0 => "",
        _ => {
            "; --retry-failed runs what failed earlier again, or finds what such a run has answered"
        }
    };
    Err(Error::Failed(format!(
        "{failed} of {total} lines have no answer; the output says why{again}"
    )))
}
