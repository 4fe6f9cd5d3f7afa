//! Whether a model can be served: everything that can be known before its weights are read, because a
//! conversion takes minutes and gigabytes.

use crate::text::Tokenizer;
use crate::weights::{Metadata, Shape};

use super::{Error, Hyper, expect};

/// Checks sizes, tokenizer and tensors. What only building the tokenizer or the template finds (an entry
/// that stands twice, a merge that joins nothing) is not asked here: that takes longer than a start with
/// a cache file, and runs beside the conversion.
pub fn accept(metadata: &Metadata, shapes: &[Shape]) -> Result<(), Error> {
    let (hyper, spec) = Hyper::read(metadata)?;
    let tokens = Tokenizer::check(metadata)?;
    let weights = expect::weights(&hyper, spec, shapes)?;
    compare(tokens.unwrap_or(0), weights.embedding.rows)
}

/// Every token needs a row of the embedding; rows without a token are padding.
pub(super) fn compare(tokens: usize, rows: usize) -> Result<(), Error> {
    if tokens > rows {
        return Err(Error::TooManyTokens { tokens, rows });
    }
    Ok(())
}
