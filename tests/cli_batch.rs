//! `woollyctl batch run` against a daemon that does as it is told.

use std::collections::HashSet;
use std::io::Write;
use std::process::Stdio;

use serde_json::{Value, json};

use super::support::batch_files::{Files, assert_plain_answers, plain, requests};
use super::support::cli::{interrupt, say};
use super::support::fake_daemon::{FakeDaemon, Seen};

#[test]
fn answers_come_in_the_order_of_the_lines_and_in_openai_shape() {
    let daemon = FakeDaemon::start();
    let files = Files::new(&daemon, &requests(&["one", "two"]));
    let said = say(files.run(&daemon, &[])).ends_with(0);
    let answers = files.answers();
    assert_eq!(answers[1]["custom_id"], "id-1");
    assert_eq!(answers[1]["error"], Value::Null);
    assert_eq!(answers[1]["response"]["status_code"], 200);
    assert_eq!(
        answers[1]["response"]["body"]["choices"][0]["text"],
        "you said two — so"
    );
    assert!(answers[1]["id"].as_str().unwrap().starts_with("batch_req_"));
    assert!(
        said.err
            .contains("2 lines completed, 0 failed; 4 prompt and 10 generated tokens"),
        "{}",
        said.err
    );
    assert!(
        said.err.contains("batch: 50% (1 of 2 lines, ") && said.err.contains(" left)"),
        "{}",
        said.err
    );
}

#[test]
fn many_lines_keep_their_order_with_few_outstanding() {
    let daemon = FakeDaemon::start();
    let files = Files::new(&daemon, &plain(40));
    let said = say(files.run(
        &daemon,
        &["--outstanding", "3", "--temperature", "0", "--json"],
    ))
    .ends_with(0);
    assert_plain_answers(&files.answers(), 40);
    assert_eq!(daemon.jobs()[5].body["temperature"], 0.0);
    let summary = &said.json_lines()[0];
    assert_eq!(
        (&summary["completed"], &summary["completion_tokens"]),
        (&json!(40), &json!(200))
    );
}

#[test]
fn without_a_wish_answers_are_written_as_they_come() {
    let daemon = FakeDaemon::start();
    // The first line has no answer before the daemon is back from waiting; the second needs no daemon.
    let bad = json!({"custom_id": "bad", "method": "POST", "url": "/v1/embeddings", "body": {}});
    let text = format!("{}\n{bad}", requests(&["slow"]));
    let ids = |files: &Files| -> Vec<Value> {
        let answers = files.answers();
        answers
            .iter()
            .map(|line| line["custom_id"].clone())
            .collect()
    };
    let files = Files::new(&daemon, &text);
    say(files.run_unordered(&daemon, &[])).ends_with(1);
    assert_eq!(ids(&files), ["bad", "id-0"]);
    say(files.run(&daemon, &[])).ends_with(1);
    assert_eq!(ids(&files), ["id-0", "bad"]);
}

#[test]
fn a_table_is_filled_into_a_template_and_names_its_answers() {
    let daemon = FakeDaemon::start();
    let mut files = Files::new(&daemon, "");
    files.input.set_extension("csv");
    std::fs::write(&files.input, "id,text\nx7,\"one,\nand two\"\nx8,{id}\n").unwrap();
    let flags = ["--template", "Say: {text}!", "--id-column", "id"];
    say(files.run(&daemon, &flags)).ends_with(0);
    let prompts: Vec<Value> = daemon
        .jobs()
        .iter()
        .map(|job| job.body["prompt"].clone())
        .collect();
    assert!(
        prompts.contains(&json!("Say: one,\nand two!")),
        "{prompts:?}"
    );
    let answers = files.answers();
    let answer = |index: usize| {
        let line: &Value = &answers[index];
        let text = &line["response"]["body"]["choices"][0]["text"];
        (line["custom_id"].as_str().unwrap(), text.as_str().unwrap())
    };
    assert_eq!(answer(0), ("x7", "you said Say: one,\nand two! — so"));
    assert_eq!(answer(1), ("x8", "you said Say: {id}! — so"));

    let said = say(files.run(&daemon, &["--column", "nobody"])).ends_with(2);
    assert!(said.err.contains("no column \"nobody\""), "{}", said.err);
    say(files.run(&daemon, &["--template", "{text"])).ends_with(2);
    let said = say(files.run(&daemon, &["--template", "{{text}}"])).ends_with(2);
    assert!(said.err.contains("no {column} in it"), "{}", said.err);
    say(files.run(&daemon, &["--template", "{text}", "--column", "text"])).ends_with(2);
    assert_eq!(daemon.jobs().len(), 2);
}

