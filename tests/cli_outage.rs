//! The client while its daemon goes away and comes back: what it prints, what it says, and how it ends.

use std::io::{BufRead, BufReader, Read};

use serde_json::{Value, json};

use crate::support::cli::{ctl, say};
use crate::support::daemon::{Daemon, Home, LONG};
use crate::support::fake_daemon::{FakeDaemon, Seen, beside};

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
