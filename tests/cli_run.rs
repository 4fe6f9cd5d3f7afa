//! `woolly run`: a model in its own process, with no environment and no daemon.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};

use super::support::cli::{WOOLLY, command, say, say_with_input};

/// `woolly run` without a single environment variable.
fn run(arguments: &[&str]) -> Command {
    let mut command = command(WOOLLY, &[&["run"], arguments].concat());
    command.env_clear();
    command
}

/// A configuration with a model so small that it answers at once.
struct Tiny {
    config: PathBuf,
    _directory: tempfile::TempDir,
}

impl Tiny {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let config = directory.path().join("woolly.toml");
        let text = "[model]\nsource = \"synthetic\"\n[synthetic]\npreset = \"tiny\"\n";
        std::fs::write(&config, text).unwrap();
        Tiny {
            config,
            _directory: directory,
        }
    }

    fn run(&self, arguments: &[&str]) -> Command {
        let mut command = run(arguments);
        command.arg("--config").arg(&self.config);
        command
    }
}

#[test]
fn a_command_line_without_meaning_is_a_usage_error() {
    for arguments in [
        ["--fast-fp32"].as_slice(),
        &["--model", "a.gguf", "--fast-fp32", "--prompt", "x"],
        &["--fast-fp32", "--prompt", "x", "--threads", "0"],
        &["--fast-fp32", "--prompt", "x", "--temperature=-1"],
        &["--fast-fp32", "--prompt", "x", "--top-p", "2"],
        &["--fast-fp32", "--interactive", "--dry-run"],
        &["--fast-fp32", "--prompt", "x", "--max-tokens", "-1"],
        &["--fast-fp32", "--prompt", "x", "--system", "s"],
    ] {
        say(run(arguments)).ends_with(2);
    }
    // A negative number is a wrong value of its flag, not a flag of its own.
    for (flag, value) in [("--temperature", "-1"), ("--seed", "-4"), ("--top-k", "-2")] {
        let said = say(run(&["--fast-fp32", "--prompt", "x", flag, value])).ends_with(2);
        assert!(said.err.contains(flag), "{}", said.err);
    }
    let empty = tempfile::NamedTempFile::new().unwrap();
    let said = say(run(&[
        "--prompt",
        "x",
        "--config",
        empty.path().to_str().unwrap(),
    ]))
    .ends_with(2);
    assert!(said.err.contains("--model"), "{}", said.err);
}

#[test]
fn a_model_that_is_missing_or_foreign_is_one_sentence() {
    let place = tempfile::tempdir().unwrap();
    let config = place.path().join("woolly.toml");
    std::fs::write(&config, "[cache]\ndir = \"cache\"\n").unwrap();
    let foreign = place.path().join("foreign.gguf");
    std::fs::write(&foreign, "not a model at all, only some text").unwrap();
    for model in [
        place.path().join("missing.gguf"),
        foreign,
        place.path().to_path_buf(),
    ] {
        let (model, config) = (model.to_str().unwrap(), config.to_str().unwrap());
        let said = say(run(&[
            "--prompt", "x", "--model", model, "--config", config,
        ]))
        .ends_with(1);
        assert_eq!(said.err.lines().count(), 1, "{}", said.err);
        assert!(said.err.contains(model), "{}", said.err);
        assert_eq!(said.out, "");
    }
}

#[test]
fn a_dry_run_reports_and_stops() {
    let report = &say(run(&["--fast-fp32", "--dry-run", "--json"]))
        .ends_with(0)
        .json_lines()[0];
    // SmolLM2-135M's sizes, its output tied to the embedding.
    assert_eq!(report["parameters"], 134_515_008);
    assert_eq!(report["memory"]["weight_bytes"], 4 * 134_515_008_u64);
    assert!(report["memory"]["resident_bytes"].as_u64().unwrap() > 4 * 134_515_008);
    assert!(report["seconds"]["load"].as_f64().unwrap() > 0.0);
    let text = say(Tiny::new().run(&["--dry-run"])).ends_with(0).out;
    for name in ["parameters", "seconds.load", "memory.weight_bytes"] {
        assert!(
            text.lines()
                .any(|line| line.split_whitespace().next() == Some(name)),
            "{text}"
        );
    }
}

#[test]
fn fast_fp32_needs_nothing() {
    let arguments = [
        "--fast-fp32",
        "--prompt",
        "Hello world",
        "--max-tokens",
        "4",
        "--ignore-eos",
    ];
    let said = say(run(&[arguments.as_slice(), &["--timing"]].concat())).ends_with(0);
    assert!(said.out.ends_with('\n'));
    let heads: Vec<&str> = said
        .err
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert_eq!(heads, ["load", "prompt", "decode"]);
    assert!(said.err.contains("tokens/s"), "{}", said.err);
    let answer = &say(run(&[arguments.as_slice(), &["--json"]].concat()))
        .ends_with(0)
        .json_lines()[0];
    assert_eq!(
        format!("{}\n", answer["text"].as_str().unwrap()),
        said.out,
        "the same job, the same bytes"
    );
}

