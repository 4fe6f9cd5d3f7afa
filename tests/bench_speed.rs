//! `fast_fp32_benchmark` and `woollyctl bench speed`: every workload is measured beside its limit.

use serde_json::{Value, json};

use super::support::cli::{WOOLLYCTL, command, say};
use super::support::models::fixture;

const BENCHMARK: &str = env!("CARGO_BIN_EXE_fast_fp32_benchmark");

#[test]
fn every_workload_stands_beside_its_limit() {
    let model = fixture("llama-gqa.gguf");
    let arguments = [
        "--json",
        "--quick",
        "--isa",
        "portable",
        "--model",
        model.to_str().unwrap(),
    ];
    let said = say(command(BENCHMARK, &arguments)).ends_with(0);
    let report: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(report["isa"], "portable");
    assert_eq!(report["check"]["equal_bits"], true);
    let figures = report["figures"].as_array().unwrap();
    let names: Vec<&Value> = figures.iter().map(|figure| &figure["name"]).collect();
    assert_eq!(names, ["pp10", "tg4", "tg2 x 3", "tg2 @ d40"]);
    for figure in figures {
        let of = |name: &str| figure[name]["median"].as_f64().unwrap();
        let share = of("tokens_per_second") / of("limit_tokens_per_second");
        assert!(
            share > 0.0 && (share / of("share_of_limit") - 1.0).abs() < 1e-9,
            "{figure}"
        );
        let outside = of("outside_share");
        assert!(outside > 0.0 && outside < 1.0, "{figure}");
    }
    assert_eq!(figures[2]["sequences"], json!(3));
    for bytes in ["weight_bytes", "kv_bytes", "peak_bytes"] {
        assert!(report[bytes].as_u64().unwrap() > 0, "{bytes}");
    }
}

#[test]
fn people_read_the_tables_of_llama_bench() {
    let dir = tempfile::tempdir().unwrap();
    let picture = dir.path().join("speed.svg");
    let plot = [
        "bench",
        "speed",
        "--quick",
        "--plot",
        picture.to_str().unwrap(),
    ];
    let said = say(command(WOOLLYCTL, &plot)).ends_with(0);
    let drawn = std::fs::read_to_string(&picture).unwrap();
    assert!(
        drawn.starts_with("<svg ") && drawn.matches("<circle").count() == 2,
        "{drawn}"
    );
    for begin in ["| model ", "| TG | B ", "kernels: "] {
        assert!(
            said.out.lines().any(|line| line.starts_with(begin)),
            "{}",
            said.out
        );
    }
    assert!(!said.out.contains("OTHER BITS"), "{}", said.out);
    say(command(WOOLLYCTL, &["bench", "speed", "--isa", "sse9"])).ends_with(1);
}
