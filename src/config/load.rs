//! From a file or a text to a [`Config`].

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::environment::Environment;
use super::error::Error;
use super::file::File;
use super::outline::Outline;
use super::resolve::resolve;
use super::resolved::Config;

impl Config {
    /// Reads the configuration at `path`; without one, the first that exists of
    /// `~/.config/woolly/woolly.toml` (not for root) and `/etc/woolly/woolly.toml`; without any, defaults.
    pub fn load(path: Option<&Path>) -> Result<Config, Error> {
        let environment = Environment::current();
        if let Some(path) = path {
            return read(path, &environment)?.ok_or_else(|| Error::Unreadable {
                path: path.to_owned(),
                problem: "there is no such file".to_owned(),
            });
        }
        for path in &environment.config_files {
            if let Some(config) = read(path, &environment)? {
                return Ok(config);
            }
        }
        parse("", &PathBuf::new(), &environment)
    }

    /// Reads the configuration in `text`; relative paths are relative to `base`.
    pub fn from_toml(text: &str, base: &Path) -> Result<Config, Error> {
        parse(text, base, &Environment::current())
    }
}

/// `None` when there is no such file.
fn read(path: &Path, environment: &Environment) -> Result<Option<Config>, Error> {
    let unreadable = |error: std::io::Error| Error::Unreadable {
        path: path.to_owned(),
        problem: error.to_string(),
    };
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(error)),
    };
    // The daemon may be started from anywhere: paths in messages and in the configuration are absolute.
    let absolute = std::path::absolute(path).map_err(unreadable)?;
    let base = absolute.parent().unwrap_or(Path::new("/"));
    parse(&text, base, environment)
        .map(Some)
        .map_err(|error| error.in_file(path.to_owned()))
}

pub(super) fn parse(text: &str, base: &Path, environment: &Environment) -> Result<Config, Error> {
    let outline = Outline::read(text)?;
    let file: File = toml::from_str(text).map_err(|error| outline.wrong_type(text, &error))?;
    resolve(file, &outline, base, environment)
}
