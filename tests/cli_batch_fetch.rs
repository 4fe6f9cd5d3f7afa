//! `woollyctl batch fetch` while its batch runs, and what becomes of the files of batches.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::ChildStderr;

use serde_json::{Value, json};

use super::support::cli::{Said, ctl, say};
use super::support::daemon::{Daemon, Home, LONG, TINY};

fn line(id: &str, tokens: u32) -> String {
    let body = json!({"prompt": "x", "max_tokens": tokens, "ignore_eos": true});
    json!({"custom_id": id, "method": "POST", "url": "/v1/completions", "body": body}).to_string()
        + "\n"
}

/// A file in the directory of a daemon.
fn at(home: &Home, name: &str) -> PathBuf {
    home.path().join(name)
}

fn batch(home: &Home, arguments: &[&str]) -> Said {
    say(ctl(&home.socket(), &[&["batch"], arguments].concat()))
}

fn submit(home: &Home, lines: &str, flags: &[&str]) -> Said {
    let path = at(home, "in.jsonl");
    std::fs::write(&path, lines).unwrap();
    batch(home, &[&["submit", path.to_str().unwrap()], flags].concat())
}

#[track_caller]
fn read_until(stderr: &mut BufReader<ChildStderr>, words: &str) {
    let mut line = String::new();
    while !line.contains(words) {
        line.clear();
        let count = stderr.read_line(&mut line).unwrap();
        assert!(count > 0, "nobody said {words:?}");
    }
}

fn files(daemon: &Daemon) -> Vec<Value> {
    let list = daemon.client().get("/v1/files?limit=100").expect(200);
    list["data"].as_array().unwrap().clone()
}

#[test]
fn a_fetch_outlives_a_crash_of_its_daemon() {
    let home = Home::new(LONG);
    let daemon = home.start();
    let lines = line("short", 1) + &line("long", 30_000);
    let id = submit(&home, &lines, &[]).ends_with(0).out;
    let id = id.trim();
    let (output, errors) = (at(&home, "out"), at(&home, "err"));
    let mut fetch = ctl(&home.socket(), &["batch", "fetch", id]);
    fetch.arg("-o").arg(&output).arg("--errors").arg(&errors);
    let mut child = fetch.spawn().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    read_until(&mut stderr, "1 of 2 lines");
    daemon.kill();
    read_until(&mut stderr, "trying again");
    let daemon = home.start();
    read_until(&mut stderr, "woollyd is back");
    batch(&home, &["cancel", id]).ends_with(0);
    let out = child.wait_with_output().unwrap();
    assert_eq!(out.status.code(), Some(1), "{out:?}");
    let count = |path| std::fs::read_to_string(path).unwrap().lines().count();
    assert_eq!((count(&output), count(&errors)), (1, 1));
    daemon.stop();
}

#[test]
fn what_cannot_be_written_is_found_before_the_wait() {
    let home = Home::new(LONG);
    let daemon = home.start();
    submit(&home, &line("long", 30_000), &[]).ends_with(0);
    let (missing, output) = (at(&home, "missing/out"), at(&home, "out"));
    let (missing, output) = (missing.to_str().unwrap(), output.to_str().unwrap());
    let said = batch(&home, &["fetch", "batch_1", "-o", missing]).ends_with(1);
    assert!(said.err.contains("cannot create"), "{}", said.err);
    let other = at(&home, "./out");
    for errors in [output, other.to_str().unwrap()] {
        let flags = ["fetch", "batch_1", "-o", output, "--errors", errors];
        let said = batch(&home, &flags).ends_with(2);
        assert!(said.err.contains("to one file"), "{}", said.err);
    }
    batch(&home, &["cancel", "batch_1"]).ends_with(0);
    daemon.stop();
}

#[test]
fn the_file_of_errors_is_named_where_there_is_one() {
    let home = Home::new(TINY);
    let daemon = home.start();
    let bad = line("bad", 1).replace("\"x\"", "5");
    submit(&home, &(line("good", 1) + &bad), &[]).ends_with(0);
    let (output, errors) = (at(&home, "out"), at(&home, "err"));
    let (output, errors) = (output.to_str().unwrap(), errors.to_str().unwrap());
    let said = batch(&home, &["fetch", "batch_1", "-o", output]).ends_with(1);
    assert!(said.err.contains("--errors FILE says why"), "{}", said.err);
    let flags = ["fetch", "batch_1", "-o", output, "--errors", errors];
    let said = batch(&home, &flags).ends_with(1);
    let expected = format!("some requests failed; {errors} says why");
    assert!(said.err.contains(&expected), "{}", said.err);
    daemon.stop();
}

