//! The figures of a load benchmark, as tables and as JSON. Times are in seconds, sizes in bytes.

use serde::Serialize;

use crate::bench::machine::Machine;
use crate::bench::samples::Spread;
use crate::bench::table::{Table, millions, milliseconds, spread};

use super::resident::Resident;

#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) machine: Machine,
    pub(super) dequantization: Vec<Dequantization>,
    /// Without a model there is nothing to convert.
    pub(super) conversion: Option<Conversion>,
    pub(super) start: Option<Start>,
    /// Why the model was converted but not started.
    pub(super) refused: Option<String>,
    pub(super) generation: Vec<Generation>,
    pub(super) largest: Vec<Largest>,
}

/// One core, one type.
#[derive(Debug, Serialize)]
pub(super) struct Dequantization {
    #[serde(rename = "type")]
    pub(super) name: &'static str,
    /// Of FP32 values written.
    pub(super) gigabytes_per_second: Spread,
    pub(super) fill_gigabytes_per_second: Spread,
    /// How many times as long as storing one value in the same memory.
    pub(super) times_fill: Spread,
}

#[derive(Debug, Serialize)]
pub(super) struct Conversion {
    pub(super) source_bytes: u64,
    pub(super) cache_bytes: u64,
    pub(super) seconds: Spread,
    pub(super) gigabytes_per_second: Spread,
    pub(super) copy_seconds: Spread,
    pub(super) copy_gigabytes_per_second: Spread,
    pub(super) times_copy: Spread,
    /// Largest resident size of the process, mapped files included.
    pub(super) peak_bytes: u64,
    /// Peaks seen by looking every few milliseconds.
    pub(super) memory: Resident,
}

/// A start that finds its cache file.
#[derive(Debug, Serialize)]
pub(super) struct Start {
    pub(super) modes: Vec<Mode>,
    /// On one core.
    pub(super) verification_gigabytes_per_second: Spread,
}

#[derive(Debug, Serialize)]
pub(super) struct Mode {
    pub(super) verify: &'static str,
    /// Source opened, cache file mapped, weights bound.
    pub(super) bound_seconds: Spread,
    /// Tokenizer and chat template built, on a thread of their own meanwhile.
    pub(super) tokenizer_seconds: Spread,
    /// Both.
    pub(super) ready_seconds: Spread,
}

#[derive(Debug, Serialize)]
pub(super) struct Generation {
    /// "fresh" from the system, or "touched" before.
    pub(super) memory: &'static str,
    pub(super) bytes: u64,
    pub(super) gigabytes_per_second: Spread,
    pub(super) fill_gigabytes_per_second: Spread,
    pub(super) times_fill: Spread,
    /// The same of the seconds that all cores were busy: what is left of the ratio when neighbours take
    /// cores away.
    pub(super) core_times_fill: Spread,
}

/// The largest synthetic model that is ready in time: the shape of `135m` with another number of layers.
#[derive(Debug, Serialize)]
pub(super) struct Largest {
    /// "memory" or "file".
    pub(super) storage: &'static str,
    pub(super) verify: Option<&'static str>,
    pub(super) layers: usize,
    pub(super) parameters: u64,
    pub(super) bytes: u64,
    /// `None` when not even one layer was fast enough.
    pub(super) seconds: Option<Spread>,
    /// What kept a larger one from being found: "time", or "room" in memory or on the disk.
    pub(super) limit: &'static str,
}

impl Report {
    pub(super) fn json(&self) -> String {
        format!("{}\n", serde_json::json!(self))
    }

    pub(super) fn markdown(&self) -> String {
        let Machine { cpus, isa, .. } = self.machine;
        let mut tables = vec![dequantization(&self.dequantization)];
        tables.extend(self.conversion.as_ref().map(conversion));
        tables.extend(self.start.as_ref().map(start));
        tables.extend(self.refused.as_deref().map(refused));
        tables.push(generation(&self.generation));
        tables.push(largest(&self.largest));
        let tables: Vec<String> = tables.iter().map(Table::markdown).collect();
        format!(
            "# Load benchmark: {cpus} CPUs, {isa}\n\n\
             Medians (smallest-largest). \"Times\" compares with the yardstick of the same turn; lower is better.\n\n\
             {}",
            tables.join("\n")
        )
    }
}

