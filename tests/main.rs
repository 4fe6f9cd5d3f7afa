mod engine_failures;
mod engine_fake;
mod engine_pool;
mod engine_text;
mod sampler;
