//! The client while its daemon goes away and comes back: what it prints, what it says, and how it ends.

use std::io::{BufRead, BufReader, Read};

use serde_json::{Value, json};

use crate::support::batch_files::{Files, assert_plain_answers, plain};
use crate::support::cli::{Said, ctl, say};
use crate::support::daemon::{Daemon, Home, LONG};
use crate::support::fake_daemon::{FakeDaemon, Seen, beside, store_fault};

/// Long enough that a kill finds it running.
fn submit_long(daemon: &Daemon) -> String {
    let body = json!({
        "prompt": "first", "max_tokens": 1500, "temperature": 1.2, "seed": 3, "ignore_eos": true,
    });
    let job = json!({"endpoint": "/v1/completions", "body": body});
    daemon.client().submit(&job)
}

fn with_another_model(home: &Home) {
    let config = home.path().join("woolly.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    let text = text.replace("[synthetic]\n", "[synthetic]\nseed = 43\n");
    std::fs::write(&config, text).unwrap();
}

fn text_of_chunk(chunk: &Value) -> &str {
    chunk["choices"][0]["text"].as_str().unwrap_or_default()
}

/// Reads standard error up to a line with `part` in it, and gives that line.
fn line_with(errors: &mut impl BufRead, part: &str) -> String {
    loop {
        let mut line = String::new();
        assert_ne!(errors.read_line(&mut line).unwrap(), 0, "never said {part}");
        if line.contains(part) {
            return line;
        }
    }
}

/// The daemon tells so itself.
#[test]
fn a_job_of_which_something_was_stored_is_given_out_anew_under_another_model() {
    follow_through_a_change_of_the_model("checkpoint_tokens = 5\n");
}

/// The daemon does not know that it ran before.
#[test]
fn a_job_of_which_nothing_was_stored_is_given_out_anew_under_another_model() {
    follow_through_a_change_of_the_model("checkpoint_tokens = 1000000\n");
}

fn follow_through_a_change_of_the_model(checkpoints: &str) {
    let home = Home::new(&format!("{LONG}[queue]\npoison_limit = 0\n{checkpoints}"));
    let daemon = home.start();
    let id = submit_long(&daemon);
    let follow = |arguments: &[&str]| {
        let arguments = [&["follow", &id], arguments].concat();
        let mut child = ctl(&home.socket(), &arguments).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let errors = BufReader::new(child.stderr.take().unwrap());
        (child, out, errors)
    };
    let (mut child, mut text, mut errors) = follow(&[]);
    let (mut json_child, mut lines, mut json_errors) = follow(&["--json"]);
    let mut printed = vec![0; 40];
    text.read_exact(&mut printed).unwrap();
    let mut first = String::new();
    lines.read_line(&mut first).unwrap();
    // The job does not run before both are there again.
    let client = daemon.client();
    client.send("POST", "/v1/queue/pause", &[], b"").expect(200);
    daemon.kill();
    with_another_model(&home);
    let daemon = home.start();
    for errors in [&mut errors, &mut json_errors] {
        line_with(errors, "woollyd is back");
    }
    let client = daemon.client();
    client
        .send("POST", "/v1/queue/resume", &[], b"")
        .expect(200);

    assert_eq!(
        line_with(&mut errors, "anew"),
        format!(
            "woollyctl: {id} runs anew with another model, and its text follows from the beginning\n"
        )
    );
    text.read_to_end(&mut printed).unwrap();
    assert!(child.wait().unwrap().success());
    let job = client.ended(&id);
    let result = job["result"]["choices"][0]["text"].as_str().unwrap();
    let mut printed = String::from_utf8(printed).unwrap();
    if !result.ends_with('\n') {
        assert_eq!(printed.pop(), Some('\n'));
    }
    let earlier = printed.strip_suffix(result);
    let earlier = earlier.unwrap_or_else(|| panic!("{result:?} does not end {printed:?}"));
    assert!(earlier.len() > 40 && earlier.ends_with('\n'), "{earlier:?}");

    let chunks = std::iter::once(first).chain(lines.lines().map(Result::unwrap));
    let chunks: Vec<Value> = chunks
        .map(|line| serde_json::from_str(&line).unwrap())
        .collect();
    assert!(json_child.wait().unwrap().success());
    let restarted = json!({"event": "restarted", "id": id});
    let place = chunks.iter().position(|chunk| *chunk == restarted).unwrap();
    let text = |chunks: &[Value]| chunks.iter().map(text_of_chunk).collect::<String>();
    assert_eq!(text(&chunks[place..]), result);
    assert!(earlier.starts_with(text_of_chunk(&chunks[0])));
    daemon.stop();
}

#[test]
fn a_wait_for_an_empty_queue_outlives_the_daemon() {
    let home = Home::new(&format!("{LONG}[queue]\npoison_limit = 0\n"));
    let daemon = home.start();
    let id = submit_long(&daemon);
    let mut child = ctl(&home.socket(), &["queue", "drain", "--wait"])
        .spawn()
        .unwrap();
    let mut errors = BufReader::new(child.stderr.take().unwrap());
    line_with(&mut errors, "1 jobs and 0 batches left");
    daemon.kill();
    line_with(&mut errors, "trying again");
    let daemon = home.start();
    line_with(&mut errors, "woollyd is back");
    assert!(child.wait().unwrap().success());
    assert_eq!(daemon.client().job(&id)["status"], "completed");
    daemon.stop();
}

#[test]
fn a_daemon_that_drains_is_told_once_and_so_is_its_return() {
    let daemon = FakeDaemon::start();
    daemon.hold(true);
    let (input, output) = (beside(&daemon.socket, "in"), beside(&daemon.socket, "out"));
    std::fs::write(&input, "a\nb\nc\nd\n").unwrap();
    let mut run = ctl(&daemon.socket, &["batch", "run", "--outstanding", "2"]);
    run.arg("-i").arg(&input).arg("-o").arg(&output);
    let mut child = run.spawn().unwrap();
    let wait_for = |what: fn(&Seen) -> bool| while !what(&daemon.seen.recv().unwrap()) {};
    for _ in 0..2 {
        wait_for(|seen| matches!(seen, Seen::Watched(_)));
    }
    // One ends, and the line that follows it is turned away; then the other, whose end the daemon still tells.
    daemon.drain(true);
    say(ctl(&daemon.socket, &["cancel", "0"])).ends_with(0);
    wait_for(|seen| *seen == Seen::TurnedAway);
    daemon.hold(false);
    for _ in 0..4 {
        wait_for(|seen| *seen == Seen::TurnedAway);
    }
    daemon.drain(false);
    let mut said = String::new();
    let mut errors = child.stderr.take().unwrap();
    errors.read_to_string(&mut said).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1), "{said}");
    assert!(said.contains("1 of 4 lines have no answer"), "{said}");
    let times = |part: &str| said.lines().filter(|line| line.contains(part)).count();
    let told = (times("trying again"), times("woollyd is back"));
    assert_eq!(told, (1, 1), "{said}");
}

