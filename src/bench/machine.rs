//! What a report says of the machine it was made on.

use serde::Serialize;

use crate::cache::available_memory;
use crate::compute::Isa;

#[derive(Debug, Serialize)]
pub(super) struct Machine {
    /// That this process may use.
    pub(super) cpus: usize,
    pub(super) isa: &'static str,
    pub(super) available_memory: Option<u64>,
}

impl Machine {
    pub(super) fn this() -> Machine {
        Machine {
            cpus: rayon::current_num_threads(),
            isa: Isa::best().name(),
            available_memory: available_memory(),
        }
    }
}
