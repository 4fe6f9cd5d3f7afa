//! A fixed pool of decode workers with continuous batching.
//!
//! A [`Task`] goes in, [`crate::job::SequenceEvent`]s come out. Sequences join and leave a worker
//! between two steps of the model; prompts are computed in chunks beside the tokens of running
//! sequences. What a sequence outputs depends on the weights, its prompt, its parameters, its seed
//! and its number only, never on its neighbours, preemption or the number of workers.
//!
//! - [`Pool`]: starts, feeds and stops the workers.
//! - `worker`: the loop of one leader thread; `scheduler`: its decisions, pure.
//! - `prefix`: which KV blocks hold which tokens, so that equal beginnings are computed once.
//! - `draft`: what may follow, computed ahead where that is cheap.
//! - `sequence`: one sequence from logits to text; [`Sampler`], `shaper`, `typical` and `stop` are its parts.
//! - [`Stepper`], [`Vocabulary`]: what a worker needs of model and tokenizer.
//!
//! Invariant: does not know that jobs are durable, nor who waits for them.

mod candidates;
mod draft;
mod pool;
mod prefix;
mod refusal;
mod sampler;
mod scheduler;
mod sequence;
mod shaper;
mod softmax;
mod stepper;
mod stop;
mod typical;
mod worker;

pub use pool::{Pool, Task};
pub use sampler::{Sampler, Scratch, Unusable, report};
pub use stepper::{Shape, Stepper, Vocabulary};
