//! `woollyctl submit`, `follow`, `wait`, `cancel`, `list`, `status` against a daemon that does as it is told.

use std::io::{BufRead, BufReader, Read};

use serde_json::json;

use super::support::cli::{WOOLLYCTL, command, ctl, interrupt, say, say_with_input};
use super::support::fake_daemon::{FakeDaemon, Seen, beside};

const ANSWER: &str = "you said hi — so\n";

#[test]
fn a_prompt_is_answered_on_standard_output() {
    let daemon = FakeDaemon::start();
    let said = say(ctl(
        &daemon.socket,
        &["submit", "hi", "--max-tokens", "3", "--temperature", "0.7"],
    ))
    .ends_with(0);
    assert_eq!((said.out.as_str(), said.err.as_str()), (ANSWER, ""));
    let job = &daemon.jobs()[0];
    assert_eq!(job.endpoint, "/v1/completions");
    assert_eq!(
        job.body,
        json!({"prompt": "hi", "max_tokens": 3, "temperature": 0.7})
    );
    assert!(job.key.len() > 20, "{}", job.key);
}

#[test]
fn the_socket_comes_from_the_environment_too() {
    let daemon = FakeDaemon::start();
    let mut command = command(WOOLLYCTL, &["submit", "hi"]);
    command.env("WOOLLY_HOST", format!("unix://{}", daemon.socket.display()));
    assert_eq!(say(command).ends_with(0).out, ANSWER);
}

#[test]
fn a_chat_has_messages() {
    let daemon = FakeDaemon::start();
    let said = say(ctl(
        &daemon.socket,
        &[
            "submit",
            "--chat",
            "--system",
            "Be brief.",
            "--stream",
            "hi",
        ],
    ));
    assert_eq!(said.ends_with(0).out, ANSWER);
    let job = &daemon.jobs()[0];
    assert_eq!(job.endpoint, "/v1/chat/completions");
    let messages =
        json!([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}]);
    assert_eq!(job.body, json!({ "messages": messages }));
}

#[test]
fn a_detached_prompt_gives_its_id_and_nobody_waits() {
    let daemon = FakeDaemon::start();
    daemon.hold(true);
    let said = say(ctl(&daemon.socket, &["submit", "hi", "--detach"])).ends_with(0);
    assert_eq!(said.out, "job_0\n");
    assert_eq!(daemon.jobs()[0].status, "queued");
    let waiting = ctl(&daemon.socket, &["wait", "job_0"]).spawn().unwrap();
    assert_eq!(daemon.seen.recv().unwrap(), Seen::Submitted { new: true });
    assert_eq!(daemon.seen.recv().unwrap(), Seen::Watched(0));
    daemon.hold(false);
    let output = waiting.wait_with_output().unwrap();
    assert!(output.status.success());
    assert_eq!(output.stdout, b"job_0 completed\n");
}

#[test]
fn standard_input_and_files_hold_prompts() {
    let daemon = FakeDaemon::start();
    assert_eq!(
        say_with_input(ctl(&daemon.socket, &["submit"]), "hi\n")
            .ends_with(0)
            .out,
        ANSWER
    );
    let paths = ["a", "b"].map(|name| beside(&daemon.socket, name));
    for path in &paths {
        std::fs::write(path, "hi").unwrap();
    }
    let [a, b] = paths.each_ref().map(|path| path.to_str().unwrap());
    let said = say(ctl(&daemon.socket, &["submit", "--file", a, "--file", b])).ends_with(0);
    assert_eq!(
        said.out,
        format!("==> {a} <==\n{ANSWER}\n==> {b} <==\n{ANSWER}")
    );
}

#[test]
fn a_text_is_the_same_prompt_from_wherever_it_comes() {
    let daemon = FakeDaemon::start();
    let file = beside(&daemon.socket, "prompt");
    let texts = ["hi", "hi\n", "hi\r\n", "hi\n\n", "\n"];
    for text in texts {
        std::fs::write(&file, text).unwrap();
        say_with_input(ctl(&daemon.socket, &["submit", "--detach"]), text).ends_with(0);
        let path = file.to_str().unwrap();
        say(ctl(&daemon.socket, &["submit", "--detach", "--file", path])).ends_with(0);
    }
    let jobs = daemon.jobs();
    let prompts = jobs.iter().map(|job| job.body["prompt"].as_str().unwrap());
    let expected = ["hi", "hi", "hi", "hi\n", ""].map(|prompt| [prompt; 2]);
    assert_eq!(prompts.collect::<Vec<_>>(), expected.concat());
}

