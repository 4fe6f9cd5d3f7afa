//! Files that are replaced, linked and renamed, and names that are taken: every file becomes a batch, and none is lost.

use std::path::Path;
use std::process::Command;

use serde_json::json;

use super::*;

/// Waits for the copy of a file that is being taken in.
fn wait_for_copy(home: &Home) {
    let files = home.path().join("state/files");
    while std::fs::read_dir(&files).unwrap().next().is_none() {
        std::thread::yield_now();
    }
}

/// A file of this size, most of which is on no disk.
fn drop_sparse(home: &Home, spool: &Path, name: &str, bytes: u64) {
    let elsewhere = home.path().join("elsewhere");
    let file = std::fs::File::create(&elsewhere).unwrap();
    file.set_len(bytes).unwrap();
    std::fs::rename(elsewhere, spool.join(name)).unwrap();
}

/// A daemon whose calls of `renameat2` meet `action`; `None` where nothing can be injected.
fn start_under_strace(home: &Home, action: &str) -> Option<Daemon> {
    let tried = Command::new("strace").args(["-qq", "true"]).output();
    if !tried.is_ok_and(|tried| tried.status.success()) {
        println!("skipped: strace does not run here");
        return None;
    }
    let log = home.path().join("strace.log");
    let inject = format!("inject=renameat2:{action}");
    let mut daemon = home.spawn_under(&[
        "strace",
        "-D",
        "-f",
        "-qq",
        "-o",
        log.to_str().unwrap(),
        "-e",
        "trace=renameat2",
        "-e",
        &inject,
    ]);
    assert!(daemon.wait_for("READY=1"));
    Some(daemon)
}

fn take_away(spool: &Path, names: &[&str]) {
    for name in names {
        std::fs::remove_file(spool.join(name)).unwrap();
    }
}

#[test]
fn what_replaces_a_file_while_it_is_copied_is_what_runs() {
    let (home, spool) = home();
    let daemon = home.start();
    drop_sparse(&home, &spool, "a.jsonl", 256 << 20);
    wait_for_copy(&home);
    daemon.signal(Signal::STOP);
    assert!(!spool.join("a.accepted").exists());
    drop_file(&home, &spool, "a.jsonl", &lines(3));
    daemon.signal(Signal::CONT);
    let done = done(&spool, "a");
    assert_eq!(
        (&done["status"], &done["request_counts"]["total"]),
        (&json!("completed"), &json!(3))
    );
    assert_eq!(batches(&daemon.client()).len(), 1);
    daemon.stop();
}

#[test]
fn what_replaces_a_file_before_it_has_its_new_name_has_its_own_turn() {
    let (home, spool) = home();
    let Some(daemon) = start_under_strace(&home, "delay_enter=2000000:when=1") else {
        return;
    };
    drop_file(&home, &spool, "a.jsonl", &lines(1));
    // In the queue, and about to be renamed.
    while batches(&daemon.client()).is_empty() {}
    drop_file(&home, &spool, "a.jsonl", &lines(2));
    let first = done(&spool, "a");
    assert_eq!(first["request_counts"]["total"], 1);
    let expected = ["a.done", "a.jsonl", "a.output.jsonl"];
    assert_eq!(listing(&spool), expected.map(str::to_owned).into());
    take_away(&spool, &["a.output.jsonl", "a.done"]);
    assert_eq!(done(&spool, "a")["request_counts"]["total"], 2);
    assert!(spool.join("a.accepted").exists());
    daemon.stop();
}

#[test]
fn a_file_system_that_cannot_refuse_to_replace_is_asked_first() {
    let (home, spool) = home();
    let Some(daemon) = start_under_strace(&home, "error=EINVAL") else {
        return;
    };
    drop_file(&home, &spool, "a.jsonl", &lines(1));
    done(&spool, "a");
    let expected = ["a.accepted", "a.done", "a.output.jsonl"];
    assert_eq!(listing(&spool), expected.map(str::to_owned).into());
    daemon.stop();
}