#[test]
fn the_answer_as_json_depends_on_seed_and_not_on_threads() {
    let tiny = Tiny::new();
    let answer = |extra: &[&str]| -> Value {
        let arguments = [
            "--prompt",
            "Hello",
            "--max-tokens",
            "12",
            "--ignore-eos",
            "--temperature",
            "1",
            "--json",
        ];
        say(tiny.run(&[arguments.as_slice(), extra].concat()))
            .ends_with(0)
            .json_lines()[0]
            .clone()
    };
    let one = answer(&["--seed", "7", "--threads", "1"]);
    assert_eq!(one["usage"]["completion_tokens"], 12);
    assert_eq!(one["finish_reason"], "length");
    assert_eq!(one["token_ids"].as_array().unwrap().len(), 12);
    assert_eq!(
        one["token_ids"],
        answer(&["--seed", "7", "--threads", "2"])["token_ids"]
    );
    assert_ne!(one["token_ids"], answer(&["--seed", "8"])["token_ids"]);
}

#[test]
fn a_prompt_that_does_not_fit_is_one_sentence_and_a_long_answer_is_cut() {
    let tiny = Tiny::new();
    let said = say(tiny.run(&["--prompt", &"x".repeat(600)])).ends_with(1);
    assert!(said.err.contains("512"), "{}", said.err);
    let arguments = [
        "--prompt",
        "x",
        "--max-tokens",
        "100000",
        "--ignore-eos",
        "--json",
    ];
    let answer = &say(tiny.run(&arguments)).ends_with(0).json_lines()[0];
    assert_eq!(answer["usage"]["total_tokens"], 512);
    assert_eq!(answer["finish_reason"], "length");
}

#[test]
fn a_conversation_goes_line_by_line_until_the_input_ends() {
    let tiny = Tiny::new();
    let arguments = [
        "--interactive",
        "--max-tokens",
        "3",
        "--ignore-eos",
        "--json",
    ];
    let chat = |input: &str| say_with_input(tiny.run(&arguments), input).ends_with(0);
    let said = chat("Hello\n/reset\nHello\n\nHello\n/nonsense\n/quit\nnever read\n");
    let answers = said.json_lines();
    assert_eq!(answers.len(), 3);
    let prompts: Vec<&Value> = answers
        .iter()
        .map(|answer| &answer["usage"]["prompt_tokens"])
        .collect();
    assert_eq!(prompts[0], prompts[1], "/reset forgets");
    assert!(
        prompts[2].as_u64() > prompts[1].as_u64(),
        "the conversation grows"
    );
    assert_eq!(answers[0]["token_ids"], answers[1]["token_ids"]);
    assert!(said.err.contains("/nonsense"), "{}", said.err);
    assert_eq!(
        chat("Hello\n").json_lines().len(),
        1,
        "the end of input ends it"
    );
    let first = say_with_input(
        tiny.run(&[arguments.as_slice(), &["--prompt", "Hello"]].concat()),
        "",
    );
    assert_eq!(
        first.json_lines()[0]["token_ids"],
        json!(answers[0]["token_ids"])
    );
    let cat = [arguments.as_slice(), &["--system", "You are a cat."]].concat();
    let instructed = say_with_input(tiny.run(&cat), "Hello\n").ends_with(0);
    assert!(
        instructed.json_lines()[0]["usage"]["prompt_tokens"].as_u64() > prompts[0].as_u64(),
        "the system message is there"
    );
}

#[test]
fn a_conversation_that_cannot_be_written_fails() {
    let full = std::fs::File::create("/dev/full").unwrap();
    let tiny = Tiny::new();
    let mut command = tiny.run(&["--interactive", "--max-tokens", "3", "--prompt", "Hello"]);
    let output = command.stdout(full).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.starts_with("woolly: cannot write to standard output"),
        "{said}"
    );
}

#[test]
fn a_reader_that_goes_away_ends_the_run_quietly() {
    let tiny = Tiny::new();
    let arguments = [
        "--interactive",
        "--max-tokens",
        "200",
        "--ignore-eos",
        "--json",
    ];
    let mut child = tiny
        .run(&arguments)
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    std::io::Write::write_all(&mut input, b"Hello\n").unwrap();
    lines.read_line(&mut String::new()).unwrap();
    drop(lines);
    std::io::Write::write_all(&mut input, b"Hello\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(
        (
            output.status.code(),
            String::from_utf8(output.stderr).unwrap()
        ),
        (Some(0), String::new())
    );
}