#[test]
fn a_stream_that_breaks_goes_on_without_repeating_itself() {
    let daemon = FakeDaemon::start();
    daemon.break_streams(2);
    let said = say(ctl(&daemon.socket, &["submit", "--stream", "hi"])).ends_with(0);
    assert_eq!(said.out, ANSWER);
    assert!(said.err.contains("trying again"), "{}", said.err);
    assert!(said.err.contains("woollyd is back"), "{}", said.err);
    assert_eq!(daemon.jobs().len(), 1);
}

#[test]
fn an_answer_that_is_lost_makes_no_second_job() {
    let daemon = FakeDaemon::start();
    daemon.swallow_answers(2);
    assert_eq!(
        say(ctl(&daemon.socket, &["submit", "hi"])).ends_with(0).out,
        ANSWER
    );
    assert_eq!(daemon.jobs().len(), 1);
}

#[test]
fn a_daemon_that_restarts_is_waited_for() {
    let mut daemon = FakeDaemon::start();
    daemon.hold(true);
    let waiting = ctl(&daemon.socket, &["submit", "hi"]).spawn().unwrap();
    while daemon.seen.recv().unwrap() != Seen::Watched(0) {}
    daemon.go_away();
    daemon.hold(false);
    daemon.come_back();
    let output = waiting.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(output.stdout, ANSWER.as_bytes());
}

#[test]
fn ctrl_c_cancels_a_job_that_is_waited_for() {
    let daemon = FakeDaemon::start();
    daemon.hold(true);
    let child = ctl(&daemon.socket, &["submit", "hi"]).spawn().unwrap();
    while daemon.seen.recv().unwrap() != Seen::Watched(0) {}
    interrupt(&child);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_eq!(daemon.jobs()[0].status, "cancelled");
}

#[test]
fn ctrl_c_leaves_a_job_that_is_only_followed() {
    let daemon = FakeDaemon::start();
    daemon.hold(true);
    say(ctl(&daemon.socket, &["submit", "hi", "--detach"])).ends_with(0);
    let child = ctl(&daemon.socket, &["follow", "0"]).spawn().unwrap();
    while daemon.seen.recv().unwrap() != Seen::Watched(0) {}
    interrupt(&child);
    assert!(!child.wait_with_output().unwrap().status.success());
    assert_eq!(daemon.jobs()[0].status, "queued");
    daemon.hold(false);
    assert_eq!(
        say(ctl(&daemon.socket, &["follow", "job_0"]))
            .ends_with(0)
            .out,
        ANSWER
    );
}

#[test]
fn a_reader_that_goes_away_ends_the_job_quietly() {
    let daemon = FakeDaemon::start();
    daemon.hold(true);
    let mut child = ctl(&daemon.socket, &["submit", "--stream", "hi"])
        .spawn()
        .unwrap();
    let mut first = [0; 4];
    child.stdout.take().unwrap().read_exact(&mut first).unwrap();
    assert_eq!(&first, b"you ");
    // The pipe is closed now; the next piece finds out.
    while daemon.seen.recv().unwrap() != Seen::Watched(0) {}
    daemon.hold(false);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(output.stderr, b"");
}

