//! Which tasks a worker can run: pure.

use super::Task;
use super::stepper::Shape;

/// A task that no worker can run.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("the prompt is empty; it must have at least one token")]
    EmptyPrompt,
    #[error("the prompt has the token {id}, but the model's tokens end at {last}")]
    UnknownToken { id: u32, last: usize },
    #[error("the prompt has {prompt} tokens, but the model's context is {context}")]
    PromptTooLong { prompt: usize, context: usize },
    #[error(
        "prompt and output may need {needed} positions, but the KV memory of a worker holds {positions}: \
         lower max_tokens or raise workers.kv_bytes"
    )]
    DoesNotFit { needed: usize, positions: usize },
    #[error("the sequence was said to go on, but it would have ended at its token number {token}")]
    EndedBefore { token: usize },
}

impl Refusal {
    /// Ours, not the request's.
    pub(super) fn is_fault(&self) -> bool {
        matches!(self, Refusal::EndedBefore { .. })
    }
}

/// Tokens that a task may generate: `max_tokens`, or less where the context ends.
pub(super) fn output_limit(task: &Task, shape: Shape, positions: usize) -> Result<usize, Refusal> {
    let prompt = task.prompt.len();
    if prompt == 0 {
        return Err(Refusal::EmptyPrompt);
    }
    if let Some(&id) = task.prompt.iter().find(|&&id| id as usize >= shape.vocab) {
        return Err(Refusal::UnknownToken {
            id,
            last: shape.vocab.saturating_sub(1),
        });
    }
    let Some(room) = shape.context.checked_sub(prompt) else {
        return Err(Refusal::PromptTooLong {
            prompt,
            context: shape.context,
        });
    };
    let limit = room.min(task.params.max_tokens as usize);
    if prompt + limit > positions {
        return Err(Refusal::DoesNotFit {
            needed: prompt + limit,
            positions,
        });
    }
    Ok(limit)
}
