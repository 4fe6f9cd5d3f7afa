//! The spool directory: a file that is dropped becomes one batch, and its results appear beside it.

mod refused;
mod replaced;

use std::collections::BTreeSet;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::process::{Signal, getegid, geteuid};
use serde_json::{Value, json};

use crate::support::daemon::{Daemon, Home, TINY};
use crate::support::http::Client;

/// A home with a spool directory beside the state.
pub(crate) fn home() -> (Home, PathBuf) {
    home_with("[queue]\npoison_limit = 0\n")
}

fn home_with(config: &str) -> (Home, PathBuf) {
    let home = Home::new(&format!("{TINY}{config}[spool]\ndir = \"spool\"\n"));
    let spool = home.path().join("spool");
    std::fs::create_dir(&spool).unwrap();
    (home, spool)
}

fn line(custom_id: &str, prompt: &str) -> String {
    let body = json!({"prompt": prompt, "max_tokens": 8, "temperature": 1, "seed": 4});
    let line =
        json!({"custom_id": custom_id, "method": "POST", "url": "/v1/completions", "body": body});
    format!("{line}\n")
}

pub(crate) fn lines(count: usize) -> String {
    (0..count)
        .map(|n| line(&format!("id-{n}"), &format!("prompt {n}")))
        .collect()
}

/// As the manual says: written elsewhere on the same file system, then renamed.
pub(crate) fn drop_file(home: &Home, spool: &Path, name: &str, text: &str) {
    let elsewhere = home.path().join("elsewhere");
    std::fs::write(&elsewhere, text).unwrap();
    std::fs::rename(elsewhere, spool.join(name)).unwrap();
}