fn dequantization(rows: &[Dequantization]) -> Table {
    let head = ["type", "GB/s of FP32", "fill GB/s", "times fill"];
    let mut table = Table::new("Dequantization, one core, touched memory", &head);
    table.rows.extend(rows.iter().map(|row| {
        vec![
            row.name.to_owned(),
            spread(row.gigabytes_per_second),
            spread(row.fill_gigabytes_per_second),
            spread(row.times_fill),
        ]
    }));
    table
}

fn conversion(found: &Conversion) -> Table {
    let title = format!(
        "Conversion of {} MB into {} MB, and a copy of the result, both synchronized",
        millions(found.source_bytes),
        millions(found.cache_bytes)
    );
    let mut table = Table::new(title, &["", "ms", "GB/s", "times copy"]);
    table.rows.push(vec![
        "conversion".to_owned(),
        milliseconds(found.seconds),
        spread(found.gigabytes_per_second),
        spread(found.times_copy),
    ]);
    table.rows.push(vec![
        "copy (std::io::copy)".to_owned(),
        milliseconds(found.copy_seconds),
        spread(found.copy_gigabytes_per_second),
        String::new(),
    ]);
    for (what, bytes) in [
        (
            "peak memory above the mapped source, MB",
            found.memory.above_source,
        ),
        ("of it in no file, MB", found.memory.anonymous),
        ("peak resident size with all maps, MB", found.peak_bytes),
    ] {
        let cells = [
            what.to_owned(),
            millions(bytes),
            String::new(),
            String::new(),
        ];
        table.rows.push(cells.into());
    }
    table
}

fn start(found: &Start) -> Table {
    let head = ["", "mapped and bound", "tokenizer beside it", "ready"];
    let mut table = Table::new("Start with the cache file in memory, ms", &head);
    table.rows.extend(found.modes.iter().map(|mode| {
        vec![
            format!("verify = \"{}\"", mode.verify),
            milliseconds(mode.bound_seconds),
            milliseconds(mode.tokenizer_seconds),
            milliseconds(mode.ready_seconds),
        ]
    }));
    table.rows.push(vec![
        "verification, GB/s per core".to_owned(),
        spread(found.verification_gigabytes_per_second),
        String::new(),
        String::new(),
    ]);
    table
}

fn refused(reason: &str) -> Table {
    let mut table = Table::new("Start with the cache file in memory", &["not measured"]);
    table.rows.push(vec![reason.to_owned()]);
    table
}

fn generation(rows: &[Generation]) -> Table {
    let head = [
        "memory",
        "MB",
        "GB/s",
        "fill GB/s",
        "times fill",
        "in core seconds",
    ];
    let mut table = Table::new("Synthetic weights, all cores", &head);
    table.rows.extend(rows.iter().map(|row| {
        vec![
            row.memory.to_owned(),
            millions(row.bytes),
            spread(row.gigabytes_per_second),
            spread(row.fill_gigabytes_per_second),
            spread(row.times_fill),
            spread(row.core_times_fill),
        ]
    }));
    table
}

