//! `woollyctl batch fetch`: waits for a batch and writes its answers to a file, through restarts of the daemon.

use std::cell::OnceCell;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use clap::Args;
use serde_json::Value;

use super::batch_remote::{file_path, line, path, text};
use super::client::Client;
use super::interrupt::Interrupt;
use super::new_file::NewFile;
use super::progress::{Meter, Unit};
use super::reconnect::Link;
use super::{Error, render};

/// Between two questions how far a batch is.
const ASK_EVERY: Duration = Duration::from_millis(500);

#[derive(Debug, Args)]
#[command(
    after_help = "Waits for the end of the batch. Answers are one line for each request, in the order of the input;
what has none stands in the file of errors. A file that is there already is replaced when the new one is
complete, by an empty one where the batch has no answers or no errors.

Example:
  woollyctl batch fetch batch_12 -o answers.jsonl --errors errors.jsonl"
)]
pub(super) struct Fetch {
    /// The batch, as batch_12
    #[arg(value_name = "ID")]
    id: String,

    /// The file of answers; it appears, and replaces an older one, when it is complete
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,

    /// The file of errors, written if there are any
    #[arg(long, value_name = "FILE")]
    errors: Option<PathBuf>,

    /// Go on trying for this many seconds when the daemon is away
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    retry_for: u64,
}

pub(super) async fn run(client: Client, args: Fetch, as_json: bool) -> Result<(), Error> {
    let path = path(&args.id)?;
    let mut interrupt = Interrupt::install()?;
    // Before hours of waiting: a directory that is not there is found at once.
    let output = NewFile::create(&args.output)?;
    let errors = args.errors.as_deref().map(NewFile::create).transpose()?;
    if errors
        .as_ref()
        .is_some_and(|errors| errors.is_same(&output))
    {
        return Err(Error::Usage(
            "answers and errors cannot be written to one file".to_owned(),
        ));
    }
    let meter = Rc::new(OnceCell::new());
    let link = Link::new(client, Duration::from_secs(args.retry_for), say(&meter));
    let batch = tokio::select! {
        batch = collect(&link, &path, &meter, output, errors) => batch?,
        () = interrupt.wait() => return Err(Error::Interrupted),
    };
    render::read_or_not(match as_json {
        true => render::json_line(&mut io::stdout().lock(), &batch),
        false => writeln!(io::stdout(), "{}", line(&batch)),
    })?;
    match text(&batch["status"]) {
        "completed" if batch["request_counts"]["failed"] == 0 => Ok(()),
        "completed" => Err(Error::Failed(why(args.errors.as_deref()))),
        "failed" => Err(Error::Failed(problems(&batch))),
        status => Err(Error::Failed(format!("the batch is {status}"))),
    }
}

/// Lines reach the user beside the meter, once there is one.
fn say(meter: &Rc<OnceCell<Meter>>) -> Box<dyn Fn(&str)> {
    let meter = Rc::clone(meter);
    Box::new(move |line| {
        let line = format!("woollyctl: {line}");
        match meter.get() {
            Some(meter) => meter.say(&line),
            None => render::say(line),
        }
    })
}

/// The batch when it has ended and its files are written.
async fn collect(
    link: &Link,
    path: &str,
    meter: &OnceCell<Meter>,
    output: NewFile,
    errors: Option<NewFile>,
) -> Result<Value, Error> {
    let batch = ended(link, path, meter).await?;
    if let Some(meter) = meter.get() {
        meter.finish();
    }
    save(link, &batch["output_file_id"], Some(output)).await?;
    save(link, &batch["error_file_id"], errors).await?;
    Ok(batch)
}

/// The batch when it has ended.
async fn ended(link: &Link, path: &str, meter: &OnceCell<Meter>) -> Result<Value, Error> {
    let mut done = 0;
    loop {
        let batch = link.retry(async || link.client().get(path).await).await?;
        let count = |key: &str| batch["request_counts"][key].as_u64().unwrap_or(0);
        if count("total") > 0 {
            let meter = meter.get_or_init(|| Meter::new("batch", Unit::Lines, count("total")));
            let now = count("completed") + count("failed");
            meter.advance(now.saturating_sub(done));
            done = now;
        }
        if matches!(
            text(&batch["status"]),
            "completed" | "failed" | "expired" | "cancelled"
        ) {
            return Ok(batch);
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
}

/// Copies a file of the batch, if it is wanted. Where there is none, an older file of that name would pass for it.
async fn save(link: &Link, id: &Value, file: Option<NewFile>) -> Result<(), Error> {
    let Some(mut file) = file else {
        return Ok(());
    };
    let Some(id) = id.as_str() else {
        return file.empty_an_older_one();
    };
    let path = format!("{}/content", file_path(id));
    link.retry(async || {
        file.begin_again()?;
        link.client().download(&path, &mut file).await
    })
    .await?;
    file.publish(true)
}

fn why(errors: Option<&Path>) -> String {
    match errors {
        Some(errors) => format!("some requests failed; {} says why", errors.display()),
        None => "some requests failed; --errors FILE says why".to_owned(),
    }
}

/// The first mistakes of the lines, as a sentence.
fn problems(batch: &Value) -> String {
    let mistakes = batch["errors"]["data"].as_array().into_iter().flatten();
    let mistake = |one: &Value| match one["line"].as_u64() {
        Some(line) => format!("line {line}: {}", text(&one["message"])),
        None => text(&one["message"]).to_owned(),
    };
    let told: Vec<String> = mistakes.take(5).map(mistake).collect();
    format!("the file cannot be used: {}", told.join("; "))
}
