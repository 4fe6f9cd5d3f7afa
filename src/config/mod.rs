//! The TOML file as written ([`file`]), and what it means ([`resolved`]).
//!
//! Text goes through four steps, one file each: [`outline`] finds keys and lines and refuses unknown
//! keys, [`file`] reads types, [`resolve`] checks values and fills in defaults, [`resolved`] is what the
//! other parts are given. [`render`] goes the way back, so that the effective configuration can be printed
//! and read again.
//!
//! Unknown keys are errors that name the nearest known key. Every default is a named constant in
//! [`defaults`]; those that depend on the machine or the user come from [`environment`].
//!
//! Invariant: the first type does no I/O and holds only what was written; the second is valid.

mod defaults;
mod environment;
mod error;
mod file;
mod keys;
mod load;
mod outline;
mod render;
mod resolve;
mod resolved;
mod synthetic;
mod units;

pub use environment::default_socket;
pub use error::{Error, Place};
pub use resolve::OVERFLOW_UID;
pub use resolved::{
    Api, Cache, Compute, Config, Daemon, IsaChoice, Log, LogFormat, Model, ModelSource, Queue,
    Spool, Synthetic, SyntheticNorm, Verify, Workers,
};
pub use synthetic::Preset;
pub use units::{bytes_of, seconds_of};