#[test]
fn a_refusal_is_told_with_its_field_and_takes_the_others_back() {
    let daemon = FakeDaemon::start();
    daemon.hold(true);
    let said = say(ctl(&daemon.socket, &["submit", "refuse me"])).ends_with(4);
    assert_eq!(
        said.err,
        "woollyctl: woollyd refused: the prompt is impossible\n"
    );
    let paths = [("a", "hi"), ("b", "refuse me")].map(|(name, text)| {
        let path = beside(&daemon.socket, name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    });
    say(ctl(
        &daemon.socket,
        &["submit", "--file", &paths[0], "--file", &paths[1]],
    ))
    .ends_with(4);
    assert_eq!(
        daemon
            .jobs()
            .iter()
            .map(|job| job.status)
            .collect::<Vec<_>>(),
        ["cancelled"]
    );
}

#[test]
fn a_job_that_fails_is_a_failure_with_its_reason() {
    let daemon = FakeDaemon::start();
    let said = say(ctl(&daemon.socket, &["submit", "fail me"])).ends_with(1);
    assert!(
        said.err.contains("job_0 failed: it was too hard"),
        "{}",
        said.err
    );
    let said = say(ctl(&daemon.socket, &["wait", "job_0"])).ends_with(1);
    assert!(said.out.contains("it was too hard"), "{}", said.out);
    say(ctl(&daemon.socket, &["follow", "job_0"])).ends_with(1);
}

#[test]
fn without_a_daemon_the_exit_code_is_3() {
    let nowhere = tempfile::tempdir().unwrap().path().join("no.sock");
    for arguments in [
        ["submit", "hi"].as_slice(),
        &["list"],
        &["health"],
        &["status"],
        &["wait", "1"],
        &["cancel", "1"],
        &["follow", "1"],
    ] {
        let said = say(ctl(&nowhere, arguments)).ends_with(3);
        assert!(
            said.err.contains("cannot connect to woollyd"),
            "{}",
            said.err
        );
    }
    let said = say(ctl(&nowhere, &["list", "--json"])).ends_with(3);
    let error: serde_json::Value = serde_json::from_str(&said.err).unwrap();
    assert_eq!(error["error"]["exit_code"], 3);
}

#[test]
fn a_command_line_without_meaning_is_a_usage_error() {
    let nowhere = tempfile::tempdir().unwrap().path().join("no.sock");
    for arguments in [
        ["submit", "hi", "--temperature", "warm"].as_slice(),
        &["submit", "hi", "--temperature", "NaN"],
        &["submit", "hi", "--system", "x"],
        &["submit", "hi", "--detach", "--stream"],
        &["wait"],
        &["wait", "job_x"],
        &["list", "--status", "done"],
        &["dance"],
    ] {
        say(ctl(&nowhere, arguments)).ends_with(2);
    }
    let mut host = command(WOOLLYCTL, &["list"]);
    host.env("WOOLLY_HOST", "tcp://localhost:1");
    assert!(say(host).ends_with(2).err.contains("WOOLLY_HOST"));
}

#[test]
fn jobs_are_listed_shown_and_cancelled() {
    let daemon = FakeDaemon::start();
    say(ctl(&daemon.socket, &["submit", "hi"])).ends_with(0);
    daemon.hold(true);
    say(ctl(&daemon.socket, &["submit", "hi", "--detach"])).ends_with(0);
    let list = say(ctl(&daemon.socket, &["list"])).ends_with(0).out;
    let rows: Vec<&str> = list
        .lines()
        .map(|line| line.split("  ").next().unwrap())
        .collect();
    assert_eq!(rows, ["ID", "job_1", "job_0"]);
    let head: Vec<&str> = list.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(head, ["ID", "STATUS", "PROMPT", "OUTPUT", "SUBMITTED"]);
    let queued = say(ctl(
        &daemon.socket,
        &["list", "--status", "queued", "--json"],
    ))
    .ends_with(0)
    .json_lines();
    assert_eq!(
        queued.iter().map(|job| &job["id"]).collect::<Vec<_>>(),
        ["job_1"]
    );
    assert_eq!(
        say(ctl(&daemon.socket, &["cancel", "1", "0"]))
            .ends_with(0)
            .out,
        "job_1 cancelled\njob_0 completed\n"
    );
    let shown = say(ctl(&daemon.socket, &["status", "1"])).ends_with(0).out;
    assert!(
        shown
            .lines()
            .any(|line| line.split_whitespace().eq(["status", "cancelled"])),
        "{shown}"
    );
    let created = shown.lines().find(|line| line.starts_with("created_at"));
    let created = created.unwrap();
    assert!(
        created.contains("  1970-01-01 00:00:01 UTC (") && created.ends_with(" d ago)"),
        "{created}"
    );
    say(ctl(&daemon.socket, &["status", "7"])).ends_with(4);
    let health = say(ctl(&daemon.socket, &["health"])).ends_with(0).out;
    assert_eq!(health, "status       ok\njobs.queued  0\n");
}

#[test]
fn a_job_that_does_not_exist_keeps_nobody_from_the_others() {
    let daemon = FakeDaemon::start();
    say(ctl(&daemon.socket, &["submit", "hi"])).ends_with(0);
    say(ctl(&daemon.socket, &["submit", "fail me"])).ends_with(1);
    let refused = "woollyctl: woollyd refused: no such job\n";
    let said = say(ctl(&daemon.socket, &["wait", "8", "1", "9", "0"])).ends_with(4);
    assert_eq!(said.out, "job_1 failed: it was too hard\njob_0 completed\n");
    let sum = "woollyctl: 3 of 4 jobs did not complete\n";
    assert_eq!(said.err, format!("{refused}{refused}{sum}"));
    daemon.hold(true);
    say(ctl(&daemon.socket, &["submit", "hi", "--detach"])).ends_with(0);
    let said = say(ctl(&daemon.socket, &["cancel", "9", "2", "--json"])).ends_with(4);
    assert_eq!(said.json_lines()[0]["status"], "cancelled");
    let errors: Vec<serde_json::Value> = (said.err.lines())
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(errors[0]["error"]["http_status"], 404);
    let sum = json!({"message": "1 of 2 jobs could not be cancelled", "exit_code": 4, "http_status": null});
    assert_eq!(errors[1], json!({ "error": sum }));
    let said = say(ctl(&daemon.socket, &["wait", "9"])).ends_with(4);
    assert_eq!(said.err, refused);
}

#[test]
fn json_is_one_object_a_line() {
    let daemon = FakeDaemon::start();
    let jobs = say(ctl(&daemon.socket, &["submit", "hi", "--json"]))
        .ends_with(0)
        .json_lines();
    assert_eq!(jobs.len(), 1);
    assert_eq!(jobs[0]["result"]["choices"][0]["text"], ANSWER.trim_end());
    let lines = say(ctl(&daemon.socket, &["submit", "hi", "--json", "--stream"]))
        .ends_with(0)
        .json_lines();
    assert_eq!(lines.len(), 6, "five chunks and the job");
    assert_eq!(lines[5]["status"], "completed");
    let ids = say(ctl(&daemon.socket, &["submit", "hi", "--json", "--detach"]))
        .ends_with(0)
        .json_lines();
    assert_eq!(ids[0]["id"], "job_2");
}

#[test]
fn text_is_there_as_soon_as_it_comes() {
    let daemon = FakeDaemon::start();
    daemon.hold(true);
    let mut child = ctl(&daemon.socket, &["submit", "--stream", "hi"])
        .spawn()
        .unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut first = [0; 9];
    // The daemon holds the rest back until these have arrived.
    out.read_exact(&mut first).unwrap();
    daemon.hold(false);
    let mut rest = String::new();
    out.read_line(&mut rest).unwrap();
    assert_eq!((&first, rest.as_str()), (b"you said ", "hi — so\n"));
    assert!(child.wait().unwrap().success());
}

#[test]
fn ctrl_c_while_the_daemon_is_away_ends_at_once() {
    let mut daemon = FakeDaemon::start();
    daemon.hold(true);
    let mut child = ctl(&daemon.socket, &["submit", "hi"]).spawn().unwrap();
    while daemon.seen.recv().unwrap() != Seen::Watched(0) {}
    daemon.go_away();
    let mut errors = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    errors.read_line(&mut line).unwrap();
    assert!(line.contains("trying again"), "{line}");
    interrupt(&child);
    assert_eq!(child.wait().unwrap().code(), Some(1));
    let mut rest = String::new();
    errors.read_to_string(&mut rest).unwrap();
    assert!(
        rest.starts_with("woollyctl: job_0 goes on: cannot connect"),
        "{rest}"
    );
}
