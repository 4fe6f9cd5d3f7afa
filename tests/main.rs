//! The one integration binary: a file per behaviour.

mod equal_bytes;
mod reference;
mod support;
