//! `woollyd --check`: whether this configuration could start, without starting anything.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::config::{self, Config, ModelSource};

use super::failure::Failure;

/// The first bytes of a GGUF file: "GGUF", then the version, little endian.
/// <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>
const MAGIC: &[u8; 4] = b"GGUF";
const VERSIONS: [u32; 2] = [2, 3];

/// The one line that `--check` prints, or what is wrong.
pub fn check(config: &Config) -> Result<String, Failure> {
    let model = model_of(config)?;
    let source = match &model.source {
        ModelSource::Gguf(path) => gguf_version(path)
            .map(|version| format!("model {} (GGUF version {version})", path.display()))?,
        ModelSource::Synthetic(sizes) => format!(
            "synthetic model of {} layers, {} wide, {} tokens",
            sizes.num_layers, sizes.hidden_size, sizes.vocab_size
        ),
    };
    let workers = &config.workers;
    Ok(format!(
        "ok: {source}, {} x {} threads, socket {}",
        workers.count,
        workers.threads_per_worker,
        config.daemon.socket.display()
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

/// Reads eight bytes; whether the rest is sound shows when it is loaded.
fn gguf_version(path: &Path) -> Result<u32, Failure> {
    let sentence = |problem: &str| format!("model file {}: {problem}", path.display());
    let unreadable = |error: std::io::Error| {
        Failure::of_io(
            &error,
            sentence(&format!("cannot read it: {error}; expected a GGUF file")),
        )
    };
    // Asked before it is opened: opening a FIFO would wait for a writer.
    if !path.metadata().map_err(unreadable)?.is_file() {
        return Err(Failure::configuration(sentence(
            "it is not a regular file; expected a GGUF file",
        )));
    }
    let mut start = [0_u8; 8];
    let not_gguf = |_| Failure::configuration(sentence("it is not a GGUF file: it is too short"));
    File::open(path)
        .map_err(unreadable)?
        .read_exact(&mut start)
        .map_err(not_gguf)?;
    let [magic @ .., a, b, c, d] = start;
    let version = u32::from_le_bytes([a, b, c, d]);
    if magic != *MAGIC {
        return Err(Failure::configuration(sentence(
            "it is not a GGUF file: it does not begin with GGUF",
        )));
    }
    if !VERSIONS.contains(&version) {
        let problem = format!("GGUF version {version} is not supported; expected 2 or 3");
        return Err(Failure::configuration(sentence(&problem)));
    }
    Ok(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(bytes: &[u8]) -> Result<u32, String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("m.gguf");
        std::fs::write(&path, bytes).unwrap();
        gguf_version(&path)
            .map_err(|failure| failure.to_string().split_once(": ").unwrap().1.to_owned())
    }

    #[test]
    fn the_beginning_of_the_file_decides() {
        assert_eq!(checked(b"GGUF\x03\0\0\0rest"), Ok(3));
        assert_eq!(checked(b"GGUF\x02\0\0\0"), Ok(2));
        assert_eq!(
            checked(b"GGUF\x01\0\0\0").unwrap_err(),
            "GGUF version 1 is not supported; expected 2 or 3"
        );
        assert_eq!(
            checked(b"PK\x03\x04....").unwrap_err(),
            "it is not a GGUF file: it does not begin with GGUF"
        );
        assert_eq!(
            checked(b"GGUF").unwrap_err(),
            "it is not a GGUF file: it is too short"
        );
    }

    #[test]
    fn what_is_no_file_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let missing = gguf_version(&directory.path().join("m.gguf"))
            .unwrap_err()
            .to_string();
        assert!(missing.contains("No such file or directory"), "{missing}");
        let directory = gguf_version(directory.path()).unwrap_err().to_string();
        assert!(
            directory.contains("it is not a regular file"),
            "{directory}"
        );
    }
}