#[test]
fn what_comes_through_a_pipe_is_read_twice_all_the_same() {
    let daemon = FakeDaemon::start();
    let mut files = Files::new(&daemon, "");
    files.input = "/dev/stdin".into();
    let mut command = files.run(&daemon, &[]);
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(plain(3).as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_plain_answers(&files.answers(), 3);
}

#[test]
fn no_more_than_asked_for_are_outstanding() {
    let daemon = FakeDaemon::start();
    daemon.hold(true);
    let files = Files::new(&daemon, &plain(9));
    let child = files.run(&daemon, &["--outstanding", "4"]).spawn().unwrap();
    let mut watched = HashSet::new();
    while watched.len() < 4 {
        if let Seen::Watched(job) = daemon.seen.recv().unwrap() {
            watched.insert(job);
        }
    }
    assert_eq!(daemon.jobs().len(), 4);
    daemon.hold(false);
    assert!(child.wait_with_output().unwrap().status.success());
    assert_plain_answers(&files.answers(), 9);
}

#[test]
fn a_custom_id_used_twice_is_refused_before_anything_is_submitted() {
    let daemon = FakeDaemon::start();
    let line = requests(&["x"]);
    let files = Files::new(&daemon, &format!("{line}\n{line}\n"));
    let said = say(files.run(&daemon, &[])).ends_with(1);
    assert!(
        said.err.contains("line 2") && said.err.contains("id-0"),
        "{}",
        said.err
    );
    assert!(daemon.jobs().is_empty());
    assert!(!files.output.exists());
}

#[test]
fn a_daemon_that_goes_away_loses_and_repeats_nothing() {
    let mut daemon = FakeDaemon::start();
    daemon.hold(true);
    let files = Files::new(&daemon, &plain(12));
    let child = files.run(&daemon, &["--outstanding", "5"]).spawn().unwrap();
    let mut watched = 0;
    while watched < 5 {
        watched += usize::from(matches!(daemon.seen.recv().unwrap(), Seen::Watched(_)));
    }
    daemon.go_away();
    daemon.hold(false);
    daemon.swallow_answers(3);
    daemon.break_streams(3);
    daemon.come_back();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_plain_answers(&files.answers(), 12);
    assert_eq!(daemon.jobs().len(), 12, "one job for each line");
}

#[test]
fn a_client_that_is_killed_goes_on_where_it_was() {
    let daemon = FakeDaemon::start();
    let files = Files::new(&daemon, &plain(10));
    daemon.hold(true);
    let mut child = files.run(&daemon, &["--outstanding", "6"]).spawn().unwrap();
    let mut watched = 0;
    while watched < 6 {
        watched += usize::from(matches!(daemon.seen.recv().unwrap(), Seen::Watched(_)));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!files.output.exists());
    daemon.hold(false);
    say(files.run(&daemon, &[])).ends_with(0);
    assert_eq!(daemon.jobs().len(), 10);
    assert_plain_answers(&files.answers(), 10);

    let said = say(files.run(&daemon, &[])).ends_with(0);
    assert!(
        said.err
            .contains("10 lines completed (10 answered earlier)"),
        "{}",
        said.err
    );
    assert!(said.err.contains("0.0 tokens/s"), "{}", said.err);
    assert_eq!(daemon.jobs().len(), 10);
    say(files.run(&daemon, &["--run", "again"])).ends_with(0);
    assert_eq!(daemon.jobs().len(), 20);
}

#[test]
fn ctrl_c_leaves_the_jobs_and_no_half_written_file() {
    let daemon = FakeDaemon::start();
    let files = Files::new(&daemon, &plain(3));
    std::fs::write(&files.output, "older").unwrap();
    daemon.hold(true);
    let child = files.run(&daemon, &[]).spawn().unwrap();
    while !matches!(daemon.seen.recv().unwrap(), Seen::Watched(_)) {}
    interrupt(&child);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("goes on from there"),
        "{output:?}"
    );
    assert_eq!(std::fs::read_to_string(&files.output).unwrap(), "older");
    let left = std::fs::read_dir(files.output.parent().unwrap()).unwrap();
    assert!(
        left.map(|file| file.unwrap().file_name())
            .all(|name| !name.to_string_lossy().ends_with(".tmp"))
    );
    assert!(daemon.jobs().iter().all(|job| job.status == "queued"));
}

