//! The client and a real daemon with a tiny model: what one says the other understands.

use std::path::Path;

use serde_json::{Value, json};
use woolly::queue::CANCEL_CHUNK;

use super::support::cli::{Said, WOOLLY, Woollyd, command, ctl, say};
use super::support::http::Client;

fn talk(daemon: &Woollyd, arguments: &[&str]) -> Said {
    say(ctl(&daemon.socket, arguments))
}

const SUBMIT: [&str; 6] = [
    "submit",
    "Hello",
    "--max-tokens",
    "12",
    "--temperature",
    "0",
];

#[test]
fn all_jobs_are_cancelled_also_more_than_a_commit_holds() {
    let daemon = Woollyd::start();
    talk(&daemon, &["queue", "pause"]).ends_with(0);
    let client = Client::new(&daemon.socket);
    let job = json!({"endpoint": "/v1/completions", "body": {"prompt": "x"}});
    for _ in 0..CANCEL_CHUNK + 2 {
        client.submit(&job);
    }
    let all = ["cancel", "--all"];
    let said = talk(&daemon, &all).ends_with(0).out;
    assert_eq!(said, format!("{} jobs cancelled\n", CANCEL_CHUNK + 2));
    let said = talk(&daemon, &["cancel", "--all", "--json"]).ends_with(0);
    assert_eq!(said.json_lines(), [json!({ "cancelled": 0 })]);
    let said = talk(&daemon, &["cancel", "--all", "1"]).ends_with(2);
    assert!(said.err.contains("cannot be used with"), "{}", said.err);
    talk(&daemon, &["cancel"]).ends_with(2);
}

#[test]
fn every_verb_is_understood() {
    let daemon = Woollyd::start();
    let text = talk(&daemon, &SUBMIT).ends_with(0).out;
    let streamed = talk(&daemon, &[SUBMIT.as_slice(), &["--stream"]].concat())
        .ends_with(0)
        .out;
    assert_eq!(
        streamed, text,
        "the stream and the answer are the same text"
    );
    let id = talk(&daemon, &[SUBMIT.as_slice(), &["--detach"]].concat())
        .ends_with(0)
        .out;
    let id = id.trim_end();
    assert_eq!(
        talk(&daemon, &["wait", id]).ends_with(0).out,
        format!("{id} completed\n")
    );
    assert_eq!(talk(&daemon, &["follow", id]).ends_with(0).out, text);
    assert_eq!(
        talk(&daemon, &["cancel", id]).ends_with(0).out,
        format!("{id} completed\n")
    );
    let job = &talk(&daemon, &["status", id, "--json"])
        .ends_with(0)
        .json_lines()[0];
    assert_eq!(
        job["usage"]["completion_tokens"].as_u64(),
        job["result"]["usage"]["completion_tokens"].as_u64()
    );
    assert_eq!(
        talk(&daemon, &["list", "--limit", "2"])
            .ends_with(0)
            .out
            .lines()
            .count(),
        3
    );
    assert_eq!(
        talk(&daemon, &["list", "--before", id, "--json"])
            .ends_with(0)
            .json_lines()
            .len(),
        2
    );
    assert!(
        talk(&daemon, &["list", "--status", "queued", "--json"])
            .ends_with(0)
            .out
            .is_empty()
    );
    assert_eq!(
        talk(&daemon, &["health", "--json"])
            .ends_with(0)
            .json_lines()[0]["status"],
        "ok"
    );
    talk(&daemon, &["status"]).ends_with(0);
    talk(&daemon, &["submit", "--chat", "--max-tokens", "4", "Hello"]).ends_with(0);
}