#[test]
fn files_of_an_earlier_fetch_do_not_pass_for_those_of_this_one() {
    let home = Home::new(TINY);
    let daemon = home.start();
    let bad = line("bad", 1).replace("\"x\"", "5");
    submit(&home, &(line("good", 1) + &bad), &[]).ends_with(0);
    submit(&home, &line("good", 1), &[]).ends_with(0);
    submit(&home, &bad, &[]).ends_with(0);
    let (output, errors) = (at(&home, "out"), at(&home, "err"));
    let fetch = |id: &str, code: i32| {
        let files = [
            "-o",
            output.to_str().unwrap(),
            "--errors",
            errors.to_str().unwrap(),
        ];
        batch(&home, &[&["fetch", id], &files[..]].concat()).ends_with(code);
        let count = |path| std::fs::read_to_string(path).unwrap().lines().count();
        (count(&output), count(&errors))
    };
    assert_eq!(fetch("batch_1", 1), (1, 1));
    assert_eq!(fetch("batch_2", 0), (1, 0));
    assert_eq!(fetch("batch_3", 1), (0, 1));
    daemon.stop();
}

#[test]
fn a_batch_that_is_refused_leaves_no_file() {
    let home = Home::new(TINY);
    let daemon = home.start();
    let said = submit(&home, &line("a", 1), &["--window", "soon"]).ends_with(4);
    assert!(said.err.contains("completion_window"), "{}", said.err);
    assert_eq!(files(&daemon), Vec::<Value>::new());
    daemon.stop();
}

#[test]
fn the_files_of_a_batch_are_deleted_when_it_has_ended() {
    let home = Home::new(LONG);
    let daemon = home.start();
    submit(&home, &line("long", 30_000), &[]).ends_with(0);
    let said = batch(&home, &["delete", "batch_1"]).ends_with(4);
    assert!(
        said.err.contains("a batch that has not ended"),
        "{}",
        said.err
    );
    batch(&home, &["cancel", "batch_1"]).ends_with(0);
    let bad = line("bad", 1).replace("\"x\"", "5");
    submit(&home, &(line("good", 1) + &bad), &[]).ends_with(0);
    let output = at(&home, "out");
    let output = output.to_str().unwrap();
    for id in ["batch_1", "batch_2"] {
        batch(&home, &["fetch", id, "-o", output]).ends_with(1);
    }
    let before = files(&daemon).len();
    let said = batch(&home, &["delete", "batch_1", "batch_2"]).ends_with(0);
    assert_eq!(said.out.lines().count(), before);
    assert!(said.out.starts_with("file-1 deleted\n"), "{}", said.out);
    assert_eq!(files(&daemon), Vec::<Value>::new());
    let again = batch(&home, &["delete", "batch_2"]).ends_with(0);
    assert_eq!(again.out, "");
    batch(&home, &["delete", "file-1"]).ends_with(4);
    batch(&home, &["delete", "file-1x"]).ends_with(2);
    batch(&home, &["delete", "../jobs"]).ends_with(2);
    batch(&home, &["status", "batch_2"]).ends_with(0);
    daemon.stop();
}

#[test]
fn all_batches_are_listed_however_many_there_are() {
    let home = Home::new(TINY);
    let daemon = home.start();
    submit(&home, &line("a", 1), &[]).ends_with(0);
    let request = json!({"input_file_id": "file-1", "endpoint": "/v1/completions", "completion_window": "1h"});
    for _ in 1..205 {
        daemon.client().post("/v1/batches", &request).expect(200);
    }
    let listed = batch(&home, &["status", "--json"])
        .ends_with(0)
        .json_lines();
    let ids: Vec<_> = listed.iter().map(|batch| batch["id"].clone()).collect();
    let expected: Vec<_> = (1..=205)
        .rev()
        .map(|id| json!(format!("batch_{id}")))
        .collect();
    assert_eq!(ids, expected);
    daemon.stop();
}
