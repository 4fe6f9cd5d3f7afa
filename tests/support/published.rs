//! Published models: tests use them where a variable of the environment names their file.

use std::path::PathBuf;

use woolly::config::ModelSource;
use woolly::weights::{Metadata, describe};

/// One of them.
#[derive(Debug, Clone, Copy)]
pub struct Published {
    /// As in the fixtures.
    pub name: &'static str,
    variable: &'static str,
}

pub const SMOLLM2: Published = Published {
    name: "smollm2",
    variable: "WOOLLY_TEST_MODEL",
};
pub const GEMMA: Published = Published {
    name: "gemma",
    variable: "WOOLLY_TEST_GEMMA",
};
pub const QWEN: Published = Published {
    name: "qwen",
    variable: "WOOLLY_TEST_QWEN",
};

impl Published {
    /// Its file, or `None` and a line that says so.
    pub fn path(self) -> Option<PathBuf> {
        let path = std::env::var_os(self.variable);
        if path.is_none() {
            println!(
                "skipped: {} does not name the {} file",
                self.variable, self.name
            );
        }
        path.map(PathBuf::from)
    }

    /// What its header says.
    pub fn metadata(self) -> Option<Metadata> {
        let source = ModelSource::Gguf(self.path()?);
        Some(describe(&source).unwrap().unwrap().metadata)
    }
}