#[test]
fn a_queue_that_is_paused_or_drained_is_healthy_and_one_leaves_the_other_alone() {
    let daemon = Woollyd::start();
    let flags = || {
        let said = talk(&daemon, &["health", "--json"]).ends_with(0);
        let health = &said.json_lines()[0];
        [health["paused"].clone(), health["draining"].clone()]
    };
    talk(&daemon, &["queue", "pause"]).ends_with(0);
    assert_eq!(flags(), [true, false]);
    let held = talk(&daemon, &[SUBMIT.as_slice(), &["--detach"]].concat()).ends_with(0);
    // What is held would never come to its end.
    let said = talk(&daemon, &["queue", "drain", "--wait"]).ends_with(1);
    assert!(said.err.contains("resume it first"), "{}", said.err);
    assert_eq!(flags(), [true, true]);
    talk(&daemon, SUBMIT.as_slice()).ends_with(4);
    talk(&daemon, &["queue", "resume"]).ends_with(0);
    assert_eq!(flags(), [false, false]);
    talk(&daemon, &["wait", held.out.trim_end()]).ends_with(0);
    talk(&daemon, &["queue", "drain", "--wait"]).ends_with(0);
    assert_eq!(flags(), [false, true]);
}

#[test]
fn refusals_name_the_field() {
    let daemon = Woollyd::start();
    let said = talk(&daemon, &["submit", "Hello", "--temperature=-1"]).ends_with(4);
    assert!(said.err.contains("temperature"), "{}", said.err);
    talk(&daemon, &["submit", &"x".repeat(600)]).ends_with(4);
    talk(&daemon, &["status", "999"]).ends_with(4);
}

#[test]
fn the_daemon_and_a_run_without_it_say_the_same() {
    let daemon = Woollyd::start();
    let job = &talk(&daemon, &[SUBMIT.as_slice(), &["--json"]].concat())
        .ends_with(0)
        .json_lines()[0];
    let config = daemon.socket.with_file_name("woolly.toml");
    let mut run = command(
        WOOLLY,
        &["run", "--prompt", "Hello", "--max-tokens", "12", "--json"],
    );
    run.arg("--config").arg(config);
    let answer = &say(run).ends_with(0).json_lines()[0];
    assert_eq!(job["result"]["choices"][0]["text"], answer["text"]);
    assert_eq!(
        job["usage"]["prompt_tokens"],
        answer["usage"]["prompt_tokens"]
    );
}

fn texts(path: &Path) -> Vec<Value> {
    let lines = std::fs::read_to_string(path).unwrap();
    let text = |line: &str| -> Value {
        let line: Value = serde_json::from_str(line).unwrap();
        assert_eq!(line["response"]["status_code"], 200, "{line}");
        line["response"]["body"]["choices"][0]["text"].clone()
    };
    lines.lines().map(text).collect()
}

#[test]
fn a_batch_gives_the_same_answers_when_the_daemon_is_killed_in_the_middle() {
    let mut daemon = Woollyd::start();
    let input = daemon.socket.with_file_name("in.txt");
    let prompts: String = (0..20)
        .map(|index| format!("Prompt number {index}\n"))
        .collect();
    std::fs::write(&input, prompts).unwrap();
    let run = |output: &Path, name: &str| {
        let mut command = ctl(
            &daemon.socket,
            &[
                "batch",
                "run",
                "--ordered",
                "--max-tokens",
                "40",
                "--ignore-eos",
            ],
        );
        command.args([
            "--temperature",
            "1",
            "--seed",
            "3",
            "--run",
            name,
            "--outstanding",
            "8",
        ]);
        command.arg("-i").arg(&input).arg("-o").arg(output);
        command
    };
    let [calm, stormy] = ["calm", "stormy"].map(|name| daemon.socket.with_file_name(name));
    say(run(&calm, "calm")).ends_with(0);

    let mut child = run(&stormy, "stormy").spawn().unwrap();
    // The first progress line says that some lines are answered and most are not.
    let mut errors = std::io::BufReader::new(child.stderr.take().unwrap());
    std::io::BufRead::read_line(&mut errors, &mut String::new()).unwrap();
    daemon.crash_and_restart();
    let mut rest = String::new();
    std::io::Read::read_to_string(&mut errors, &mut rest).unwrap();
    assert!(child.wait().unwrap().success(), "{rest}");
    assert_eq!(texts(&stormy), texts(&calm));

    let jobs = talk(&daemon, &["list", "--limit", "1000", "--json"])
        .ends_with(0)
        .json_lines();
    assert_eq!(jobs.len(), 40, "one job for each line of each run");
}
