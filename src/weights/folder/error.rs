//! Why a folder is not a model that can be read: one variant per kind of trouble.

use std::io;

use super::HeaderError;

/// A refused model folder. The sentences continue "model folder X: ...".
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot read it: {0}; expected a folder with config.json and safetensors files")]
    Open(io::Error),
    #[error("it is not a folder")]
    NotAFolder,
    #[error("it has no {0}")]
    MissingFile(&'static str),
    #[error("it has neither model.safetensors nor model.safetensors.index.json")]
    NoWeights,
    #[error("{file}: cannot read it: {source}")]
    Read { file: String, source: io::Error },
    #[error("{file} has {bytes} bytes, more than the {limit} that are read")]
    TooLarge {
        file: &'static str,
        bytes: u64,
        limit: u64,
    },
    #[error("{file} is not UTF-8")]
    NotUtf8 { file: &'static str },
    #[error("{file} is not the JSON it should be: {problem}")]
    Json { file: &'static str, problem: String },
    #[error("{file} has no {key}")]
    MissingKey {
        file: &'static str,
        key: &'static str,
    },
    #[error("{file}: {key} is {found}, expected {expected}")]
    Value {
        file: &'static str,
        key: &'static str,
        found: String,
        expected: String,
    },
    #[error("architecture {found:?} is not supported in a folder; supported: {supported}")]
    Architecture { found: String, supported: String },
    #[error(
        "its weights are quantized ({method}), which is not supported in a folder; expected F32, F16 or BF16"
    )]
    Quantized { method: String },
    #[error(
        "model.safetensors.index.json names the file {name:?}, expected the name of a .safetensors file in the folder"
    )]
    ShardName { name: String },
    #[error("{file} is missing, but model.safetensors.index.json names it")]
    MissingShard { file: String },
    #[error("{file}: {source}")]
    Header { file: String, source: HeaderError },
    #[error("tensor {name} is in {first} and in {second}")]
    DuplicateTensor {
        name: String,
        first: String,
        second: String,
    },
    #[error("tensor {name} is in {file}, but not by model.safetensors.index.json")]
    NotInIndex { name: String, file: String },
    #[error("tensor {name} is not in {file}, where model.safetensors.index.json has it")]
    NotInShard { name: String, file: String },
    #[error("tensor {name} is missing")]
    MissingTensor { name: String },
    #[error("tensor {name} has no place in the architecture {architecture}")]
    UnknownTensor {
        name: String,
        architecture: &'static str,
    },
    #[error("tensor {name} has the type {found}, expected F32, F16 or BF16")]
    TensorType { name: String, found: String },
    #[error("tensor {name} has the shape {shape:?}, expected {rows} rows, {heads} heads of {head}")]
    Heads {
        name: String,
        shape: Vec<usize>,
        rows: usize,
        heads: usize,
        head: usize,
    },
}
