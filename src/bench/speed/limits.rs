//! What a workload could take at least, by this machine's reading and multiplying.

use memmap2::MmapMut;

use crate::bench::roofline::{multiply_rate, read_rate};
use crate::compute::{Isa, Team};
use crate::model::Model;

use super::workload::Workload;

/// How often each rate is measured for one limit.
const LOOKS: usize = 2;

/// What one step must read and multiply.
#[derive(Debug, Clone, Copy)]
pub(super) struct Demand {
    pub(super) bytes: f64,
    pub(super) operations: f64,
}

/// Sizes of a model that decide what its steps demand.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    /// Weights of all layers, and of the output matrix.
    layers: f64,
    output: f64,
    weight_bytes: f64,
    /// Keys and values of one position, in values.
    position: f64,
    kv_bytes: f64,
    /// Query values for each value of the keys.
    group: f64,
}

impl Sizes {
    pub(super) fn of(model: &Model) -> Sizes {
        let hyper = model.hyper();
        let (layers, output) = model.step_weights();
        let kv = model.kv_shape().element.bytes() as f64;
        let weight = model.element().bytes() as f64;
        let position = 2 * hyper.layers * hyper.kv_heads * hyper.head_dim;
        Sizes {
            // What of it is FP32 vectors is less than a thousandth.
            layers: layers as f64 / weight,
            output: output as f64 / weight,
            weight_bytes: weight,
            position: position as f64,
            kv_bytes: kv,
            group: (hyper.heads / hyper.kv_heads) as f64,
        }
    }

    /// The mean step of a workload: every weight is read once, keys and values once for each sequence. The
    /// output matrix serves one token of each sequence.
    pub(super) fn step(&self, workload: &Workload) -> Demand {
        let sequences = workload.sequences as f64;
        let tokens = workload.step_tokens() as f64;
        // Half of what the workload adds has been added, on the mean.
        let seen = workload.depth as f64 + (workload.together * workload.steps) as f64 / 2.0;
        let weights = (self.layers + self.output) * self.weight_bytes;
        let kv = sequences * seen * self.position * self.kv_bytes;
        let products = self.layers * tokens + self.output * sequences;
        let attention = tokens * seen * self.position * self.group;
        Demand {
            bytes: weights + kv,
            operations: 2.0 * (products + attention),
        }
    }
}

/// Rates of one moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rates {
    pub(super) bytes_per_second: f64,
    pub(super) operations_per_second: f64,
}

impl Rates {
    /// `memory` is read to measure; no cache may hold it.
    pub(super) fn now(team: &Team, isa: Isa, memory: &mut MmapMut, rounds: usize) -> Rates {
        // A limit is the best of what was seen: the first turn finds threads asleep and clocks low.
        let best = |rate: &mut dyn FnMut() -> f64| (0..LOOKS).map(|_| rate()).fold(0.0, f64::max);
        Rates {
            bytes_per_second: best(&mut || read_rate(team, memory)),
            operations_per_second: best(&mut || multiply_rate(team, isa, rounds)),
        }
    }

    /// The better of two moments.
    pub(super) fn or(self, other: Rates) -> Rates {
        Rates {
            bytes_per_second: self.bytes_per_second.max(other.bytes_per_second),
            operations_per_second: self.operations_per_second.max(other.operations_per_second),
        }
    }

    /// Seconds: reading and multiplying can go on at the same time, so the slower one counts.
    pub(super) fn least(&self, demand: Demand) -> f64 {
        let reading = demand.bytes / self.bytes_per_second;
        reading.max(demand.operations / self.operations_per_second)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::speed::workload::Kind;

    #[test]
    fn a_step_reads_weights_once_and_multiplies_for_each_token() {
        let sizes = Sizes {
            layers: 1000.0,
            output: 100.0,
            weight_bytes: 4.0,
            position: 10.0,
            kv_bytes: 4.0,
            group: 3.0,
        };
        let workload = |sequences, together, steps, depth| Workload {
            kind: Kind::Batch,
            depth,
            sequences,
            together,
            steps,
        };
        let one = sizes.step(&workload(1, 1, 2, 4));
        assert_eq!(
            (one.bytes, one.operations),
            (4.0 * 1150.0, 2.0 * (1100.0 + 150.0))
        );
        let batch = sizes.step(&workload(2, 1, 2, 4));
        assert_eq!(
            (batch.bytes, batch.operations),
            (4.0 * 1200.0, 2.0 * (2200.0 + 300.0))
        );
        let prompt = sizes.step(&workload(1, 10, 1, 0));
        assert_eq!(
            (prompt.bytes, prompt.operations),
            (4.0 * 1150.0, 2.0 * (10_100.0 + 1500.0))
        );
        let narrow = Sizes {
            weight_bytes: 2.0,
            ..sizes
        };
        assert_eq!(
            narrow.step(&workload(1, 1, 2, 4)).bytes,
            2.0 * 1100.0 + 4.0 * 50.0
        );
        let rates = Rates {
            bytes_per_second: 100.0,
            operations_per_second: 10.0,
        };
        let demand = |bytes, operations| Demand { bytes, operations };
        assert_eq!(rates.least(demand(200.0, 10.0)), 2.0);
        assert_eq!(rates.least(demand(200.0, 50.0)), 5.0);
    }
}
