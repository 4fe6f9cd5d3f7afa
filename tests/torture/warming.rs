//! Warming the cache of the tiny model with the real program, and what must be true afterwards.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::cli::{Said, WOOLLYCTL, command, say};
use crate::support::models::fixture;

use super::{Fault, Trial, right};

/// A place for cache directories, and the one file that is right.
pub struct Warming {
    root: tempfile::TempDir,
    name: String,
    bytes: Vec<u8>,
}

impl Warming {
    pub fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let golden = root.path().join("golden");
        warm(&golden).ends_with(0);
        let name = names(&golden)
            .into_iter()
            .find(|name| name.ends_with(".safetensors"))
            .unwrap();
        let bytes = fs::read(golden.join(&name)).unwrap();
        Warming { root, name, bytes }
    }

    pub fn root(&self) -> &Path {
        self.root.path()
    }

    /// A path at which nothing is.
    pub fn fresh(&self) -> PathBuf {
        let dir = self.root().join("cache");
        if dir.exists() {
            fs::remove_dir_all(&dir).unwrap();
        }
        dir
    }

    /// The file of `dir`, if there is one, is the right one.
    pub fn is_whole(&self, dir: &Path, case: &str) -> Trial {
        let files = names(dir)
            .into_iter()
            .filter(|name| name.ends_with(".safetensors"));
        for name in files {
            let same = name == self.name && fs::read(dir.join(&name)).unwrap() == self.bytes;
            right(same, || {
                format!("{case}: {name} is not the file that a whole build gives")
            })?;
        }
        Ok(())
    }

    /// Nothing lies in `dir` but a whole file and a record.
    pub fn is_tidy(&self, dir: &Path, case: &str) -> Trial {
        self.is_whole(dir, case)?;
        let ours = |name: &String| *name == self.name || name.ends_with(".source");
        match names(dir).into_iter().find(|name| !ours(name)) {
            Some(name) => Err(Fault::Leftover(format!("{case}: {name} is left"))),
            None => Ok(()),
        }
    }

    /// The next run succeeds, and leaves the right file and nothing else.
    pub fn recovers(&self, dir: &Path, case: &str) -> Trial {
        let said = warm(dir);
        right(said.code == Some(0), || {
            format!("{case}: the next run ended with {said:?}")
        })?;
        self.is_tidy(dir, case)?;
        right(dir.join(&self.name).exists(), || {
            format!("{case}: the next run wrote nothing")
        })
    }
}

pub fn model() -> String {
    fixture("llama-gqa.gguf").to_str().unwrap().to_owned()
}

pub fn warm(dir: &Path) -> Said {
    let arguments = ["cache", "warm", &model(), "--dir", dir.to_str().unwrap()];
    say(command(WOOLLYCTL, &arguments))
}

pub fn names(dir: &Path) -> Vec<String> {
    let Ok(files) = fs::read_dir(dir) else {
        return vec![];
    };
    let mut names: Vec<String> = files
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}
