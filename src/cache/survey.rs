//! What lies in a cache directory, as far as it can be told without reading values.
//!
//! Invariant: nothing is changed, and a file of a foreign name is not looked at.

use std::fs::{self, DirEntry, Metadata};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::fingerprint::{Record, RecordedFile};
use super::names::{Named, named};
use super::{Directory, Error, Identity, MappedTensors, layout_name, lock};

/// One file of the directory.
#[derive(Debug)]
pub struct Item {
    pub name: String,
    pub path: PathBuf,
    pub bytes: u64,
    pub modified: SystemTime,
    /// When a process last opened it, as far as the file system keeps account of that.
    pub used: SystemTime,
    /// Whether a process has it mapped, or is building it.
    pub in_use: bool,
    pub kind: Kind,
}

impl Item {
    /// Whether it takes of what cache files may have together, sound or not.
    pub(super) fn is_cache_file(&self) -> bool {
        matches!(self.kind, Kind::Cache(_) | Kind::Refused(_))
    }
}

/// What a file of the directory is.
#[derive(Debug)]
pub enum Kind {
    /// A cache file whose header is in order.
    Cache(Summary),
    /// A cache file that would be refused.
    Refused(Error),
    /// A damaged file that was set aside.
    Quarantined,
    /// A file that was never finished.
    Temporary,
    Lock,
    /// What the model `source` contained in one state.
    Record {
        source: Option<PathBuf>,
        blake3: String,
        state: SourceState,
    },
}

/// What a header says about its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// BLAKE3 of the source, in hex.
    pub source: String,
    pub source_bytes: u64,
    pub layout: String,
    pub tensors: usize,
    /// Values, panel padding not counted.
    pub parameters: u64,
}

/// The files of a source as they are now, compared with their record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceState {
    Unchanged,
    Changed,
    /// It is not there, and its directory is. A disk that is not mounted leaves it open.
    Gone,
    Unknown,
}

impl Directory {
    /// Every file of the cache, by name.
    pub fn survey(&self) -> Result<Vec<Item>, Error> {
        let unreadable = |source| Error::Directory {
            path: self.path().to_path_buf(),
            action: "read",
            source,
        };
        let mut items = vec![];
        for file in fs::read_dir(self.path()).map_err(unreadable)? {
            // A file that goes away between listing and asking is not listed.
            items.extend(item(&file.map_err(unreadable)?));
        }
        items.sort_by(|a: &Item, b| a.name.cmp(&b.name));
        Ok(items)
    }
}

impl Summary {
    fn of(tensors: &MappedTensors) -> Self {
        let specs = tensors.specs();
        Summary {
            source: tensors.key().source.clone(),
            source_bytes: tensors.key().source_bytes,
            layout: layout_name(tensors.key().element),
            tensors: specs.len(),
            parameters: specs
                .iter()
                .map(|spec| (spec.rows * spec.cols) as u64)
                .sum(),
        }
    }
}

fn item(file: &DirEntry) -> Option<Item> {
    let (path, metadata) = (file.path(), file.metadata().ok()?);
    let name = file.file_name().to_string_lossy().into_owned();
    let kind = kind(&path, &name)?;
    Some(Item {
        bytes: metadata.len(),
        modified: metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH),
        used: used(&metadata),
        in_use: lock::is_held(&path),
        kind,
        name,
        path,
    })
}

/// A file that was just written has been used, whatever the time of its last access says.
fn used(metadata: &Metadata) -> SystemTime {
    let times = [metadata.accessed(), metadata.modified()];
    times
        .into_iter()
        .flatten()
        .max()
        .unwrap_or(SystemTime::UNIX_EPOCH)
}

/// `None` for a file that is none of the cache's.
fn kind(path: &Path, name: &str) -> Option<Kind> {
    Some(match named(name)? {
        Named::Temporary => Kind::Temporary,
        Named::Cache => match MappedTensors::open(path, None) {
            Ok(tensors) => Kind::Cache(Summary::of(&tensors)),
            Err(error) => Kind::Refused(error),
        },
        Named::Quarantined => Kind::Quarantined,
        Named::Lock => Kind::Lock,
        Named::Record => {
            // A record that cannot be read serves nobody, like one whose file is gone.
            let record = Record::read(path);
            let state = record.as_ref().map_or(SourceState::Gone, state);
            let (source, blake3) =
                record.map_or((None, String::new()), |record| (record.path, record.blake3));
            Kind::Record {
                source,
                blake3,
                state,
            }
        }
    })
}

/// Of the files of a record, what is lost of any is lost of the model.
fn state(record: &Record) -> SourceState {
    let mut states: Vec<SourceState> = record.files.iter().map(file_state).collect();
    // With a folder its files are gone.
    states.extend(record.path.as_deref().map(presence));
    let worst = [
        SourceState::Gone,
        SourceState::Changed,
        SourceState::Unknown,
    ];
    let found = worst.into_iter().find(|state| states.contains(state));
    found.unwrap_or(SourceState::Unchanged)
}

fn file_state(file: &RecordedFile) -> SourceState {
    let Some(path) = &file.path else {
        return SourceState::Unknown;
    };
    match fs::metadata(path) {
        Ok(metadata) if Identity::of(&metadata) != file.identity => SourceState::Changed,
        _ => presence(path),
    }
}

/// What can be told of a path without a look at what it leads to.
fn presence(path: &Path) -> SourceState {
    match fs::metadata(path) {
        Ok(_) => SourceState::Unchanged,
        Err(_) if path.parent().is_some_and(Path::is_dir) => SourceState::Gone,
        Err(_) => SourceState::Unknown,
    }
}

/// Items that nobody has to put on a disk.
#[cfg(test)]
pub(super) mod samples {
    use std::time::Duration;

    use super::*;

    pub(in crate::cache) const NOW: u64 = 1_000_000;

    pub(in crate::cache) fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    pub(in crate::cache) fn item(name: &str, kind: Kind) -> Item {
        Item {
            name: name.to_owned(),
            path: name.into(),
            bytes: 10,
            modified: at(0),
            used: at(NOW),
            in_use: false,
            kind,
        }
    }

    pub(in crate::cache) fn cache(source: &str) -> Item {
        let summary = Summary {
            source: source.to_owned(),
            source_bytes: 1,
            layout: String::new(),
            tensors: 1,
            parameters: 1,
        };
        item(source, Kind::Cache(summary))
    }

    pub(in crate::cache) fn record(
        name: &str,
        path: &str,
        blake3: &str,
        state: SourceState,
    ) -> Item {
        let kind = Kind::Record {
            source: (!path.is_empty()).then(|| path.into()),
            blake3: blake3.to_owned(),
            state,
        };
        item(name, kind)
    }

    pub(in crate::cache) fn refused(name: &str) -> Item {
        let problem = crate::cache::Problem::TooShort;
        let path = name.into();
        item(name, Kind::Refused(Error::Refused { path, problem }))
    }
}
