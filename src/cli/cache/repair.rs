//! Setting a damaged cache file aside and converting its model again.

use std::fmt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::cache::{self, Directory, Identity, Kind, SourceState};
use crate::cli::Error;
use crate::cli::interrupt::Interrupt;
use crate::config;
use crate::tensor::Element;

use super::{failed, model};

/// What was done about a damaged file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Repaired {
    /// Converted again from this model.
    From(PathBuf),
    /// Only set aside, under this name; `None` when it had to be removed.
    SetAside(Option<PathBuf>),
}

impl fmt::Display for Repaired {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Repaired::From(model) => write!(f, "converted again from {}", model.display()),
            Repaired::SetAside(aside) => {
                match aside {
                    Some(aside) => write!(f, "set aside as {}", aside.display())?,
                    None => write!(f, "removed, because it could not be renamed")?,
                }
                write!(
                    f,
                    "; no model with its content is known, and the next start converts it again"
                )
            }
        }
    }
}

impl Repaired {
    pub(super) fn object(&self) -> Value {
        match self {
            Repaired::From(model) => json!({"model": model.display().to_string()}),
            Repaired::SetAside(aside) => {
                json!({"model": null, "set_aside": aside.as_ref().map(|path| path.display().to_string())})
            }
        }
    }
}

/// Sets the file at `path` aside and puts a new one in its place, if `model`, or the model that was last seen
/// with its content, is the one that it was made from. `damaged` is the file in which damage was found, if there
/// was one: another process may have repaired it meanwhile.
pub(super) fn repair(
    path: &Path,
    damaged: Option<Identity>,
    model: Option<&Path>,
    cache: &config::Cache,
) -> Result<Repaired, Error> {
    let (Some(source), Some(element)) = (cache::source_of(path), cache::element_of(path)) else {
        return Err(Error::Failed(format!(
            "{} does not have the name of a cache file of this version, so it is left as it is",
            path.display()
        )));
    };
    // The file may lie in another directory than the configured one; so does then what replaces it.
    let dir = path.parent().filter(|parent| *parent != Path::new(""));
    let cache = config::Cache {
        dir: dir.unwrap_or(Path::new(".")).to_path_buf(),
        ..cache.clone()
    };
    let found = find_model(source, element, model, &cache)?;
    let aside = Directory::open(&cache.dir)
        .and_then(|directory| {
            directory.quarantine(path, |found| damaged == Some(Identity::of(found)))
        })
        .map_err(failed)?;
    match found {
        Some(model) => {
            model::convert(&model, element, &cache, &Interrupt::install()?)?;
            Ok(Repaired::From(model))
        }
        None => Ok(Repaired::SetAside(aside)),
    }
}

/// A model whose content is the one that the name of the cache file says.
fn find_model(
    source: &str,
    element: Element,
    model: Option<&Path>,
    cache: &config::Cache,
) -> Result<Option<PathBuf>, Error> {
    if let Some(model) = model {
        let is_same = model::origin(model, element)?.key.source == source;
        return Ok(is_same.then(|| model.to_path_buf()));
    }
    let items = super::survey(&cache.dir)?.into_iter();
    let mut candidates = items.filter_map(|item| match item.kind {
        // A model that was only touched has the same content.
        Kind::Record {
            source: Some(model),
            blake3,
            state: SourceState::Unchanged | SourceState::Changed,
        } if blake3 == source => Some(model),
        _ => None,
    });
    // One that cannot be read any more is not the one.
    Ok(candidates.find(|model| {
        model::origin(model, element).is_ok_and(|origin| origin.key.source == source)
    }))
}
