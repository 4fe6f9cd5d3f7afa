//! What resolving and rendering need besides the body.

use crate::job::ModelInfo;
use crate::text::{ChatTemplate, Tokenizer};

/// The model as the protocol sees it, and the defaults of the configuration.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    pub info: &'a ModelInfo,
    pub tokenizer: &'a Tokenizer,
    pub template: &'a ChatTemplate,
    /// Positions one sequence can have: prompt and output.
    pub max_positions: usize,
    pub max_tokens_completion: u32,
    pub max_tokens_chat: u32,
}
