//! What a model is, without its weights.

use crate::cache::Key;
use crate::config::ModelSource;
use crate::tensor::Element;

use super::{Error, Metadata, Progress, files};

/// The metadata of a model, and the name of what is made of it.
pub struct Origin {
    pub metadata: Metadata,
    /// Names the cache file: equal keys, equal values.
    pub key: Key,
}

impl Origin {
    /// Reads all of the model for its hash, and converts nothing; the key is of weights stored as `element`. `None` for a source without files.
    pub fn of(
        source: &ModelSource,
        element: Element,
        progress: &dyn Progress,
    ) -> Result<Option<Self>, Error> {
        let Some(model) = files::open(source)? else {
            return Ok(None);
        };
        Ok(Some(Origin {
            key: model.source(element).content_key(progress)?,
            metadata: model.metadata,
        }))
    }
}
