//! `fast_fp32_benchmark load` and `woollyctl bench load`: every part is measured, and nothing is left.

use std::io::{BufRead, BufReader};
use std::path::Path;

use serde_json::Value;
use woolly::weights::dequant::TensorType;

use super::support::cli::{Said, WOOLLYCTL, command, interrupt, say};
use super::support::models::fixture;

const BENCHMARK: &str = env!("CARGO_BIN_EXE_fast_fp32_benchmark");

fn arguments<'a>(words: &[&'a str], dir: &'a Path) -> Vec<&'a str> {
    let dir = dir.to_str().unwrap();
    [words, &["load", "--quick", "--dir", dir]].concat()
}

/// The model in a folder of its own: mapped neighbours would count as its parts.
fn load(program: &str, words: &[&str], dir: &Path, more: &[&str]) -> Said {
    say(command(program, &[&arguments(words, dir), more].concat()))
}

fn entries(dir: &Path) -> usize {
    std::fs::read_dir(dir).unwrap().count()
}

/// A median between its smallest and its largest, above zero.
#[track_caller]
fn is_spread(value: &Value) {
    let of = |name: &str| value[name].as_f64().unwrap_or(-1.0);
    assert!(
        0.0 < of("min") && of("min") <= of("median") && of("median") <= of("max"),
        "{value}"
    );
}

#[test]
fn every_part_of_a_load_is_measured_and_nothing_is_left() {
    let dir = tempfile::tempdir().unwrap();
    let model = fixture("llama-gqa.gguf");
    let more = ["--json", "--model", model.to_str().unwrap()];
    let said = load(BENCHMARK, &[], dir.path(), &more).ends_with(0);
    let [report] = &said.json_lines()[..] else {
        panic!("{said:?}");
    };
    assert_eq!(entries(dir.path()), 0);

    let types = report["dequantization"].as_array().unwrap();
    assert_eq!(types.len(), TensorType::all().count());
    for row in types {
        is_spread(&row["gigabytes_per_second"]);
        is_spread(&row["times_fill"]);
    }
    let names: Vec<_> = types.iter().map(|row| row["type"].as_str()).collect();
    assert!(names.contains(&Some("F32")) && names.contains(&Some("Q4_K")));

    let conversion = &report["conversion"];
    assert_eq!(
        conversion["source_bytes"].as_u64(),
        Some(model.metadata().unwrap().len())
    );
    assert!(conversion["cache_bytes"].as_u64() > conversion["source_bytes"].as_u64());
    assert!(conversion["peak_bytes"].as_u64() > Some(1 << 20));
    is_spread(&conversion["times_copy"]);

    let modes = report["start"]["modes"].as_array().unwrap();
    let verify: Vec<_> = modes.iter().map(|mode| mode["verify"].as_str()).collect();
    assert_eq!(verify, [Some("header"), Some("background"), Some("full")]);
    for mode in modes {
        is_spread(&mode["bound_seconds"]);
        is_spread(&mode["tokenizer_seconds"]);
        is_spread(&mode["ready_seconds"]);
    }
    is_spread(&report["start"]["verification_gigabytes_per_second"]);

    let memory: Vec<_> = report["generation"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| {
            is_spread(&row["times_fill"]);
            is_spread(&row["core_times_fill"]);
            row["memory"].as_str()
        })
        .collect();
    assert_eq!(memory, [Some("fresh"), Some("touched")]);

    let largest = report["largest"].as_array().unwrap();
    let verify: Vec<_> = largest.iter().map(|row| row["verify"].as_str()).collect();
    assert_eq!(verify, [None, Some("header"), Some("full")]);
    for row in largest {
        // The room of a quick run is three layers; how many are fast enough is this machine's affair.
        let layers = row["layers"].as_u64().unwrap();
        assert!(layers <= 3, "{row}");
        assert_eq!(layers == 3, row["limit"] == "room");
        assert_eq!(layers > 0, row["parameters"].as_u64() > Some(0));
    }
}

#[test]
fn without_a_model_the_rest_is_a_table_for_people() {
    let dir = tempfile::tempdir().unwrap();
    let said = load(WOOLLYCTL, &["bench"], dir.path(), &[]).ends_with(0);
    let titles: Vec<&str> = said
        .out
        .lines()
        .filter_map(|line| line.strip_prefix("## "))
        .map(|title| title.split([',', ':']).next().unwrap())
        .collect();
    assert_eq!(
        titles,
        [
            "Dequantization",
            "Synthetic weights",
            "Largest synthetic model that is ready within 100 ms"
        ]
    );
    assert!(said.out.contains("\n| Q4_K    | "), "{}", said.out);
    assert_eq!(entries(dir.path()), 0);
}

#[test]
fn a_model_that_cannot_be_converted_is_told_and_nothing_is_left() {
    let dir = tempfile::tempdir().unwrap();
    let models = tempfile::tempdir().unwrap();
    let foreign = models.path().join("foreign.gguf");
    std::fs::write(&foreign, "no model").unwrap();
    let more = ["--model", foreign.to_str().unwrap()];
    let said = load(WOOLLYCTL, &["bench"], dir.path(), &more).ends_with(1);
    assert!(said.err.contains("foreign.gguf"), "{}", said.err);
    assert_eq!((said.out.as_str(), entries(dir.path())), ("", 0));

    let missing = models.path().join("missing.gguf");
    let more = ["--model", missing.to_str().unwrap()];
    let said = load(BENCHMARK, &[], dir.path(), &more).ends_with(1);
    assert!(said.err.contains("missing.gguf"), "{}", said.err);
}

#[test]
fn an_interrupted_run_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let model = fixture("llama-gqa.gguf");
    let mut arguments = arguments(&[], dir.path());
    arguments.extend(["--model", model.to_str().unwrap()]);
    let mut child = command(BENCHMARK, &arguments).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap() == "measuring conversion"));
    assert_eq!(entries(dir.path()), 1);
    interrupt(&child);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(entries(dir.path()), 0);
}

#[test]
fn the_limits_of_the_machine_are_measured_with_one_thread_and_with_all() {
    let said = say(command(BENCHMARK, &["roofline", "--quick", "--json"])).ends_with(0);
    let [report] = &said.json_lines()[..] else {
        panic!("{said:?}");
    };
    let cpus = report["machine"]["cpus"].as_u64().unwrap();
    let limits = report["limits"].as_array().unwrap();
    let threads: Vec<u64> = limits
        .iter()
        .map(|row| {
            for name in [
                "read_gigabytes_per_second",
                "gigaflops",
                "phases_per_second",
                "fresh_gigabytes_per_second",
            ] {
                is_spread(&row[name]);
            }
            row["threads"].as_u64().unwrap()
        })
        .collect();
    let expected = if cpus == 1 { vec![1] } else { vec![1, cpus] };
    assert_eq!(threads, expected);
}
