//! `woollyd --check`: whether this configuration could start, without starting anything.

use rustix::net::SocketAddrUnix;

use crate::api::SocketError;
use crate::compute::Isa;
use crate::config::{self, Config, ModelSource};
use crate::model;
use crate::text::ChatTemplate;
use crate::weights::{self, Metadata, Shape};

use super::failure::Failure;
use super::spool;

/// The one line that `--check` prints, or what is wrong.
pub fn check(config: &Config) -> Result<String, Failure> {
    let model = model_of(config)?;
    let socket = &config.daemon.socket;
    SocketAddrUnix::new(socket.as_path()).map_err(|_| SocketError::TooLong {
        path: socket.clone(),
    })?;
    if let Some(directory) = &config.spool.dir {
        spool::check(directory)?;
    }
    Isa::by_name(config.compute.isa.name()).map_err(|error| Failure::model(&error.into()))?;
    let (source, metadata) = match &model.source {
        ModelSource::Gguf(path) | ModelSource::Safetensors(path) => {
            let (shapes, metadata) = contents(&model.source)?;
            model::accept(&metadata, &shapes)
                .map_err(|error| Failure::model(&error.in_file(path)))?;
            let source = format!("model {} ({} tensors)", path.display(), shapes.len());
            (source, metadata)
        }
        ModelSource::Synthetic(sizes) => {
            let source = format!(
                "synthetic model of {} layers, {} wide, {} tokens",
                sizes.num_layers, sizes.hidden_size, sizes.vocab_size
            );
            (source, Metadata::default())
        }
    };
    ChatTemplate::new(&metadata, model.chat_template.as_deref())
        .map_err(|error| Failure::model(&error.into()))?;
    let workers = &config.workers;
    Ok(format!(
        "ok: {source}, {} x {} threads, socket {}",
        workers.count,
        workers.threads_per_worker,
        socket.display()
    ))
}

/// The model that is to be served; a daemon without one has nothing to do.
pub(super) fn model_of(config: &Config) -> Result<&config::Model, Failure> {
    config.model.as_ref().ok_or_else(|| {
        Failure::configuration(
            "no model is configured; expected a [model] table in the configuration file",
        )
    })
}

/// Reads the headers, which say what is in the files (the number of tensors, the metadata) and that all of
/// it is there.
fn contents(source: &ModelSource) -> Result<(Vec<Shape>, Metadata), Failure> {
    let description = weights::describe(source).map_err(|error| Failure::model(&error.into()))?;
    Ok(description.map_or_else(Default::default, |described| {
        (described.tensors, described.metadata)
    }))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a_file_that_is_no_model_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("m.gguf");
        let refusal = |path: &Path| {
            contents(&ModelSource::at(path.into()))
                .unwrap_err()
                .to_string()
        };
        let missing = refusal(&path);
        assert!(
            missing.contains("m.gguf") && missing.contains("No such file"),
            "{missing}"
        );
        std::fs::write(&path, "PK\x03\x04 not a model").unwrap();
        let foreign = refusal(&path);
        assert!(foreign.contains("m.gguf"), "{foreign}");
        let folder = refusal(directory.path());
        assert!(folder.contains("it has no config.json"), "{folder}");
    }
}
