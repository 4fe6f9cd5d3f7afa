//! `woollyctl batch submit`, `status`, `fetch` and `cancel`: batches that the daemon works through by itself.

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use super::client::Client;
use super::interrupt::Interrupt;
use super::new_file::NewFile;
use super::progress::{Meter, Unit};
use super::{Error, render};

/// Between two questions how far a batch is.
const ASK_EVERY: Duration = Duration::from_millis(500);

#[derive(Debug, Args)]
#[command(after_help = "The file has one request a line, in OpenAI's shape:
  {\"custom_id\": \"a\", \"method\": \"POST\", \"url\": \"/v1/completions\", \"body\": {\"prompt\": \"...\"}}
The daemon looks through all lines before anything runs, and works on when this command has ended.

Examples:
  woollyctl batch submit requests.jsonl
  woollyctl batch submit requests.jsonl --endpoint /v1/chat/completions --window 7d --priority -5")]
pub(super) struct Submit {
    /// The file of requests
    #[arg(value_name = "FILE")]
    input: PathBuf,

    /// The url of all requests
    #[arg(long, value_name = "PATH", default_value = "/v1/completions")]
    endpoint: String,

    /// What is not done after this time expires: 90m, 24h, 7d
    #[arg(long, value_name = "TIME", default_value = "24h")]
    window: String,

    /// Higher runs first
    #[arg(
        long,
        value_name = "N",
        default_value_t = 0,
        allow_negative_numbers = true
    )]
    priority: i32,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  woollyctl batch status
  woollyctl batch status batch_12 --json")]
pub(super) struct Status {
    /// The batch, as batch_12; without it all batches are listed
    #[arg(value_name = "ID")]
    id: Option<String>,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Waits for the end of the batch. Answers are one line for each request, in the order of the input;
what has none stands in the file of errors.

Example:
  woollyctl batch fetch batch_12 -o answers.jsonl --errors errors.jsonl"
)]
pub(super) struct Fetch {
    /// The batch, as batch_12
    #[arg(value_name = "ID")]
    id: String,

    /// The file of answers; it appears when it is complete
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,

    /// The file of errors, written if there are any
    #[arg(long, value_name = "FILE")]
    errors: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "What has run stays, and is in the answers.

Example:
  woollyctl batch cancel batch_12")]
pub(super) struct Cancel {
    /// The batch, as batch_12
    #[arg(value_name = "ID")]
    id: String,
}

pub(super) async fn submit(client: &Client, args: Submit, as_json: bool) -> Result<(), Error> {
    let file = client.upload(&args.input).await?;
    let request = json!({
        "input_file_id": file["id"],
        "endpoint": args.endpoint,
        "completion_window": args.window,
        "priority": args.priority,
    });
    let batch = client
        .post("/v1/batches", request.to_string(), None)
        .await?;
    match as_json {
        true => Ok(render::json_line(&mut io::stdout().lock(), &batch)?),
        false => Ok(writeln!(io::stdout(), "{}", text(&batch["id"]))?),
    }
}

pub(super) async fn status(client: &Client, args: Status, as_json: bool) -> Result<(), Error> {
    let mut out = io::stdout().lock();
    let Some(id) = args.id else {
        let list = client.get("/v1/batches?limit=100").await?;
        for batch in list["data"].as_array().into_iter().flatten() {
            match as_json {
                true => render::json_line(&mut out, batch)?,
                false => writeln!(out, "{}", line(batch))?,
            }
        }
        return Ok(());
    };
    let batch = client.get(&path(&id)?).await?;
    match as_json {
        true => render::json_line(&mut out, &batch)?,
        false => render::fields(&mut out, &batch)?,
    }
    Ok(())
}

pub(super) async fn cancel(client: &Client, args: Cancel, as_json: bool) -> Result<(), Error> {
    let path = format!("{}/cancel", path(&args.id)?);
    let batch = client.post(&path, String::new(), None).await?;
    match as_json {
        true => Ok(render::json_line(&mut io::stdout().lock(), &batch)?),
        false => Ok(writeln!(io::stdout(), "{}", line(&batch))?),
    }
}

pub(super) async fn fetch(client: &Client, args: Fetch, as_json: bool) -> Result<(), Error> {
    let path = path(&args.id)?;
    let mut interrupt = Interrupt::install()?;
    let mut meter: Option<Meter> = None;
    let mut done = 0;
    let batch = loop {
        let batch = client.get(&path).await?;
        let count = |key: &str| batch["request_counts"][key].as_u64().unwrap_or(0);
        if count("total") > 0 {
            let meter =
                meter.get_or_insert_with(|| Meter::new("batch", Unit::Lines, count("total")));
            let now = count("completed") + count("failed");
            meter.advance(now.saturating_sub(done));
            done = now;
        }
        if matches!(
            text(&batch["status"]),
            "completed" | "failed" | "expired" | "cancelled"
        ) {
            break batch;
        }
        tokio::select! {
            () = tokio::time::sleep(ASK_EVERY) => {}
            () = interrupt.wait() => return Err(Error::Interrupted),
        }
    };
    if let Some(meter) = meter {
        meter.finish();
    }
    save(client, &batch["output_file_id"], Some(&args.output)).await?;
    save(client, &batch["error_file_id"], args.errors.as_ref()).await?;
    match as_json {
        true => render::json_line(&mut io::stdout().lock(), &batch)?,
        false => writeln!(io::stdout(), "{}", line(&batch))?,
    }
    match text(&batch["status"]) {
        "completed" if batch["request_counts"]["failed"] == 0 => Ok(()),
        "completed" => Err(Error::Failed(
            "some requests failed; --errors FILE says why".to_owned(),
        )),
        "failed" => Err(Error::Failed(problems(&batch))),
        status => Err(Error::Failed(format!("the batch is {status}"))),
    }
}

/// Copies a file of the batch, if there is one and it is wanted.
async fn save(client: &Client, id: &Value, path: Option<&PathBuf>) -> Result<(), Error> {
    let (Some(id), Some(path)) = (id.as_str(), path) else {
        return Ok(());
    };
    let mut file = NewFile::create(path)?;
    let path = format!("/v1/files/{id}/content");
    client.download(&path, &mut file).await?;
    file.publish(true)
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

fn line(batch: &Value) -> String {
    let counts = &batch["request_counts"];
    format!(
        "{} {}: {} of {} completed, {} failed",
        text(&batch["id"]),
        text(&batch["status"]),
        counts["completed"],
        counts["total"],
        counts["failed"]
    )
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Where a batch is found; refuses what is no id, because it becomes part of a path.
fn path(id: &str) -> Result<String, Error> {
    let number = id.strip_prefix("batch_").unwrap_or(id);
    match !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()) {
        true => Ok(format!("/v1/batches/batch_{number}")),
        false => Err(Error::Usage(format!(
            "{id:?} is no batch; batches are called batch_12"
        ))),
    }
}
