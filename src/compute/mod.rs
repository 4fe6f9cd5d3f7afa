//! Panels, kernels for each instruction set, the one summing order, and the thread team.
//!
//! Invariant: knows nothing of the rest of the crate but the words of [`crate::tensor`].
