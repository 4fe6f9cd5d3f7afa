//! `woollyctl queue check`: whether a queue on disk, or a backup of it, holds what it promises. Needs no daemon.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;
use tokio::sync::oneshot;

use crate::queue;

use super::interrupt::Interrupt;
use super::unpacked_backup::UnpackedBackup;
use super::{Error, render, settings};

#[derive(Debug, Args)]
#[command(
    after_help = "Changes nothing. A backup is unpacked under $TMPDIR for as long as the check takes. Ends with 0 when the queue is sound and with 1 when it is damaged.

Examples:
  woollyctl queue check
  woollyctl queue check monday.tar
  woollyctl queue check --config /etc/woolly/woolly.toml --json"
)]
pub(super) struct Check {
    /// A state directory, or a backup; without it the state directory of the configuration
    path: Option<PathBuf>,

    /// Take the state directory from this configuration; it needs no [model]
    #[arg(long, value_name = "FILE", conflicts_with = "path")]
    config: Option<PathBuf>,
}

pub(super) async fn run(args: Check, json: bool) -> Result<(), Error> {
    let path = match args.path {
        Some(path) => path,
        None => {
            settings::configuration(args.config.as_deref())?
                .daemon
                .state_dir
        }
    };
    let problems = match path.is_file() {
        true => look_at_backup(&path).await?,
        false => queue::check(&path).map_err(|error| Error::Failed(error.to_string()))?,
    };
    render::read_or_not(tell(&path, &problems, json))?;
    match problems.len() {
        0 => Ok(()),
        1 => Err(Error::Failed(format!("{} is damaged", path.display()))),
        count => Err(Error::Failed(format!(
            "{} is damaged: {count} problems",
            path.display()
        ))),
    }
}

fn tell(path: &Path, problems: &[String], json: bool) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let sound = problems.is_empty();
    if json {
        let path = path.display().to_string();
        let found = json!({"path": path, "sound": sound, "problems": problems});
        return render::json_line(&mut out, &found);
    }
    if sound {
        return writeln!(out, "{} is sound", path.display());
    }
    problems
        .iter()
        .try_for_each(|problem| writeln!(out, "{problem}"))
}

/// On a thread of its own, which nobody waits for after Ctrl-C: it only reads, and ends with the process.
async fn look_at_backup(archive: &Path) -> Result<Vec<String>, Error> {
    let mut interrupt = Interrupt::install()?;
    let unpacked = UnpackedBackup::of(archive, &interrupt)?;
    let (sender, found) = oneshot::channel();
    let state_dir = unpacked.path().to_owned();
    std::thread::spawn(move || sender.send(queue::check(&state_dir)));
    tokio::select! {
        found = found => match found {
            Ok(Ok(problems)) => Ok(problems),
            Ok(Err(error)) => Err(Error::Failed(format!("{}: {error}", archive.display()))),
            Err(_) => Err(Error::Failed(format!("the check of {} panicked", archive.display()))),
        },
        () = interrupt.wait() => Err(Error::Interrupted),
    }
}
