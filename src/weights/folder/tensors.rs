//! From the names of a folder to those of a GGUF file.

use safetensors::Dtype;

use crate::weights::dequant::TensorType;
use crate::weights::stored::{Bytes, RowOrder, StoredTensor};

use super::Error;
use super::architectures::{IGNORED, LAYER, OUTPUT, Row, Rows};
use super::config::Config;
use super::header::Entry;
use super::shards::Shards;

/// Every tensor of the architecture, in the order of its table. Fails on one that is missing, and on one
/// that is there and has no place.
pub(super) fn map(config: &Config, shards: &Shards) -> Result<Vec<StoredTensor>, Error> {
    let mut found = shards.tensors.clone();
    let mut tensors: Vec<StoredTensor> = made(config).into_iter().collect();
    let mut take = |row: &Row, folder: String, gguf: String| {
        let Some((number, entry)) = found.remove(&folder) else {
            return Err(Error::MissingTensor { name: folder });
        };
        tensors.push(stored(config, row, number, entry, gguf)?);
        Ok(())
    };
    for row in config.architecture.tensors {
        if !(config.tied && row.folder == OUTPUT) {
            take(row, row.folder.to_owned(), row.gguf.to_owned())?;
        }
    }
    for layer in 0..config.layers {
        for row in config.architecture.layer_tensors {
            let folder = format!("{LAYER}{layer}.{}", row.folder);
            take(row, folder, format!("blk.{layer}.{}", row.gguf))?;
        }
    }
    let ignored = |name: &str| {
        IGNORED.iter().any(|end| name.ends_with(end)) || (config.tied && name == OUTPUT)
    };
    match found.into_keys().find(|name| !ignored(name)) {
        Some(name) => Err(Error::UnknownTensor {
            name,
            architecture: config.architecture.gguf,
        }),
        None => Ok(tensors),
    }
}

fn stored(
    config: &Config,
    row: &Row,
    number: usize,
    entry: Entry,
    name: String,
) -> Result<StoredTensor, Error> {
    let kind = match entry.kind {
        Dtype::F32 => TensorType::F32,
        Dtype::F16 => TensorType::F16,
        Dtype::BF16 => TensorType::Bf16,
        other => {
            return Err(Error::TensorType {
                name: entry.name,
                found: format!("{other:?}"),
            });
        }
    };
    let order = match row.rows {
        Rows::Kept => RowOrder::Natural,
        Rows::PairedByHead => paired(config.heads, config.head, &entry)?,
        Rows::PairedByKvHead => paired(config.kv_heads, config.head, &entry)?,
    };
    // A folder counts dimensions from the outermost, a GGUF file from the innermost.
    let dimensions = entry.shape.into_iter().rev().collect();
    Ok(StoredTensor {
        name,
        dimensions,
        kind,
        bytes: Bytes::File {
            number,
            range: entry.bytes,
        },
        order,
    })
}

fn paired(heads: usize, head: usize, entry: &Entry) -> Result<RowOrder, Error> {
    let rows = heads.saturating_mul(head);
    let whole = entry.shape.len() == 2 && entry.shape.first() == Some(&rows);
    if whole && head > 0 && head.is_multiple_of(2) {
        return Ok(RowOrder::HalvesApart { head });
    }
    Err(Error::Heads {
        name: entry.name.clone(),
        shape: entry.shape.clone(),
        rows,
        heads,
        head,
    })
}

/// The tensor that the converter adds to those of the folder.
fn made(config: &Config) -> Option<StoredTensor> {
    let factors = config.rope_factors.as_ref()?;
    Some(StoredTensor {
        name: "rope_freqs.weight".to_owned(),
        dimensions: vec![factors.len()],
        kind: TensorType::F32,
        bytes: Bytes::Made(
            factors
                .iter()
                .flat_map(|factor| factor.to_le_bytes())
                .collect(),
        ),
        order: RowOrder::Natural,
    })
}
