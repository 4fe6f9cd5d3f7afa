//! `woollyctl batch submit`, `status`, `cancel` and `delete`: batches that the daemon works through by itself.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use super::client::Client;
use super::reconnect::Link;
use super::submit::random_key;
use super::{Error, render};

/// As many batches as the daemon lists at once.
const PAGE: u32 = 100;

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
#[command(after_help = "What has run stays, and is in the answers.

Example:
  woollyctl batch cancel batch_12")]
pub(super) struct Cancel {
    /// The batch, as batch_12
    #[arg(value_name = "ID")]
    id: String,
}

#[derive(Debug, Args)]
#[command(
    after_help = "A batch stays in the list, with its counts. While it needs its requests they are not deleted:
cancel it first.

Examples:
  woollyctl batch delete batch_12
  woollyctl batch delete file-3 file-4"
)]
pub(super) struct Delete {
    /// Batches, as batch_12, or files, as file-3
    #[arg(value_name = "ID", required = true, value_parser = subject)]
    ids: Vec<Subject>,
}

/// What files are deleted of.
#[derive(Debug, Clone)]
enum Subject {
    /// The path of a batch.
    Batch(String),
    /// A file's id.
    File(String),
}

/// Under a random idempotency key, so that a connection that breaks between the request and its answer cannot make two
/// batches.
pub(super) async fn submit(link: &Link, args: Submit, as_json: bool) -> Result<(), Error> {
    let client = link.client();
    let file = client.upload(&args.input).await?;
    let request = json!({
        "input_file_id": file["id"],
        "endpoint": args.endpoint,
        "completion_window": args.window,
        "priority": args.priority,
    });
    link.answered();
    let (key, request) = (random_key()?, request.to_string());
    let post = async || {
        let batch = client.post("/v1/batches", request.clone(), Some(&key));
        batch.await
    };
    let asked = match post().await {
        Err(Error::Lost { .. }) => link.retry(post).await,
        asked => asked,
    };
    let batch = match asked {
        Ok(batch) => batch,
        Err(error) => {
            let file = text(&file["id"]);
            match error {
                Error::Refused { .. } => forget(client, file).await,
                // The batch may be there, and need it.
                _ => render::say(format_args!("woollyctl: {file} stays with the daemon")),
            }
            return Err(error);
        }
    };
    match as_json {
        true => Ok(render::json_line(&mut io::stdout().lock(), &batch)?),
        false => Ok(writeln!(io::stdout(), "{}", text(&batch["id"]))?),
    }
}

/// Nobody asks for a file any more that became no batch.
async fn forget(client: &Client, file: &str) {
    if let Err(error) = client.delete(&file_path(file)).await {
        render::say(format_args!(
            "woollyctl: {file} stays with the daemon: {error}"
        ));
    }
}

pub(super) async fn status(client: &Client, args: Status, as_json: bool) -> Result<(), Error> {
    let Some(id) = args.id else {
        return list(client, as_json).await;
    };
    let mut out = io::stdout().lock();
    let batch = client.get(&path(&id)?).await?;
    match as_json {
        true => render::json_line(&mut out, &batch)?,
        false => render::fields(&mut out, &batch)?,
    }
    Ok(())
}

/// All of them, page after page, newest first.
async fn list(client: &Client, as_json: bool) -> Result<(), Error> {
    let mut out = io::stdout().lock();
    let mut after = String::new();
    loop {
        let page = format!("/v1/batches?limit={PAGE}{after}");
        let page = client.get(&page).await?;
        for batch in page["data"].as_array().into_iter().flatten() {
            match as_json {
                true => render::json_line(&mut out, batch)?,
                false => writeln!(out, "{}", line(batch))?,
            }
        }
        let last = text(&page["last_id"]);
        if page["has_more"] != true || last.is_empty() {
            return Ok(());
        }
        after = format!("&after={last}");
    }
}

pub(super) async fn cancel(client: &Client, args: Cancel, as_json: bool) -> Result<(), Error> {
    let path = format!("{}/cancel", path(&args.id)?);
    let batch = client.post(&path, String::new(), None).await?;
    match as_json {
        true => Ok(render::json_line(&mut io::stdout().lock(), &batch)?),
        false => Ok(writeln!(io::stdout(), "{}", line(&batch))?),
    }
}

pub(super) async fn delete(client: &Client, args: &Delete, as_json: bool) -> Result<(), Error> {
    for subject in &args.ids {
        let (files, may_be_gone) = match subject {
            Subject::File(id) => (vec![id.clone()], false),
            Subject::Batch(path) => (files_of(client, path).await?, true),
        };
        for file in files {
            match client.delete(&file_path(&file)).await {
                Err(Error::Refused { status: 404, .. }) if may_be_gone => continue,
                deleted => deleted?,
            }
            let mut out = io::stdout().lock();
            render::read_or_not(match as_json {
                true => render::json_line(&mut out, &json!({"id": file, "deleted": true})),
                false => writeln!(out, "{file} deleted"),
            })?;
        }
    }
    Ok(())
}

/// Requests first: the daemon refuses to delete them while the batch needs them, and then all files stay.
async fn files_of(client: &Client, batch: &str) -> Result<Vec<String>, Error> {
    let batch = client.get(batch).await?;
    let names = ["input_file_id", "output_file_id", "error_file_id"];
    let files = names.iter().filter_map(|name| batch[*name].as_str());
    Ok(files.map(str::to_owned).collect())
}

/// A batch on one line.
pub(super) fn line(batch: &Value) -> String {
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

pub(super) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Where a batch is found; refuses what is no id, because it becomes part of a path.
pub(super) fn path(id: &str) -> Result<String, Error> {
    let number = id.strip_prefix("batch_").unwrap_or(id);
    match is_number(number) {
        true => Ok(format!("/v1/batches/batch_{number}")),
        false => Err(Error::Usage(format!(
            "{id:?} is no batch; batches are called batch_12"
        ))),
    }
}

fn subject(text: &str) -> Result<Subject, String> {
    match text.strip_prefix("file-") {
        Some(number) if is_number(number) => Ok(Subject::File(text.to_owned())),
        Some(_) => Err("files are called file-3".to_owned()),
        None => path(text)
            .map(Subject::Batch)
            .map_err(|problem| problem.to_string()),
    }
}

pub(super) fn file_path(id: &str) -> String {
    format!("/v1/files/{id}")
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}
