//! What can be asked for. `woollyctl bench` and `fast_fp32_benchmark` have the same verbs.

use clap::Subcommand;

use super::Error;
use super::load::{Convert, Load};
use super::roofline::Roofline;
use super::speed::Speed;

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Measure what a model costs before its first token: conversion, cache, start, synthetic weights
    Load(Load),
    /// Measure prompts, generation, batches and depths on a model, beside what the machine could give
    Speed(Speed),
    /// Measure the limits of this machine: reading memory, multiplying, meeting of threads, fresh memory
    Roofline(Roofline),
    /// Convert a model in a process of its own and tell its time and memory; `load` runs this
    #[command(hide = true)]
    Convert(Convert),
}

impl Verb {
    /// Measures, and gives the text for standard output. `words` lead from the name of the running program
    /// to these verbs.
    pub fn run(&self, words: &[&str], json: bool) -> Result<String, Error> {
        match self {
            Verb::Load(args) => args.run(words, json),
            Verb::Speed(args) => args.run(json),
            Verb::Roofline(args) => args.run(json),
            Verb::Convert(args) => args.run(),
        }
    }
}
