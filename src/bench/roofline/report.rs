//! The limits of a machine, as a table and as JSON.

use serde::Serialize;

use crate::bench::machine::Machine;
use crate::bench::samples::Spread;
use crate::bench::table::{Table, spread};

#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) machine: Machine,
    pub(super) limits: Vec<Limits>,
}

/// With so many threads at once.
#[derive(Debug, Serialize)]
pub(super) struct Limits {
    pub(super) threads: usize,
    /// Of memory that no cache holds.
    pub(super) read_gigabytes_per_second: Spread,
    /// Fused multiply-adds in registers, two operations each.
    pub(super) gigaflops: Spread,
    /// Phases of the thread team without work: what it costs to meet.
    pub(super) phases_per_second: Spread,
    /// Touching memory that the system must first give.
    pub(super) fresh_gigabytes_per_second: Spread,
}

impl Limits {
    fn phase_nanoseconds(&self) -> Spread {
        let Spread { median, min, max } = self.phases_per_second;
        Spread {
            median: 1e9 / median,
            min: 1e9 / max,
            max: 1e9 / min,
        }
    }
}

impl Report {
    pub(super) fn json(&self) -> String {
        format!("{}\n", serde_json::json!(self))
    }

    pub(super) fn markdown(&self) -> String {
        let Machine { cpus, isa, .. } = self.machine;
        let head = [
            "threads",
            "read GB/s",
            "multiply-add GFLOP/s",
            "phase ns",
            "fresh memory GB/s",
        ];
        let mut table = Table::new(format!("Limits of this machine: {cpus} CPUs, {isa}"), &head);
        table.rows.extend(self.limits.iter().map(|limits| {
            vec![
                limits.threads.to_string(),
                spread(limits.read_gigabytes_per_second),
                spread(limits.gigaflops),
                spread(limits.phase_nanoseconds()),
                spread(limits.fresh_gigabytes_per_second),
            ]
        }));
        table.markdown()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_read_the_time_of_a_phase_and_programs_its_rate() {
        let one = |median: f64| Spread {
            median,
            min: median / 2.0,
            max: median * 2.0,
        };
        let report = Report {
            machine: Machine {
                cpus: 2,
                isa: "avx2",
                available_memory: None,
            },
            limits: vec![Limits {
                threads: 2,
                read_gigabytes_per_second: one(40.0),
                gigaflops: one(400.0),
                phases_per_second: one(5e6),
                fresh_gigabytes_per_second: one(4.0),
            }],
        };
        let text = report.markdown();
        let row = "40.0 (20.0-80.0) |    400 (200-800) | 200 (100-400) |  4.00 (2.00-8.00)";
        let narrow = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(narrow(&text).contains(&narrow(row)), "{text}");
        let json: serde_json::Value = serde_json::from_str(&report.json()).unwrap();
        assert_eq!(json["limits"][0]["phases_per_second"]["median"], 5e6);
    }
}
