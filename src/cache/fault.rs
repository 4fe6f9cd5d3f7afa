//! Stand-in.
use std::io;
use std::path::{Path, PathBuf};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub file: PathBuf,
    pub offset: u64,
}

pub struct Guard;

impl Guard {
    pub fn install(_marker: Option<&Path>) -> io::Result<Guard> {
        Ok(Guard)
    }
}

pub fn read(_marker: &Path) -> Option<Fault> {
    None
}