fn largest(rows: &[Largest]) -> Table {
    let title =
        "Largest synthetic model that is ready within 100 ms: preset 135m with other layers";
    let head = [
        "weights in",
        "layers",
        "million parameters",
        "MB",
        "ms",
        "limited by",
    ];
    let mut table = Table::new(title, &head);
    table.rows.extend(rows.iter().map(|row| {
        vec![
            match row.verify {
                None => row.storage.to_owned(),
                Some(verify) => format!("{}, verify = \"{verify}\"", row.storage),
            },
            row.layers.to_string(),
            millions(row.parameters),
            millions(row.bytes),
            row.seconds.map(milliseconds).unwrap_or_default(),
            row.limit.to_owned(),
        ]
    }));
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spread(median: f64) -> Spread {
        Spread {
            median,
            min: median / 2.0,
            max: median * 2.0,
        }
    }

    fn report() -> Report {
        Report {
            machine: Machine {
                cpus: 2,
                isa: "avx2",
                available_memory: Some(5),
            },
            dequantization: vec![Dequantization {
                name: "Q8_0",
                gigabytes_per_second: spread(10.0),
                fill_gigabytes_per_second: spread(20.0),
                times_fill: spread(2.0),
            }],
            conversion: Some(Conversion {
                source_bytes: 98_000_000,
                cache_bytes: 540_000_000,
                seconds: spread(0.25),
                gigabytes_per_second: spread(2.0),
                copy_seconds: spread(0.2),
                copy_gigabytes_per_second: spread(2.5),
                times_copy: spread(1.25),
                peak_bytes: 700_000_000,
                memory: Resident {
                    above_source: 20_000_000,
                    anonymous: 10_000_000,
                },
            }),
            start: Some(Start {
                modes: vec![Mode {
                    verify: "header",
                    bound_seconds: spread(0.004),
                    tokenizer_seconds: spread(0.05),
                    ready_seconds: spread(0.06),
                }],
                verification_gigabytes_per_second: spread(8.0),
            }),
            refused: Some("unsupported model: architecture \"rwkv\"".to_owned()),
            generation: vec![Generation {
                memory: "fresh",
                bytes: 538_000_000,
                gigabytes_per_second: spread(9.0),
                fill_gigabytes_per_second: spread(10.0),
                times_fill: spread(1.1),
                core_times_fill: spread(1.05),
            }],
            largest: vec![
                Largest {
                    storage: "memory",
                    verify: None,
                    layers: 30,
                    parameters: 134_515_008,
                    bytes: 538_060_032,
                    seconds: Some(spread(0.08)),
                    limit: "time",
                },
                Largest {
                    storage: "file",
                    verify: Some("full"),
                    layers: 0,
                    parameters: 0,
                    bytes: 0,
                    seconds: None,
                    limit: "time",
                },
            ],
        }
    }

    #[test]
    fn people_read_medians_with_their_spread() {
        let text = report().markdown();
        for line in [
            "# Load benchmark: 2 CPUs, avx2",
            "| Q8_0 | 10.0 (5.00-20.0) | 20.0 (10.0-40.0) | 2.00 (1.00-4.00) |",
            "## Conversion of 98.0 MB into 540 MB, and a copy of the result, both synchronized",
            "| peak memory above the mapped source, MB | 20.0 | | |",
            "| verify = \"header\" | 4.00 (2.00-8.00) | 50.0 (25.0-100) | 60.0 (30.0-120) |",
            "| verification, GB/s per core | 8.00 (4.00-16.0) | | |",
            "| unsupported model: architecture \"rwkv\" |",
            "| fresh | 538 | 9.00 (4.50-18.0) | 10.0 (5.00-20.0) | 1.10 (0.550-2.20) | 1.05 (0.525-2.10) |",
            "| file, verify = \"full\" | 0 | 0 | 0 | | time |",
        ] {
            // How wide the columns are is the table's own affair.
            let narrow = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
            let mut lines = text.lines().map(narrow);
            assert!(lines.any(|found| found == line), "{line}\n{text}");
        }
    }

    #[test]
    fn programs_read_seconds_and_bytes() {
        let report: serde_json::Value = serde_json::from_str(&report().json()).unwrap();
        let median = |pointer: &str| report.pointer(pointer).and_then(|v| v["median"].as_f64());
        assert_eq!(report["dequantization"][0]["type"], "Q8_0");
        assert_eq!(median("/conversion/times_copy"), Some(1.25));
        assert_eq!(report["conversion"]["memory"]["anonymous"], 10_000_000);
        assert_eq!(median("/start/modes/0/bound_seconds"), Some(0.004));
        assert_eq!(report["largest"][0]["verify"], serde_json::Value::Null);
        assert_eq!(median("/largest/0/seconds"), Some(0.08));
    }
}
