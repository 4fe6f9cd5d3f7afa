//! What the API knows of the model: nothing until it is warm, then everything at once.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use crate::job::ModelInfo;
use crate::protocol::Context;
use crate::text::{ChatTemplate, Tokenizer};

/// A model that is being served.
pub struct Served {
    pub info: ModelInfo,
    pub tokenizer: Arc<Tokenizer>,
    pub template: Arc<ChatTemplate>,
    /// Positions one sequence can have: prompt and output.
    pub max_positions: usize,
    pub max_tokens_completion: u32,
    pub max_tokens_chat: u32,
}

impl Served {
    /// What resolving and rendering need.
    pub fn context(&self) -> Context<'_> {
        Context {
            info: &self.info,
            tokenizer: &self.tokenizer,
            template: &self.template,
            max_positions: self.max_positions,
            max_tokens_completion: self.max_tokens_completion,
            max_tokens_chat: self.max_tokens_chat,
        }
    }
}

/// Filled once by the daemon; read by every request. Cheap to clone.
#[derive(Clone, Default)]
pub struct ModelSlot {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    served: OnceLock<Arc<Served>>,
    total_bytes: AtomicU64,
    done_bytes: AtomicU64,
}

impl ModelSlot {
    /// The model is warm. A slot is filled once; a second model is ignored.
    pub fn fill(&self, served: Arc<Served>) {
        let _ = self.shared.served.set(served);
    }

    /// A conversion of this many bytes begins.
    pub fn begin(&self, total_bytes: u64) {
        self.shared.done_bytes.store(0, Ordering::Relaxed);
        self.shared
            .total_bytes
            .store(total_bytes, Ordering::Relaxed);
    }

    /// So many more bytes are done; returns how far it is, in percent.
    pub fn advance(&self, bytes: u64) -> u64 {
        self.shared.done_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.percent()
    }

    /// 0 while nothing is known.
    pub(super) fn percent(&self) -> u64 {
        let total = self.shared.total_bytes.load(Ordering::Relaxed);
        let done = self.shared.done_bytes.load(Ordering::Relaxed).min(total);
        done.saturating_mul(100).checked_div(total).unwrap_or(0)
    }

    pub(super) fn get(&self) -> Option<Arc<Served>> {
        self.shared.served.get().cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_a_share_of_the_bytes() {
        let slot = ModelSlot::default();
        assert_eq!(slot.percent(), 0);
        slot.begin(400);
        assert_eq!(slot.advance(100), 25);
        assert_eq!(slot.advance(1000), 100);
        assert!(slot.get().is_none());
    }
}
