//! From text to ids with the `tokenizers` crate, whatever the model: with control tokens, and without.
//!
//! Two pipelines share one vocabulary: one takes control tokens in text for what they are, the other
//! does not know them. The second is not the first with a switch, because then a control token would
//! still hide a user-defined token that it overlaps.

use std::collections::HashSet;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

use tokenizers::{AddedToken, NormalizerWrapper, OffsetReferential, OffsetType};

use super::Error;
use super::shared_model::Pipeline;
use super::vocabulary::{Kind, Vocabulary};

/// The encoder of one vocabulary.
pub(super) struct Pipelines {
    /// Knows user-defined and control tokens.
    with_controls: Pipeline,
    /// Knows user-defined tokens only.
    plain: Pipeline,
    controls: HashSet<u32>,
}

impl Pipelines {
    /// Adds user-defined and control tokens to a pipeline that knows none.
    pub(super) fn new(mut plain: Pipeline, vocabulary: &Vocabulary) -> Result<Self, Error> {
        let added = |special: bool, wanted: fn(Kind) -> bool| -> Vec<AddedToken> {
            let entries = vocabulary.names.iter().zip(&vocabulary.kinds);
            entries
                .filter(|(_, kind)| wanted(**kind))
                .map(|(name, _)| AddedToken::from(name.as_str(), special).normalized(false))
                .collect()
        };
        plain
            .add_tokens(added(false, |kind| kind == Kind::UserDefined))
            .map_err(tokenizer_error)?;
        let mut with_controls = plain.clone();
        with_controls
            .add_special_tokens(added(true, Kind::is_control))
            .map_err(tokenizer_error)?;
        let controls = (0..)
            .zip(&vocabulary.kinds)
            .filter(|(_, kind)| kind.is_control())
            .map(|(id, _)| id)
            .collect();
        Ok(Pipelines {
            with_controls,
            plain,
            controls,
        })
    }

    pub(super) fn encode(&self, text: &str, parse_special: bool) -> Result<Vec<u32>, Error> {
        let pipeline = if parse_special {
            &self.with_controls
        } else {
            &self.plain
        };
        let encode = || pipeline.encode_fast(text, false).map_err(tokenizer_error);
        Ok(guarded("encoding a text", encode)?.get_ids().to_vec())
    }

    /// Where `encode` with `parse_special` finds control tokens, in order, with their ids.
    pub(super) fn control_spans(&self, text: &str) -> Vec<(Range<usize>, u32)> {
        let pieces = self
            .with_controls
            .get_added_vocabulary()
            .extract_and_normalize::<NormalizerWrapper>(None, text);
        pieces
            .get_splits(OffsetReferential::Original, OffsetType::Byte)
            .into_iter()
            .filter_map(|(_, (start, end), tokens)| {
                let id = tokens.as_ref()?.first()?.id;
                self.controls.contains(&id).then_some((start..end, id))
            })
            .collect()
    }
}

pub(super) fn tokenizer_error(error: tokenizers::Error) -> Error {
    Error::Tokenizer(error.to_string())
}

/// Runs code of the crate on what a model's author wrote. Its engine of regular expressions panics
/// where one goes back too often, and which expressions there are is not ours to choose.
pub(super) fn guarded<T>(what: &str, run: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    // Nothing is shared with what runs here but the pipeline, which encoding does not change.
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| {
        let text =
            format!("{what} failed inside of the library; an expression may go back too often");
        Err(Error::Tokenizer(text))
    })
}