/// A daemon whose store has failed says so to everybody, ends, and is started again.
#[test]
fn a_store_that_failed_is_an_outage() {
    let daemon = FakeDaemon::start();
    daemon.hold(true);
    let files = Files::new(&daemon, &plain(4));
    let run = files.run(&daemon, &["--outstanding", "2"]).spawn().unwrap();
    let mut watched = 0;
    while watched < 2 {
        watched += usize::from(matches!(daemon.seen.recv().unwrap(), Seen::Watched(_)));
    }
    daemon.faults(5);
    daemon.hold(false);
    let said = Said::from(run.wait_with_output().unwrap()).ends_with(0);
    assert_plain_answers(&files.answers(), 4);
    let expected = "woollyd failed with HTTP status 500: the queue's store failed; trying again";
    assert!(said.err.contains(expected), "{}", said.err);
    assert!(said.err.contains("woollyd is back"), "{}", said.err);

    // Nobody waits for a daemon that was never there in good order.
    daemon.faults(1);
    let said = say(ctl(&daemon.socket, &["wait", "0"])).ends_with(1);
    assert!(!said.err.contains("trying again"), "{}", said.err);
}

/// Others of the same user hold all the connections that one may have.
#[test]
fn a_line_waits_for_a_connection_and_is_not_answered_with_the_lack_of_one() {
    let daemon = FakeDaemon::start();
    let files = Files::new(&daemon, &plain(3));
    daemon.crowded(4);
    let said = say(files.run(&daemon, &[])).ends_with(0);
    assert_plain_answers(&files.answers(), 3);
    let told = said.err.matches("too many connections; waiting").count();
    assert_eq!(told, 1, "{}", said.err);
    assert!(!said.err.contains("woollyd is back"), "{}", said.err);
}

#[test]
fn a_queue_is_empty_only_when_the_daemon_says_so() {
    let daemon = FakeDaemon::start();
    let drain = || say(ctl(&daemon.socket, &["queue", "drain", "--wait"]));
    let waits = json!({"status": "ok", "paused": false, "jobs": {"queued": 1, "running": 1}});
    daemon.healths([
        (500, store_fault()),
        (503, json!("no")),
        (200, waits.clone()),
    ]);
    let said = drain().ends_with(0);
    assert!(said.err.contains("trying again"), "{}", said.err);
    let left = "2 jobs and 0 batches left";
    assert!(said.err.contains(left), "{}", said.err);

    let mut paused = waits.clone();
    paused["paused"] = json!(true);
    daemon.healths([(200, waits), (200, paused)]);
    let said = drain().ends_with(1);
    assert!(said.err.contains("resume it first"), "{}", said.err);

    daemon.healths([(200, json!({"status": "ok"}))]);
    let said = drain().ends_with(1);
    assert!(
        said.err.contains("does not say how many jobs"),
        "{}",
        said.err
    );
}