#[test]
fn a_name_is_free_only_when_the_results_of_its_batch_are_there() {
    let (home, spool) = home();
    let daemon = home.start();
    let client = daemon.client();
    set_flow(&client, "pause");
    drop_file(&home, &spool, "a.jsonl", &lines(1));
    wait_for(&spool, "a.accepted");
    take_away(&spool, &["a.accepted"]);
    drop_file(&home, &spool, "a.jsonl", &lines(2));
    // Somebody's own, which no result replaces.
    std::fs::write(spool.join("a.output.jsonl"), "precious").unwrap();
    drop_file(&home, &spool, "b.jsonl", &lines(1));
    wait_for(&spool, "b.accepted");
    assert_eq!(batches(&client).len(), 2);
    set_flow(&client, "resume");
    while batches(&client)[1]["status"] != "completed" {}
    drop_file(&home, &spool, "c.jsonl", &lines(1));
    done(&spool, "c");
    let precious = std::fs::read_to_string(spool.join("a.output.jsonl")).unwrap();
    assert_eq!(precious, "precious");
    assert!(!spool.join("a.done").exists() && spool.join("a.jsonl").exists());
    take_away(&spool, &["a.output.jsonl"]);
    let first = done(&spool, "a");
    assert_eq!(first["request_counts"]["total"], 1);
    take_away(&spool, &["a.output.jsonl", "a.done"]);
    let second = done(&spool, "a");
    assert_eq!(second["request_counts"]["total"], 2);
    assert_ne!(second["batch"], first["batch"]);
    let log = daemon.stop();
    let sentence = "a.output.jsonl: is in the way of a result, which waits until it is moved away";
    assert_eq!(told(&log, sentence), 1, "{log}");
}

/// Nothing is in the way of the second file but the batch itself.
#[test]
fn a_name_waits_for_a_batch_that_is_under_way() {
    let (home, spool) = home();
    let daemon = home.start();
    let client = daemon.client();
    set_flow(&client, "pause");
    drop_file(&home, &spool, "a.jsonl", &lines(1));
    wait_for(&spool, "a.accepted");
    take_away(&spool, &["a.accepted"]);
    drop_file(&home, &spool, "a.jsonl", &lines(2));
    drop_file(&home, &spool, "b.jsonl", &lines(1));
    wait_for(&spool, "b.accepted");
    let batches = batches(&client);
    assert_eq!(batches.len(), 2);
    set_flow(&client, "resume");
    let first = done(&spool, "a");
    assert_eq!(first["batch"], batches[1]["id"]);
    let log = daemon.stop();
    let id = first["batch"].as_str().unwrap();
    let sentence = format!("a.jsonl: waits for the results of {id}, an earlier file of this name");
    assert_eq!(told(&log, &sentence), 1, "{log}");
}

#[test]
fn a_file_that_is_dropped_again_or_under_another_name_is_another_batch() {
    let (home, spool) = home();
    let daemon = home.start();
    let client = daemon.client();
    set_flow(&client, "pause");
    drop_file(&home, &spool, "a.jsonl", &lines(1));
    wait_for(&spool, "a.accepted");
    std::fs::hard_link(spool.join("a.accepted"), spool.join("b.jsonl")).unwrap();
    drop_file(&home, &spool, "c.jsonl", &lines(1));
    wait_for(&spool, "c.accepted");
    assert!(spool.join("b.jsonl").exists());
    // Under its own name while it is under way: that is its batch already.
    std::fs::rename(spool.join("a.accepted"), spool.join("a.jsonl")).unwrap();
    wait_for(&spool, "a.accepted");
    assert_eq!(batches(&client).len(), 2);
    set_flow(&client, "resume");
    let first = done(&spool, "a");
    let linked = done(&spool, "b");
    done(&spool, "c");
    take_away(&spool, &["a.output.jsonl", "a.done"]);
    std::fs::rename(spool.join("a.accepted"), spool.join("a.jsonl")).unwrap();
    let again = done(&spool, "a");
    let ids = [&first, &linked, &again].map(|done| done["batch"].to_string());
    assert_eq!(BTreeSet::from(ids).len(), 3);
    assert_eq!(batches(&client).len(), 4);
    let log = daemon.stop();
    let sentence = "b.jsonl: is at work under another name: waits until a.done is there";
    assert_eq!(told(&log, sentence), 1, "{log}");
}

#[test]
fn the_end_of_the_daemon_waits_for_no_copy() {
    let (home, spool) = home();
    let daemon = home.start();
    drop_sparse(&home, &spool, "a.jsonl", 1 << 30);
    wait_for_copy(&home);
    let log = daemon.stop();
    assert_eq!(
        told(&log, "a.jsonl: cannot be read: the daemon ends"),
        1,
        "{log}"
    );
    assert_eq!(listing(&spool), BTreeSet::from(["a.jsonl".to_owned()]));
    let files = std::fs::read_dir(home.path().join("state/files")).unwrap();
    assert_eq!(files.count(), 0);
}
