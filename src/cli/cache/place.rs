//! Where cache files are, and how large they may grow: `--dir`, or a configuration that needs no `[model]`.

use std::path::PathBuf;

use clap::Args;

use crate::cli::{Error, settings};
use crate::config::{self, Verify};
use crate::tensor::Element;

#[derive(Debug, Args)]
pub(super) struct Place {
    /// The cache directory, instead of the configuration's
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,

    /// Take the cache directory from this configuration; it needs no [model]
    #[arg(long, value_name = "FILE", conflicts_with = "dir")]
    config: Option<PathBuf>,
}

impl Place {
    /// A directory that is named on the command line has no limit, and whatever is used is compared with its
    /// checksums first.
    pub(super) fn cache(&self) -> Result<config::Cache, Error> {
        let cache = match &self.dir {
            Some(dir) => config::Cache {
                dir: dir.clone(),
                max_bytes: None,
                verify: Verify::Full,
            },
            None => settings::configuration(self.config.as_deref())?.cache,
        };
        Ok(config::Cache {
            verify: Verify::Full,
            ..cache
        })
    }

    /// The number type of weights that the configuration says; FP32 for a directory that is named on the command
    /// line.
    pub(super) fn weights(&self) -> Result<Element, Error> {
        match &self.dir {
            Some(_) => Ok(Element::F32),
            None => {
                let config = settings::configuration(self.config.as_deref())?;
                Ok(config.compute.elements.weights)
            }
        }
    }
}
