//! The keys of one architecture, with the checks that every number gets.

use crate::weights::Metadata;

use super::super::{Error, HyperProblem};

pub(super) struct Keys<'a> {
    pub(super) metadata: &'a Metadata,
    pub(super) prefix: &'static str,
}

impl Keys<'_> {
    pub(super) fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.prefix)
    }

    pub(super) fn error(&self, name: &str, problem: HyperProblem) -> Error {
        Error::Hyper {
            key: self.key(name),
            problem,
        }
    }

    pub(super) fn unsigned(&self, name: &str) -> Result<Option<u64>, Error> {
        Ok(self.metadata.unsigned(&self.key(name))?)
    }

    pub(super) fn float(&self, name: &str) -> Result<Option<f32>, Error> {
        Ok(self.metadata.float(&self.key(name))?)
    }

    pub(super) fn string(&self, name: &str) -> Result<Option<&str>, Error> {
        Ok(self.metadata.string(&self.key(name))?)
    }

    pub(super) fn boolean(&self, name: &str) -> Result<Option<bool>, Error> {
        Ok(self.metadata.boolean(&self.key(name))?)
    }

    /// A size from 1 to `most`.
    pub(super) fn size(&self, name: &str, most: u64) -> Result<usize, Error> {
        let key = self.key(name);
        let value = self.metadata.require(&key, self.metadata.unsigned(&key))?;
        match usize::try_from(value) {
            Ok(size) if (1..=most).contains(&value) => Ok(size),
            _ => Err(self.error(name, HyperProblem::Range { found: value, most })),
        }
    }

    /// The same where the file has it.
    pub(super) fn optional_size(&self, name: &str, most: u64) -> Result<Option<usize>, Error> {
        match self.unsigned(name)? {
            Some(_) => self.size(name, most).map(Some),
            None => Ok(None),
        }
    }

    pub(super) fn size_or(&self, name: &str, most: u64, default: usize) -> Result<usize, Error> {
        Ok(self.optional_size(name, most)?.unwrap_or(default))
    }

    pub(super) fn positive(&self, name: &str, default: Option<f32>) -> Result<f32, Error> {
        let key = self.key(name);
        let value = match (self.float(name)?, default) {
            (Some(value), _) | (None, Some(value)) => value,
            (None, None) => self.metadata.require(&key, Ok(None))?,
        };
        self.check_positive(name, value)
    }

    pub(super) fn check_positive(&self, name: &str, found: f32) -> Result<f32, Error> {
        if found.is_finite() && found > 0.0 {
            Ok(found)
        } else {
            Err(self.error(name, HyperProblem::NotPositive { found }))
        }
    }
}