#[test]
fn a_line_that_is_refused_or_fails_says_why_in_the_output() {
    let daemon = FakeDaemon::start();
    let files = Files::new(&daemon, &requests(&["refuse me", "fine", "fail me"]));
    let said = say(files.run(&daemon, &[])).ends_with(1);
    assert!(
        said.err.contains("2 of 3 lines have no answer"),
        "{}",
        said.err
    );
    let answers = files.answers();
    assert_eq!(answers[0]["response"]["status_code"], 400);
    assert_eq!(answers[0]["response"]["body"]["error"]["param"], "prompt");
    assert!(answers[0]["response"]["request_id"].is_string());
    assert_eq!(answers[1]["response"]["status_code"], 200);
    assert_eq!(answers[2]["response"], Value::Null);
    assert_eq!(answers[2]["error"]["code"], "job_failed");
}

#[test]
fn a_line_that_cannot_run_is_answered_without_the_daemon() {
    let daemon = FakeDaemon::start();
    let bad = json!({"custom_id": "bad", "method": "POST", "url": "/v1/embeddings", "body": {}});
    let files = Files::new(&daemon, &format!("{bad}\n{}", requests(&["fine"])));
    let said = say(files.run(&daemon, &[])).ends_with(1);
    assert!(
        said.err.contains("1 of 2 lines have no answer"),
        "{}",
        said.err
    );
    let answers = files.answers();
    assert_eq!(answers[0]["custom_id"], "bad");
    assert_eq!(answers[0]["response"]["status_code"], 400);
    assert_eq!(answers[0]["response"]["body"]["error"]["param"], "url");
    assert!(answers[0]["response"]["request_id"].is_string());
    assert_eq!(answers[1]["response"]["status_code"], 200);
    assert_eq!(daemon.jobs().len(), 1);
}

#[test]
fn a_full_queue_is_waited_for() {
    let daemon = FakeDaemon::start();
    daemon.full(1);
    let files = Files::new(&daemon, &plain(2));
    say(files.run(&daemon, &[])).ends_with(0);
    assert_plain_answers(&files.answers(), 2);
}

#[test]
fn an_empty_file_has_an_empty_answer() {
    let daemon = FakeDaemon::start();
    let files = Files::new(&daemon, "");
    say(files.run(&daemon, &[])).ends_with(0);
    assert_eq!(std::fs::read(&files.output).unwrap(), b"");
}

#[test]
fn without_a_daemon_nothing_is_written() {
    let mut daemon = FakeDaemon::start();
    daemon.go_away();
    let files = Files::new(&daemon, &plain(2));
    let said = say(files.run(&daemon, &[])).ends_with(3);
    assert!(!said.err.contains("lines are answered"), "{}", said.err);
    assert!(!files.output.exists());
    let missing = files.input.with_file_name("missing");
    std::fs::rename(&files.input, &missing).unwrap();
    let said = say(files.run(&daemon, &[])).ends_with(1);
    assert!(said.err.contains("cannot read"), "{}", said.err);
}
