//! `woollyctl queue check`: whether a queue on disk, or a backup of it, holds what it promises. Needs no daemon.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use crate::queue;

use super::{Error, render, settings};

#[derive(Debug, Args)]
#[command(
    after_help = "Changes nothing. Ends with 0 when the queue is sound and with 1 when it is damaged.

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

pub(super) fn run(args: Check, json: bool) -> Result<(), Error> {
    let path = match args.path {
        Some(path) => path,
        None => {
            settings::configuration(args.config.as_deref())?
                .daemon
                .state_dir
        }
    };
    let look = |state_dir: &Path| {
        queue::check(state_dir).map_err(|error| Error::Failed(error.to_string()))
    };
    let problems = match path.is_file() {
        true => look(&Unpacked::from(&path)?.0)?,
        false => look(&path)?,
    };
    let mut out = io::stdout().lock();
    if json {
        let path = path.display().to_string();
        let sound = problems.is_empty();
        render::json_line(
            &mut out,
            &json!({"path": path, "sound": sound, "problems": problems}),
        )?;
    } else if problems.is_empty() {
        writeln!(out, "{} is sound", path.display())?;
    } else {
        for problem in &problems {
            writeln!(out, "{problem}")?;
        }
    }
    match problems.len() {
        0 => Ok(()),
        1 => Err(Error::Failed(format!("{} is damaged", path.display()))),
        count => Err(Error::Failed(format!(
            "{} is damaged: {count} problems",
            path.display()
        ))),
    }
}

/// A backup as a state directory beside it, gone when this is dropped.
struct Unpacked(PathBuf);

impl Unpacked {
    fn from(archive: &Path) -> Result<Self, Error> {
        let failed = |action| move |problem: io::Error| Error::file(action, archive, &problem);
        let file = File::open(archive).map_err(failed("cannot read"))?;
        let name = archive.file_name().unwrap_or_default().to_string_lossy();
        let beside = format!(".{name}.{}.check", std::process::id());
        let unpacked = Unpacked(archive.with_file_name(beside));
        fs::create_dir(&unpacked.0).map_err(failed("cannot unpack"))?;
        // Names that lead out of the directory are left out by the library.
        let unpack = tar::Archive::new(file).unpack(&unpacked.0);
        unpack.map_err(failed("cannot unpack"))?;
        Ok(unpacked)
    }
}

impl Drop for Unpacked {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
