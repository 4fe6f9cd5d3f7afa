//! Running prompts through a real engine, in process.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use woolly::config::{Compute, IsaChoice, Workers};
use woolly::engine::{Pool, Task};
use woolly::job::{Event, FinishReason, JobId, SamplingParams, Token};
use woolly::model::LoadedModel;
use woolly::tensor::Elements;

/// Greedy, no end.
pub fn greedy(max_tokens: u32) -> SamplingParams {
    SamplingParams {
        max_tokens,
        temperature: 0.0,
        top_k: 0,
        top_p: 1.0,
        seed: 0,
        stop: Vec::new(),
        ignore_eos: false,
        logprobs: None,
        shaping: woolly::job::Shaping::default(),
    }
}

/// How an engine is set up for a run.
#[derive(Debug, Clone, Copy)]
pub struct Setup {
    pub isa: IsaChoice,
    pub workers: usize,
    pub threads: usize,
    pub slots: usize,
    pub prefill_chunk: usize,
    pub speculation: bool,
    pub kv_bytes: u64,
    /// Whether the prompts' log-probabilities are wanted.
    pub score_prompts: bool,
}

impl Default for Setup {
    fn default() -> Self {
        Setup {
            isa: IsaChoice::Auto,
            workers: 1,
            threads: 2,
            slots: 16,
            prefill_chunk: 128,
            speculation: true,
            kv_bytes: 1 << 30,
            score_prompts: false,
        }
    }
}

/// What one sequence gave.
#[derive(Debug, Clone, PartialEq)]
pub struct Output {
    /// The prompt's tokens with log-probabilities, where they were wanted.
    pub scored: Vec<Token>,
    pub tokens: Vec<Token>,
    pub text: String,
    pub finish: FinishReason,
}

impl Output {
    pub fn ids(&self) -> Vec<u32> {
        self.tokens.iter().map(|token| token.id).collect()
    }
}

/// Runs all prompts; with `slots` of at least their number they run at the same time.
pub fn run(
    loaded: &LoadedModel,
    setup: Setup,
    prompts: &[(Vec<u32>, SamplingParams)],
) -> Vec<Output> {
    let (sender, events) = async_channel::bounded(1024);
    let workers = Workers {
        count: setup.workers,
        threads_per_worker: setup.threads,
        slots: setup.slots,
        prefill_chunk: setup.prefill_chunk,
        speculation: setup.speculation,
        kv_bytes: setup.kv_bytes,
    };
    let compute = Compute {
        elements: Elements::default(),
        isa: setup.isa,
    };
    let (model, tokenizer) = (Arc::clone(&loaded.model), Arc::clone(&loaded.tokenizer));
    let pool = Pool::start(model, tokenizer, &compute, &workers, sender).unwrap();
    let mut outputs: HashMap<JobId, Output> = HashMap::new();
    std::thread::scope(|scope| {
        let submit = || {
            for (i, (prompt, params)) in prompts.iter().enumerate() {
                pool.submit(Task {
                    job: JobId(i as i64),
                    sequence: 0,
                    prompt: prompt.as_slice().into(),
                    generated: Arc::default(),
                    priority: 0,
                    score_prompt: setup.score_prompts,
                    params: Arc::new(params.clone()),
                    cancelled: Arc::new(AtomicBool::new(false)),
                });
            }
        };
        scope.spawn(submit);
        let mut left = prompts.len();
        while left > 0 {
            let event = events.recv_blocking().unwrap();
            let output = outputs.entry(event.job).or_insert(Output {
                scored: Vec::new(),
                tokens: Vec::new(),
                text: String::new(),
                finish: FinishReason::Length,
            });
            match event.event {
                Event::Scored(token) => {
                    assert!(output.tokens.is_empty(), "scores come first");
                    output.scored.push(token);
                }
                Event::Token(token) => {
                    output.text.push_str(&token.text);
                    output.tokens.push(token);
                }
                Event::Finished { reason, text } => {
                    output.text.push_str(&text);
                    output.finish = reason;
                    left -= 1;
                }
                other => panic!("prompt {}: {other:?}", event.job),
            }
        }
    });
    pool.stop();
    (0..prompts.len())
        .map(|i| outputs.remove(&JobId(i as i64)).unwrap())
        .collect()
}
