//! `woollyctl cache verify`: reads every value of cache files, and puts right what is damaged.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use rayon::prelude::*;
use serde_json::{Value, json};

use crate::cache::{self, Identity, Kind, MappedTensors, Problem};
use crate::cli::progress::{Meter, Unit};
use crate::cli::{Error, render};
use crate::config;

use super::place::Place;
use super::repair::{self, Repaired};
use super::subject;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  woollyctl cache verify
  woollyctl cache verify 3b7e --json
  woollyctl cache verify --repair --model models/smollm2.gguf

Exit code 0 when all files are sound or were repaired, 1 when something is damaged. A damaged file is set aside
by --repair (its name then ends in .bad) and converted again from --model, or from where its model was last
seen. Where there is no such model, the next start converts it again.")]
pub(in crate::cli) struct Verify {
    /// Cache files, or beginnings of their names in the cache directory; all of them without any
    #[arg(value_name = "FILE|NAME")]
    subjects: Vec<PathBuf>,

    /// Set damaged files aside and convert their models again
    #[arg(long)]
    repair: bool,

    /// The model to convert again
    #[arg(long, value_name = "FILE", requires = "repair")]
    model: Option<PathBuf>,

    #[command(flatten)]
    place: Place,
}

/// What was found in one file.
struct Report {
    path: PathBuf,
    /// Asked before it was read; `None` when there is no such file.
    identity: Option<Identity>,
    bytes: u64,
    seconds: f64,
    /// The sentence of each damaged tensor, or that of a refused file; empty for a sound one.
    problems: Vec<cache::Error>,
    repaired: Option<Repaired>,
}

pub(super) fn run(args: &Verify, json: bool) -> Result<(), Error> {
    let cache = args.place.cache()?;
    let paths = paths(&args.subjects, &cache)?;
    let mut out = io::stdout().lock();
    let mut unsound = 0;
    for path in &paths {
        let mut report = check(path);
        if args.repair && !report.problems.is_empty() {
            report.repaired = Some(repair::repair(
                path,
                report.identity,
                args.model.as_deref(),
                &cache,
            )?);
        }
        unsound += usize::from(!report.is_sound());
        render::read_or_not(match json {
            true => render::json_line(&mut out, &report.object()),
            false => writeln!(out, "{}", report.line()),
        })?;
    }
    if unsound == 0 {
        return Ok(());
    }
    let count = paths.len();
    Err(Error::Failed(format!(
        "{unsound} of {count} cache files are not sound"
    )))
}

fn paths(subjects: &[PathBuf], cache: &config::Cache) -> Result<Vec<PathBuf>, Error> {
    if !subjects.is_empty() {
        let find = |subject: &PathBuf| subject::cache_file(subject, &cache.dir);
        return subjects.iter().map(find).collect();
    }
    let items = super::survey(&cache.dir)?.into_iter();
    let files = items.filter(|item| matches!(item.kind, Kind::Cache(_) | Kind::Refused(_)));
    Ok(files.map(|item| item.path).collect())
}

/// Reads all of a file.
fn check(path: &Path) -> Report {
    let start = Instant::now();
    let metadata = path.symlink_metadata().ok();
    let mut report = Report {
        path: path.to_path_buf(),
        identity: metadata.as_ref().map(Identity::of),
        bytes: metadata.map_or(0, |metadata| metadata.len()),
        seconds: 0.0,
        problems: vec![],
        repaired: None,
    };
    match MappedTensors::open(path, None) {
        Ok(tensors) => report.problems = damage(&tensors),
        Err(problem) => report.problems.push(problem),
    }
    report.seconds = start.elapsed().as_secs_f64();
    report
}

fn damage(tensors: &MappedTensors) -> Vec<cache::Error> {
    let name = tensors.path().file_name().unwrap_or_default();
    let what = format!("reading {}", name.display());
    let meter = Meter::new(&what, Unit::Bytes, tensors.value_bytes());
    let read = |index| {
        let result = tensors.verify_tensor(index);
        meter.advance(tensors.at(index).1.bytes() as u64);
        result.err()
    };
    let count = tensors.specs().len();
    let mut problems: Vec<_> = (0..count).into_par_iter().filter_map(read).collect();
    problems.extend(tensors.verify_padding().err());
    meter.finish();
    problems
}

/// The tensor that a sentence is about; `None` when it is about the whole file.
fn tensor(problem: &cache::Error) -> Option<&str> {
    match problem {
        cache::Error::Refused {
            problem: Problem::Checksum(name),
            ..
        } => Some(name),
        _ => None,
    }
}

impl Report {
    fn is_sound(&self) -> bool {
        self.problems.is_empty() || matches!(self.repaired, Some(Repaired::From(_)))
    }

    /// One word for what was found.
    fn status(&self) -> &'static str {
        match self.problems.first() {
            None => "ok",
            Some(problem) if tensor(problem).is_some() => "damaged",
            Some(_) => "refused",
        }
    }

    fn rate(&self) -> f64 {
        self.bytes as f64 / self.seconds.max(1e-6)
    }

    fn line(&self) -> String {
        let name = self.path.file_name().unwrap_or_default().display();
        let size = render::bytes(self.bytes);
        let found = match self.problems.as_slice() {
            [] => {
                let rate = self.rate() / 1e9;
                return format!("{name}: ok, {size}, {rate:.1} GB/s");
            }
            [problem] => format!("{}, {size}: {problem}", self.status()),
            [problem, more @ ..] => {
                format!(
                    "{}, {size}: {problem}, and {} more tensors",
                    self.status(),
                    more.len()
                )
            }
        };
        match &self.repaired {
            None => format!("{name}: {found}"),
            Some(repaired) => format!("{name}: {found}; {repaired}"),
        }
    }

    fn object(&self) -> Value {
        let sentences: Vec<String> = self.problems.iter().map(ToString::to_string).collect();
        let damaged: Vec<&str> = self.problems.iter().filter_map(tensor).collect();
        let mut object = json!({
            "file": self.path.display().to_string(),
            "status": self.status(),
            "bytes": self.bytes,
            "seconds": self.seconds,
            "bytes_per_second": self.rate(),
            "damaged_tensors": damaged,
            "problem": sentences.first(),
        });
        if let Some(repaired) = &self.repaired {
            object["repair"] = repaired.object();
        }
        object
    }
}
