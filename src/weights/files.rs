//! A model's files, opened and understood but not yet converted: one GGUF file, the parts of a split
//! one, or a folder of safetensors.

use std::io;
use std::path::{Path, PathBuf};

use crate::cache::{Identity, MappedFile, Source};
use crate::config::ModelSource;
use crate::tensor::Element;

use super::gguf::{Header, split};
use super::stored::{Bytes, RowOrder, Stored, StoredTensor, stored};
use super::{Error, Metadata, Shape, folder};

/// Everything that is known of a model before its weights are read.
pub(super) struct ModelFiles {
    /// What the user named; for sentences.
    pub(super) path: PathBuf,
    pub(super) files: Vec<MappedFile>,
    /// The files when their headers were read.
    pub(super) identities: Vec<Identity>,
    pub(super) metadata: Metadata,
    pub(super) tensors: Vec<StoredTensor>,
    /// What besides the bytes of the files decides the values.
    pub(super) recipe: String,
    /// Hash of what stands in files of its own: sizes, tokenizer, template. `None` where the weights'
    /// files hold all of it.
    pub(super) description: Option<String>,
}

impl ModelFiles {
    /// Names and dimensions of all tensors.
    pub(super) fn shapes(&self) -> Vec<Shape> {
        self.tensors.iter().map(StoredTensor::shape).collect()
    }

    /// Fails when a file is not what it was when its header was read: what was read of it may then be of
    /// two files.
    pub(super) fn confirm(&self) -> Result<(), Error> {
        if unchanged(&self.files, &self.identities) {
            return Ok(());
        }
        Err(Error::Changed {
            path: self.path.clone(),
        })
    }

    /// To be stored as `element`.
    pub(super) fn source(&self, element: Element) -> Source<'_> {
        Source {
            element,
            path: &self.path,
            files: &self.files,
            recipe: &self.recipe,
        }
    }
}

/// Whether the files still are what they were.
pub(super) fn unchanged(files: &[MappedFile], identities: &[Identity]) -> bool {
    let mut files = files.iter().zip(identities);
    files.all(|(file, then)| file.identity().is_ok_and(|now| now == *then))
}

/// What the headers of a model's files say.
#[derive(Debug)]
pub struct Description {
    pub tensors: Vec<Shape>,
    /// The same as they stand in the files.
    pub stored: Vec<Stored>,
    /// Of all files together.
    pub file_bytes: u64,
    pub metadata: Metadata,
}

/// Reads the headers of a model's files, which say what is in them and that all of it is there; no
/// weight is read. `None` for a source without files.
pub fn describe(source: &ModelSource) -> Result<Option<Description>, Error> {
    let Some(model) = open(source)? else {
        return Ok(None);
    };
    model.confirm()?;
    Ok(Some(Description {
        tensors: model.shapes(),
        stored: stored(&model.tensors),
        file_bytes: model.identities.iter().map(|file| file.size).sum(),
        metadata: model.metadata,
    }))
}

/// Opens the files of a source; `None` when it has none.
pub(super) fn open(source: &ModelSource) -> Result<Option<ModelFiles>, Error> {
    match source {
        ModelSource::Gguf(path) => gguf(path).map(Some),
        ModelSource::Safetensors(path) => folder::open(path).map(Some),
        ModelSource::Synthetic(_) => Ok(None),
    }
}

/// The name of a model that is given none: what users typed, not what an author once wrote into the
/// file. `None` for a source without files.
pub fn default_name(source: &ModelSource) -> Option<String> {
    let text = |name: Option<&std::ffi::OsStr>| Some(name?.to_string_lossy().into_owned());
    match source {
        ModelSource::Gguf(path) => {
            text(path.file_stem()).map(|stem| split::model_name(&stem).to_owned())
        }
        // A folder may be given as `.` or end in `..`; its name is then that of the real place.
        ModelSource::Safetensors(path) => {
            text(path.file_name()).or_else(|| text(path.canonicalize().ok()?.file_name()))
        }
        ModelSource::Synthetic(_) => None,
    }
}

/// Opens a GGUF file, and with the first part of a split model all its parts.
pub(super) fn gguf(path: &Path) -> Result<ModelFiles, Error> {
    let wrong = |path: &Path, source| Error::Split {
        path: path.to_path_buf(),
        source,
    };
    let (file, identity, header) = read(path)?;
    let part = split::Part::read(&header.metadata).map_err(|error| wrong(path, error))?;
    let (mut files, mut identities, mut headers) = (vec![file], vec![identity], vec![header]);
    if let Some(part) = part {
        let paths = part.files(path).map_err(|error| wrong(path, error))?;
        for (position, other) in paths.iter().enumerate().skip(1) {
            let (file, identity, header) = read(other).map_err(|error| match error {
                Error::Open { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                    wrong(path, part.missing(position, other))
                }
                error => error,
            })?;
            files.push(file);
            identities.push(identity);
            headers.push(header);
        }
        split::check(&paths, &headers)
            .map_err(|(position, error)| wrong(&paths[position], error))?;
    }
    let mut tensors = Vec::with_capacity(headers.iter().map(|header| header.tensors.len()).sum());
    let mut metadata = None;
    for (number, header) in headers.into_iter().enumerate() {
        metadata.get_or_insert(header.metadata);
        tensors.extend(header.tensors.into_iter().flat_map(|info| {
            let tensor = StoredTensor {
                name: info.name,
                dimensions: info.dimensions,
                kind: info.kind,
                bytes: Bytes::File {
                    number,
                    range: info.bytes,
                },
                order: RowOrder::Natural,
            };
            tensor.slices()
        }));
    }
    Ok(ModelFiles {
        path: path.to_path_buf(),
        files,
        identities,
        metadata: metadata.unwrap_or_default(),
        tensors,
        recipe: String::new(),
        description: None,
    })
}

fn read(path: &Path) -> Result<(MappedFile, Identity, Header), Error> {
    let unreadable = |source| Error::Open {
        path: path.to_path_buf(),
        source,
    };
    let file = MappedFile::open(path).map_err(unreadable)?;
    let identity = file.identity().map_err(unreadable)?;
    let header = Header::read(file.bytes()).map_err(|source| Error::Gguf {
        path: path.to_path_buf(),
        source,
    })?;
    Ok((file, identity, header))
}
