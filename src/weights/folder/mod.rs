//! A model folder as the Hugging Face libraries write it: sizes in `config.json`, weights in one or many
//! safetensors files, tokenizer and template in files of their own.
//!
//! | file | what is taken from it |
//! |---|---|
//! | `config.json` | architecture, sizes, ids of special tokens |
//! | `model.safetensors`, else those that `model.safetensors.index.json` names | weights in F32, F16 or BF16 |
//! | `tokenizer.json` | the tokenizer, whole |
//! | `tokenizer_config.json`, if there | names of special tokens, whether they are added, the chat template |
//! | `generation_config.json`, if there | further tokens that end a generation |
//! | `chat_template.jinja`, if there | the chat template; it wins |
//!
//! - `architectures`: what is known of each architecture, as data.
//! - `config`, `rope`: from `config.json` to the keys a GGUF file would have.
//! - `header`, `shards`: the safetensors files, read as if an enemy wrote them.
//! - `tensors`: from their names to those of GGUF. Values are those of the F32 file that llama.cpp's
//!   `convert_hf_to_gguf.py` would write; for llama that means another order of some rows.
//! - `tokenizer`: from its files to metadata; `text` makes a tokenizer of it.
//! - `read`: whole small files, with a limit.
//!
//! Links are followed, because the download cache of those libraries consists of links. A file that is
//! named inside of another file must lie in the folder.
//!
//! Invariant: nothing of a weight is read here. What is not understood is refused, never left out.

mod architectures;
mod config;
mod error;
mod header;
mod read;
mod rope;
mod shards;
mod tensors;
mod tokenizer;

use std::path::Path;

use super::Metadata;
use super::files::ModelFiles;

pub use error::Error;
pub use header::{HeaderError, inspect};

/// Opens the folder at `path`; every file of it that counts is there and understood.
pub(super) fn open(path: &Path) -> Result<ModelFiles, super::Error> {
    read_folder(path).map_err(|source| super::Error::Folder {
        path: path.to_path_buf(),
        source,
    })
}

fn read_folder(path: &Path) -> Result<ModelFiles, Error> {
    let mut folder = read::Folder::open(path)?;
    let config = config::Config::read(&mut folder)?;
    let mut pairs = config.metadata();
    pairs.extend(tokenizer::metadata(&mut folder, &config)?);
    let shards = shards::Shards::open(path)?;
    let tensors = tensors::map(&config, &shards)?;
    Ok(ModelFiles {
        path: path.to_path_buf(),
        files: shards.files,
        identities: shards.identities,
        metadata: Metadata::from_pairs(pairs),
        tensors,
        recipe: config.recipe(),
        description: Some(folder.digest()),
    })
}
