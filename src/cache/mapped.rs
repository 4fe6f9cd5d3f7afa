//! Every file map of the crate: the weights' cache and the GGUF.

use std::path::Path;

use crate::tensor::TensorSpec;

/// A whole file mapped read-only.
pub struct MappedFile {}

impl MappedFile {
    /// Opens and maps a regular file. Fails on directories, devices, FIFOs and empty files.
    pub fn open(_path: &Path) -> std::io::Result<Self> {
        todo!()
    }

    pub fn bytes(&self) -> &[u8] {
        todo!()
    }
}

/// A mapped cache file: tensors by name as `&[f32]`.
pub struct MappedTensors {}

impl MappedTensors {
    /// Index of the tensor, its spec and where its values are.
    pub fn get(&self, _name: &str) -> Option<(&TensorSpec, &[f32])> {
        todo!()
    }

    pub fn specs(&self) -> Vec<TensorSpec> {
        todo!()
    }
}
