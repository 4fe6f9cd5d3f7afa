//! The TOML file as written ([`file`]), and what it means ([`resolved`]).
//!
//! Unknown keys are errors that name the nearest known key. Every default is a named constant.
//!
//! Invariant: the first type does no I/O and holds only what was written; the second is valid.

mod resolved;

pub use resolved::{
    Api, Cache, Compute, Config, Daemon, IsaChoice, Log, LogFormat, Model, ModelSource, Queue,
    Synthetic, SyntheticNorm, Workers,
};
