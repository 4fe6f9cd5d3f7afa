//! What the API knows of the model: how far it is, until it is warm, then everything at once.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use crate::job::ModelInfo;
use crate::protocol::Context;
use crate::text::{ChatTemplate, Tokenizer};

/// A model that is being served.
pub struct Served {
    pub info: ModelInfo,
    /// When it became warm: Unix seconds.
    pub ready_at: i64,
    pub tokenizer: Arc<Tokenizer>,
    pub template: Arc<ChatTemplate>,
    /// Positions one sequence can have: prompt and output.
    pub max_positions: usize,
    pub max_tokens_completion: u32,
    pub max_tokens_chat: u32,
    /// What somebody should know of a model that is served nevertheless, as a sentence.
    pub warning: Option<String>,
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

/// Filled by the daemon, and emptied when the model must be loaded again; read by every request. Cheap to
/// clone.
#[derive(Clone, Default)]
pub struct ModelSlot {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    served: RwLock<Option<Arc<Served>>>,
    /// What is being done to the model, while that is known.
    work: RwLock<Option<&'static str>>,
    verifying: AtomicBool,
    total_bytes: AtomicU64,
    done_bytes: AtomicU64,
}

impl ModelSlot {
    /// The model is warm. While it is being verified, answers wait.
    pub fn fill(&self, served: Arc<Served>, verifying: bool) {
        self.shared.verifying.store(verifying, Ordering::Relaxed);
        self.put(Some(served));
    }

    /// Its weights are what they should be.
    pub fn verified(&self) {
        self.shared.verifying.store(false, Ordering::Relaxed);
    }

    /// The model has to be loaded again. Requests that wait for an answer go on waiting.
    pub fn empty(&self) {
        self.shared.total_bytes.store(0, Ordering::Relaxed);
        self.put(None);
    }

    /// A `work` over this many bytes begins: "the weights are being made".
    pub fn begin(&self, work: &'static str, total_bytes: u64) {
        self.shared.done_bytes.store(0, Ordering::Relaxed);
        self.shared
            .total_bytes
            .store(total_bytes, Ordering::Relaxed);
        self.set_work(Some(work));
    }

    /// So many more bytes are done; returns how far it is, in percent.
    pub fn advance(&self, bytes: u64) -> u64 {
        self.shared.done_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.percent()
    }

    /// It is done, and the rest of the model follows.
    pub fn finish(&self) {
        self.set_work(None);
    }

    fn set_work(&self, work: Option<&'static str>) {
        *self
            .shared
            .work
            .write()
            .unwrap_or_else(PoisonError::into_inner) = work;
    }

    /// 0 while nothing is known.
    pub(super) fn percent(&self) -> u64 {
        let total = self.shared.total_bytes.load(Ordering::Relaxed);
        let done = self.shared.done_bytes.load(Ordering::Relaxed).min(total);
        done.saturating_mul(100).checked_div(total).unwrap_or(0)
    }

    pub(super) fn get(&self) -> Option<Arc<Served>> {
        // A whole value is stored or none, so a panic elsewhere does not spoil it.
        let served = self.shared.served.read();
        served.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What there is to say of the model right now, in one sentence.
    pub(super) fn remark(&self) -> Option<String> {
        match self.get() {
            None => {
                let work = *self
                    .shared
                    .work
                    .read()
                    .unwrap_or_else(PoisonError::into_inner);
                let work = work.unwrap_or("the model is being loaded");
                Some(format!("{work}; jobs are accepted and wait"))
            }
            Some(_) if self.shared.verifying.load(Ordering::Relaxed) => {
                Some("the weights are being verified; jobs run, and their output waits".to_owned())
            }
            Some(served) => served.warning.clone(),
        }
    }

    fn put(&self, served: Option<Arc<Served>>) {
        let slot = self.shared.served.write();
        *slot.unwrap_or_else(PoisonError::into_inner) = served;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_a_share_of_the_bytes() {
        let slot = ModelSlot::default();
        assert_eq!(slot.percent(), 0);
        slot.begin("it is made", 400);
        assert_eq!(slot.advance(100), 25);
        assert_eq!(slot.advance(1000), 100);
        slot.empty();
        assert_eq!(slot.percent(), 0);
        assert!(slot.get().is_none());
    }

    #[test]
    fn a_cold_model_is_being_loaded_or_made() {
        let slot = ModelSlot::default();
        let says = |begin: &str| {
            let sentence = format!("{begin}; jobs are accepted and wait");
            assert_eq!(slot.remark(), Some(sentence));
        };
        says("the model is being loaded");
        slot.begin("the weights are being made", 1);
        says("the weights are being made");
        slot.finish();
        says("the model is being loaded");
    }
}