pub(crate) fn listing(spool: &Path) -> BTreeSet<String> {
    let names = std::fs::read_dir(spool).unwrap();
    names
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

/// Waits until a file has its name; each look is a round trip to the directory.
fn wait_for(spool: &Path, name: &str) {
    while !spool.join(name).exists() {
        std::thread::yield_now();
    }
}

fn done(spool: &Path, name: &str) -> Value {
    wait_for(spool, &format!("{name}.done"));
    let text = std::fs::read_to_string(spool.join(format!("{name}.done"))).unwrap();
    assert!(text.ends_with("}\n"), "it appears whole");
    serde_json::from_str(&text).unwrap()
}

pub(crate) fn batches(client: &Client) -> Vec<Value> {
    client.get("/v1/batches?limit=100").expect(200)["data"]
        .as_array()
        .unwrap()
        .clone()
}

/// Whether jobs start.
fn set_flow(client: &Client, verb: &str) {
    let path = format!("/v1/queue/{verb}");
    client.send("POST", &path, &[], b"").expect(200);
}

/// How often a sentence stands in a log.
fn told(log: &str, sentence: &str) -> usize {
    log.lines().filter(|line| line.contains(sentence)).count()
}

/// What was answered, by the name of the line.
pub(crate) fn answers(text: &str) -> Vec<(String, Value)> {
    let answers = text.lines().map(|line| {
        let line: Value = serde_json::from_str(line).unwrap();
        let body = &line["response"]["body"];
        let id = line["custom_id"].as_str().unwrap().to_owned();
        (id, json!([body["choices"], body["usage"]]))
    });
    answers.collect()
}

#[test]
fn a_dropped_file_becomes_a_batch_of_its_owner_with_the_bytes_of_any_other() {
    let (home, spool) = home();
    let daemon = home.start();
    // Neither whole, nor a name that is looked at.
    std::fs::write(spool.join(".a.jsonl"), lines(1)).unwrap();
    std::fs::write(spool.join("a.jsonl.part"), lines(1)).unwrap();
    let bad = json!({"custom_id": "bad", "method": "POST", "url": "/v1/completions", "body": {"prompt": 3}});
    drop_file(&home, &spool, "a.jsonl", &format!("{}{bad}\n", lines(20)));
    let done = done(&spool, "a");
    assert_eq!(done["status"], "completed");
    assert_eq!(
        done["request_counts"],
        json!({"total": 21, "completed": 20, "failed": 1})
    );
    assert_eq!(
        (&done["output"], &done["errors"]),
        (&json!("a.output.jsonl"), &json!("a.errors.jsonl"))
    );
    let expected = [
        ".a.jsonl",
        "a.accepted",
        "a.done",
        "a.errors.jsonl",
        "a.jsonl.part",
        "a.output.jsonl",
    ];
    assert_eq!(listing(&spool), expected.map(str::to_owned).into());
    let output = std::fs::read_to_string(spool.join("a.output.jsonl")).unwrap();
    let answers = answers(&output);
    assert_eq!(answers.len(), 20);
    let client = daemon.client();
    for (n, (id, answer)) in answers.iter().enumerate() {
        assert_eq!(*id, format!("id-{n}"));
        let body =
            json!({"prompt": format!("prompt {n}"), "max_tokens": 8, "temperature": 1, "seed": 4});
        let direct = client.post("/v1/completions", &body).expect(200);
        assert_eq!(*answer, json!([direct["choices"], direct["usage"]]));
    }
    let errors = std::fs::read_to_string(spool.join("a.errors.jsonl")).unwrap();
    assert!(errors.contains("\"custom_id\":\"bad\"") && errors.lines().count() == 1);
    // The batch is one like any other, but its files lie in the directory and nowhere else.
    let batch = &batches(&client)[0];
    assert_eq!(batch["id"], done["batch"]);
    let known = || client.get("/v1/files").expect(200)["data"].clone();
    while known() != json!([]) {
        std::thread::yield_now();
    }
    let stored = home.path().join("state/files");
    while std::fs::read_dir(&stored).unwrap().count() > 0 {
        std::thread::yield_now();
    }
    let modes = ["a.output.jsonl", "a.done"]
        .map(|name| std::fs::metadata(spool.join(name)).unwrap().mode() & 0o777);
    assert_eq!(modes, [0o640, 0o640], "not for everybody");
    daemon.stop();
}

#[test]
fn results_are_for_who_dropped_the_file_and_never_written_through_a_link() {
    let (home, spool) = home();
    let precious = home.path().join("precious");
    std::fs::write(&precious, "precious").unwrap();
    std::os::unix::fs::symlink(&precious, spool.join(".a.done.tmp")).unwrap();
    // Nobody will ever read from this one.
    let pipe = spool.join(".a.output.jsonl.tmp");
    mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let is_root = geteuid().is_root();
    let (user, group) = match is_root {
        true => (4_321, 8_765),
        false => (geteuid().as_raw(), getegid().as_raw()),
    };
    chown(&spool, None, Some(group)).unwrap();
    let daemon = home.start();
    // Some editors begin a file with a byte order mark.
    let elsewhere = home.path().join("elsewhere");
    std::fs::write(&elsewhere, format!("\u{feff}{}", lines(2))).unwrap();
    chown(&elsewhere, Some(user), None).unwrap();
    std::fs::rename(elsewhere, spool.join("a.jsonl")).unwrap();
    assert_eq!(done(&spool, "a")["status"], "completed");
    for name in ["a.output.jsonl", "a.done"] {
        let result = std::fs::symlink_metadata(spool.join(name)).unwrap();
        assert!(result.is_file(), "{name}");
        assert_eq!((result.uid(), result.gid()), (user, group), "{name}");
    }
    assert_eq!(std::fs::read_to_string(precious).unwrap(), "precious");
    daemon.stop();
}

#[test]
fn a_file_that_cannot_be_used_is_told_with_the_numbers_of_its_lines() {
    let (home, spool) = home();
    let daemon = home.start();
    drop_file(
        &home,
        &spool,
        "twice.jsonl",
        &(line("x", "a") + "\nno json\n" + &line("x", "b")),
    );
    let done = done(&spool, "twice");
    assert_eq!(
        (&done["status"], &done["output"]),
        (&json!("failed"), &Value::Null)
    );
    let numbers = done["problems"]["data"].as_array().unwrap().iter();
    let numbers: Vec<_> = numbers
        .map(|problem| problem["line"].as_u64().unwrap())
        .collect();
    assert_eq!(numbers, [3, 4]);
    assert_eq!(
        listing(&spool),
        ["twice.accepted", "twice.done"].map(str::to_owned).into()
    );
    daemon.stop();
}

#[test]
fn a_name_is_taken_again_when_the_results_are_moved_away_and_links_never() {
    let (home, spool) = home();
    let daemon = home.start();
    drop_file(&home, &spool, "a.jsonl", &lines(1));
    let first = done(&spool, "a");
    drop_file(&home, &spool, "a.jsonl", &lines(2));
    std::os::unix::fs::symlink("/etc/passwd", spool.join("link.jsonl")).unwrap();
    std::fs::create_dir(spool.join("folder.jsonl")).unwrap();
    // Another file that comes after them is taken: they were looked at.
    drop_file(&home, &spool, "b.jsonl", &lines(1));
    done(&spool, "b");
    assert!(spool.join("a.jsonl").exists());
    for name in ["a.accepted", "a.output.jsonl", "a.done"] {
        std::fs::remove_file(spool.join(name)).unwrap();
    }
    let second = done(&spool, "a");
    assert_ne!(second["batch"], first["batch"]);
    assert_eq!(second["request_counts"]["total"], 2);
    assert_eq!(batches(&daemon.client()).len(), 3);
    let log = daemon.stop();
    for sentence in [
        "a.jsonl: waits until a.accepted is moved away",
        "link.jsonl: cannot be opened",
        "folder.jsonl: is not a regular file",
    ] {
        assert_eq!(told(&log, sentence), 1, "{sentence}: {log}");
    }
}

/// What a daemon that died at any point leaves behind is taken up: one batch, whole results.
#[test]
fn a_daemon_that_dies_makes_no_second_batch_and_loses_no_result() {
    let (home, spool) = home();
    home.start().stop();
    let queue = || rusqlite::Connection::open(home.path().join("state/queue.db")).unwrap();
    // Nothing is noted as delivered: each daemon from here on dies before it could.
    let never = "CREATE TRIGGER never BEFORE UPDATE OF delivered ON spooled WHEN NEW.delivered
                 BEGIN SELECT RAISE(ABORT, 'not yet'); END";
    queue().execute_batch(never).unwrap();
    let daemon = home.start();
    drop_file(&home, &spool, "golden.jsonl", &lines(40));
    done(&spool, "golden");
    let golden = std::fs::read_to_string(spool.join("golden.output.jsonl")).unwrap();
    let mut daemon = daemon;
    let kill = |daemon: Daemon| {
        daemon.signal(Signal::KILL);
        daemon.end();
        home.start()
    };
    drop_file(&home, &spool, "a.jsonl", &lines(40));
    // Before and after it was taken in, wherever that is just now.
    for _ in 0..3 {
        daemon = kill(daemon);
    }
    wait_for(&spool, "a.accepted");
    daemon = kill(daemon);
    let batch = done(&spool, "a");
    // Died between the transaction and the rename, and between the last rename and the note of it.
    drop(daemon);
    for name in ["a.done", "a.output.jsonl"] {
        std::fs::remove_file(spool.join(name)).unwrap();
    }
    std::fs::rename(spool.join("a.accepted"), spool.join("a.jsonl")).unwrap();
    queue().execute_batch("DROP TRIGGER never").unwrap();
    let daemon = home.start();
    assert_eq!(done(&spool, "a"), batch);
    drop_file(&home, &spool, "last.jsonl", &lines(1));
    done(&spool, "last");
    assert_eq!(batches(&daemon.client()).len(), 3);
    let output = std::fs::read_to_string(spool.join("a.output.jsonl")).unwrap();
    assert_eq!(answers(&output), answers(&golden));
    let log = daemon.stop();
    // What was there already was the same, and is noted.
    assert_eq!(told(&log, "in the way"), 0, "{log}");
    let sql = "SELECT count(*) FROM spooled WHERE delivered = 0";
    let undelivered: i64 = queue().query_row(sql, [], |row| row.get(0)).unwrap();
    assert_eq!(undelivered, 0);
}

#[test]
fn a_directory_that_cannot_be_used_is_a_matter_of_configuration() {
    let (home, spool) = home();
    std::fs::remove_dir(&spool).unwrap();
    for options in [&[][..], &["--check"]] {
        let refused = home.run(options);
        assert_eq!(refused.status.code(), Some(78));
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        let sentence = format!("spool directory {}: No such file", spool.display());
        assert!(said.contains(&sentence), "{said}");
    }
    std::fs::create_dir(&spool).unwrap();
    let daemon = home.start();
    // It goes, and comes back.
    std::fs::remove_dir(&spool).unwrap();
    std::fs::create_dir(&spool).unwrap();
    drop_file(&home, &spool, "a.jsonl", &lines(1));
    assert_eq!(done(&spool, "a")["status"], "completed");
    daemon.stop();
}
