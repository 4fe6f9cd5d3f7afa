//! A model into its cache file against a copy of that file, both to the disk; and the memory it takes.

use std::cell::Cell;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Args;
use serde::{Deserialize, Serialize};

use crate::bench::Error;
use crate::bench::samples::{Spread, Turns, timed};
use crate::bench::scratch::Scratch;
use crate::cache;
use crate::config::ModelSource;
use crate::weights;

use super::Effort;
use super::report::Conversion;
use super::resident::Resident;

#[derive(Debug, Args)]
#[command(after_help = "Example:
  woollyctl bench convert models/smollm2.gguf --dir /tmp/fresh")]
pub struct Convert {
    /// The model
    #[arg(value_name = "MODEL")]
    model: PathBuf,

    /// The cache directory
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
}

/// What the process of its own tells of its conversion.
#[derive(Debug, Deserialize, Serialize)]
struct Told {
    seconds: f64,
    /// `VmHWM`: the largest resident size, mapped files included.
    peak_bytes: u64,
}

impl Convert {
    pub(in crate::bench) fn run(&self) -> Result<String, Error> {
        let source = ModelSource::at(self.model.clone());
        let (loaded, seconds) = timed(|| weights::open(&source, &self.dir, &()));
        drop(loaded?);
        let told = Told {
            seconds,
            peak_bytes: peak().unwrap_or_default(),
        };
        Ok(serde_json::json!(told).to_string())
    }
}

/// The largest resident size of this process so far.
fn peak() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.split_ascii_whitespace().next()?.parse().ok()?;
    Some(kib * 1024)
}

/// `model` is an absolute path, as maps show it. The figures, and the name of the cache directory that the last conversion left in `scratch`.
pub(super) fn measure(
    model: &Path,
    words: &[&str],
    scratch: &Scratch,
    effort: Effort,
) -> Result<(Conversion, String), Error> {
    let program = std::env::current_exe().map_err(Error::system("find this program"))?;
    let convert = |dir: &Path, glance: &mut dyn FnMut(u32)| -> Result<Told, Error> {
        let mut command = Command::new(&program);
        command.args(words).arg("convert").arg(model);
        command.arg("--dir").arg(dir);
        let said = scratch.run(&mut command, glance)?;
        serde_json::from_str(&said).map_err(|problem| Error::Conversion(problem.to_string()))
    };

    // Looking at the memory takes time, so it has a conversion of its own; it also brings the source into
    // the page cache for those that are timed.
    let mut memory = Resident::default();
    let name = |number: usize| format!("conversion-{number}");
    let first = convert(&scratch.join(&name(0)), &mut |pid| {
        if let Some(now) = Resident::of(pid, |path| is_source(path, model)) {
            memory = memory.peak(now);
        }
    })?;
    let cache_bytes = size(&cache_file(&scratch.join(&name(0)))?)?;

    let number = Cell::new(0);
    let turns = Turns::take(
        effort.turns,
        || {
            // There is never more than one cache file and its copy.
            scratch.remove(&name(number.get()));
            number.set(number.get() + 1);
            let told: Told = convert(&scratch.join(&name(number.get())), &mut |_| {})?;
            Ok::<_, Error>(told.seconds)
        },
        || {
            let from = cache_file(&scratch.join(&name(number.get())))?;
            let seconds = copy(&from, &scratch.join("copy"))?;
            scratch.remove("copy");
            Ok(seconds)
        },
    )?;
    let speed = |seconds: &[f64]| Spread::gigabytes_per_second(seconds, cache_bytes as usize);
    let conversion = Conversion {
        source_bytes: size(model)?,
        cache_bytes,
        seconds: Spread::of(&turns.ours),
        gigabytes_per_second: speed(&turns.ours),
        copy_seconds: Spread::of(&turns.yardstick),
        copy_gigabytes_per_second: speed(&turns.yardstick),
        times_copy: turns.ratio(),
        peak_bytes: first.peak_bytes,
        memory,
    };
    Ok((conversion, name(number.get())))
}

/// Whether a mapped file is the model, lies in its folder, or may be another part of a split one.
fn is_source(path: &Path, model: &Path) -> bool {
    let sibling = path.parent() == model.parent() && path.extension() == model.extension();
    path.starts_with(model) || (sibling && path.extension().is_some_and(|end| end == "gguf"))
}

/// The one cache file of a directory.
pub(super) fn cache_file(dir: &Path) -> Result<PathBuf, Error> {
    let failed = Error::file("read", dir);
    for entry in dir.read_dir().map_err(&failed)? {
        let path = entry.map_err(&failed)?.path();
        if cache::is_cache_file_name(&path) {
            return Ok(path);
        }
    }
    Err(Error::Conversion("it left no file".to_owned()))
}

/// The seconds of a copy that is on the disk at the end: `std::io::copy`, which lets the system copy between
/// the files, as `cp` does.
fn copy(from: &Path, to: &Path) -> Result<f64, Error> {
    let (copied, seconds) = timed(|| -> io::Result<()> {
        let (mut from, mut to) = (File::open(from)?, File::create(to)?);
        io::copy(&mut from, &mut to)?;
        to.sync_data()
    });
    copied.map_err(Error::file("copy to", to))?;
    Ok(seconds)
}

/// Bytes of a file, or of all in a folder.
fn size(path: &Path) -> Result<u64, Error> {
    let failed = Error::file("read", path);
    let metadata = path.metadata().map_err(&failed)?;
    if metadata.is_file() {
        return Ok(metadata.len());
    }
    let mut bytes = 0;
    for entry in path.read_dir().map_err(&failed)? {
        let metadata = entry.and_then(|entry| entry.metadata());
        bytes += metadata.map_err(&failed)?.len();
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_and_shards_belong_to_the_source() {
        let split = Path::new("/m/a-00001-of-00002.gguf");
        assert!(is_source(split, split));
        assert!(is_source(Path::new("/m/a-00002-of-00002.gguf"), split));
        assert!(!is_source(Path::new("/m/sub/a.gguf"), split));
        assert!(!is_source(Path::new("/m/cache.safetensors"), split));
        let folder = Path::new("/m/folder");
        assert!(is_source(Path::new("/m/folder/model.safetensors"), folder));
        assert!(!is_source(Path::new("/m/cache.safetensors"), folder));
    }

    #[test]
    fn this_process_has_had_memory() {
        assert!(peak().unwrap() > 1 << 20);
    }
}
