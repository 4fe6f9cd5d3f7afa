//! One model and one decode worker in this process.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::config::{self, Config, ModelSource};
use crate::engine::{Pool, Task};
use crate::job::{Event, FinishReason, JobId, SamplingParams, SequenceEvent};
use crate::model::{self, KV_BLOCK_TOKENS, LoadedModel};
use crate::text::Message;

use super::Error;
use super::progress::Conversion;

/// Events between the worker and this thread; when it is full the worker waits for us to print.
const EVENTS: usize = 64;

/// The worker plans ahead in larger steps than a short prompt needs; room for these costs little.
const FEWEST_POSITIONS: usize = 256;

/// A loaded model, and the worker once it was started.
pub(super) struct Session {
    pub(super) loaded: LoadedModel,
    config: Config,
    running: Option<Running>,
    /// The number of the next prompt: events of an earlier one are not mistaken for it.
    next: Cell<i64>,
}

struct Running {
    pool: Pool,
    events: async_channel::Receiver<SequenceEvent>,
    elapsed: Duration,
    kv_bytes: u64,
}

/// One answer, and how long it took.
pub(super) struct Generated {
    pub(super) prompt_tokens: usize,
    pub(super) tokens: Vec<u32>,
    pub(super) text: String,
    /// `None` when it was stopped from outside.
    pub(super) finish: Option<FinishReason>,
    /// From the prompt to the first token.
    pub(super) first_token: Duration,
    /// From the first token to the last.
    pub(super) decode: Duration,
}

/// A daemon can hold back what it computes; here, every token is printed at once, so what would be verified
/// in the background is verified first.
fn before_printing(verify: config::Verify) -> config::Verify {
    match verify {
        config::Verify::Background | config::Verify::Full => config::Verify::Full,
        config::Verify::Header => config::Verify::Header,
    }
}

impl Session {
    pub(super) fn load(model: &config::Model, config: Config) -> Result<Self, Error> {
        let progress = match &model.source {
            ModelSource::Gguf(path) | ModelSource::Safetensors(path) => Conversion::of(path),
            // Made in about the time that it takes to say so.
            ModelSource::Synthetic(_) => Conversion::silent(),
        };
        let cache = config::Cache {
            verify: before_printing(config.cache.verify),
            ..config.cache.clone()
        };
        let loaded = model::load(model, config.compute.elements, &cache, &progress)
            .map_err(|problem| Error::Failed(problem.to_string()))?;
        Ok(Session {
            loaded,
            config,
            running: None,
            next: Cell::new(1),
        })
    }

    /// Starts the worker with room for one sequence of `positions`, as far as model and configuration allow.
    pub(super) fn start(&mut self, positions: usize) -> Result<(), Error> {
        let started = Instant::now();
        let positions = positions.max(FEWEST_POSITIONS).min(self.context());
        let blocks = positions.div_ceil(KV_BLOCK_TOKENS) as u64;
        let wanted = blocks.saturating_mul(self.loaded.model.kv_block_bytes() as u64);
        let workers = config::Workers {
            count: 1,
            slots: 1,
            kv_bytes: wanted.min(self.config.workers.kv_bytes),
            ..self.config.workers.clone()
        };
        let (sender, events) = async_channel::bounded(EVENTS);
        let pool = Pool::start(
            Arc::clone(&self.loaded.model),
            Arc::clone(&self.loaded.tokenizer),
            &self.config.compute,
            &workers,
            sender,
        )
        .map_err(|problem| Error::Failed(problem.to_string()))?;
        let elapsed = started.elapsed();
        self.running = Some(Running {
            pool,
            events,
            elapsed,
            kv_bytes: workers.kv_bytes,
        });
        Ok(())
    }

    /// Positions that prompt and output can share.
    pub(super) fn context(&self) -> usize {
        self.loaded.info.context
    }

    /// Bytes for keys and values, and the time the worker took to start; `None` before the start.
    pub(super) fn worker(&self) -> Option<(u64, Duration)> {
        self.running
            .as_ref()
            .map(|running| (running.kv_bytes, running.elapsed))
    }

    pub(super) fn encode(&self, text: &str) -> Result<Vec<u32>, Error> {
        self.loaded
            .tokenizer
            .encode(text, true, true)
            .map_err(|problem| Error::Failed(problem.to_string()))
    }

    pub(super) fn encode_chat(&self, messages: &[Message]) -> Result<Vec<u32>, Error> {
        let LoadedModel {
            template,
            tokenizer,
            ..
        } = &self.loaded;
        template
            .encode(tokenizer, messages)
            .map_err(|problem| Error::Failed(problem.to_string()))
    }

    /// Runs one prompt to its end; `cancelled` ends it at the next token.
    pub(super) fn generate(
        &self,
        prompt: Vec<u32>,
        params: &SamplingParams,
        cancelled: &Arc<AtomicBool>,
        on_text: &mut dyn FnMut(&str) -> Result<(), Error>,
    ) -> Result<Generated, Error> {
        let stopped = || Error::Failed("the decode worker has stopped".into());
        let running = self.running.as_ref().ok_or_else(stopped)?;
        let room = self.context().min(running.pool.max_positions());
        let prompt_tokens = prompt.len();
        if prompt_tokens == 0 {
            return Err(Error::Failed("the prompt is empty".into()));
        }
        if prompt_tokens >= room {
            return Err(Error::Failed(format!(
                "the prompt has {prompt_tokens} tokens, and prompt and answer must fit into {room}"
            )));
        }
        let job = JobId(self.next.replace(self.next.get() + 1));
        let started = Instant::now();
        running.pool.submit(Task {
            job,
            sequence: 0,
            prompt: prompt.into(),
            generated: Arc::default(),
            priority: 0,
            score_prompt: false,
            params: Arc::new(params.clone()),
            cancelled: Arc::clone(cancelled),
        });

        let mut generated = Generated {
            prompt_tokens,
            tokens: Vec::new(),
            text: String::new(),
            finish: None,
            first_token: Duration::ZERO,
            decode: Duration::ZERO,
        };
        loop {
            let event = running.events.recv_blocking().map_err(|_| stopped())?;
            if event.job != job {
                continue;
            }
            let (text, end) = match event.event {
                Event::Token(token) => {
                    if generated.tokens.is_empty() {
                        generated.first_token = started.elapsed();
                    }
                    generated.decode = started.elapsed().saturating_sub(generated.first_token);
                    generated.tokens.push(token.id);
                    (token.text, false)
                }
                Event::Finished { reason, text } => {
                    generated.finish = Some(reason);
                    (text, true)
                }
                Event::Scored(_) => (String::new(), false),
                Event::Stopped if !cancelled.load(Ordering::Relaxed) => return Err(stopped()),
                Event::Stopped => (String::new(), true),
                Event::Failed { message, .. } => return Err(Error::Failed(message)),
            };
            if !text.is_empty() {
                on_text(&text)?;
                generated.text.push_str(&text);
            }
            if end {
                return Ok(generated);
            }
        }
    }
}
