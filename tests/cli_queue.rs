//! `woollyctl queue backup` and `check`: a copy while the daemon works holds everything, and damage is found.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use crate::support::cli::{Said, WOOLLYCTL, command, ctl, interrupt, say, unread};
use crate::support::daemon::{Home, TINY};
use crate::support::fake_daemon::{FakeDaemon, Seen, beside};
use crate::support::http::Client;

fn submit(client: &Client, prompt: &str) -> String {
    let body = json!({"prompt": prompt, "max_tokens": 6, "temperature": 1, "seed": 2});
    let job = json!({"endpoint": "/v1/completions", "body": body});
    client.submit(&job)
}

fn choices(client: &Client, id: &str) -> Value {
    client.ended(id)["result"]["choices"].clone()
}

fn check(path: &Path) -> Said {
    say(command(
        WOOLLYCTL,
        &["queue", "check", path.to_str().unwrap()],
    ))
}

fn backup(home: &Home, file: &Path) -> Said {
    say(ctl(
        &home.socket(),
        &["queue", "backup", file.to_str().unwrap()],
    ))
}

fn upload(home: &Home, content: &str) -> Value {
    let file = home.path().join("in.jsonl");
    std::fs::write(&file, content).unwrap();
    let said = say(ctl(
        &home.socket(),
        &["batch", "submit", file.to_str().unwrap(), "--json"],
    ));
    serde_json::from_str(&said.ends_with(0).out).unwrap()
}

#[test]
fn a_backup_holds_what_was_accepted_and_is_restored_by_unpacking() {
    let home = Home::new(&format!("{TINY}[queue]\npoison_limit = 0\n"));
    let daemon = home.start();
    let client = daemon.client();
    let done: Vec<String> = (0..5)
        .map(|n| submit(&client, &format!("done {n}")))
        .collect();
    let golden: Vec<Value> = done.iter().map(|id| choices(&client, id)).collect();
    let line = json!({"custom_id": "a", "method": "POST", "url": "/v1/completions", "body": {"prompt": "b"}});
    let batch = upload(&home, &format!("{line}\n"));
    client.send("POST", "/v1/queue/pause", &[], b"").expect(200);
    let waiting: Vec<String> = (0..200)
        .map(|n| submit(&client, &format!("done {}", n % 5)))
        .collect();
    // Others go on submitting, and what they have been told of before a backup begins is in it.
    let (stop, files) = (AtomicBool::new(false), ["one.tar", "two.tar", "three.tar"]);
    let acked = std::thread::scope(|scope| {
        let submitter = scope.spawn(|| {
            let mut ids = vec![];
            while !stop.load(Ordering::Relaxed) {
                ids.push(submit(&client, "under load"));
            }
            ids
        });
        let mut first_of_all = vec![];
        for file in files {
            first_of_all.push(submit(&client, "just before"));
            backup(&home, &home.path().join(file)).ends_with(0);
        }
        stop.store(true, Ordering::Relaxed);
        assert!(!submitter.join().unwrap().is_empty());
        first_of_all
    });
    daemon.kill();
    let state = home.path().join("state");
    assert_eq!(
        std::fs::read_dir(&state)
            .unwrap()
            .filter(|entry| {
                entry
                    .as_ref()
                    .unwrap()
                    .file_name()
                    .to_string_lossy()
                    .starts_with("backup-")
            })
            .count(),
        0
    );
    for file in files {
        let sound = check(&home.path().join(file)).ends_with(0);
        assert_eq!(
            sound.out,
            format!("{} is sound\n", home.path().join(file).display())
        );
    }
    // The queue is lost; the second backup takes its place.
    std::fs::remove_dir_all(&state).unwrap();
    std::fs::create_dir(&state).unwrap();
    std::fs::set_permissions(&state, PermissionsExt::from_mode(0o700)).unwrap();
    let archive = std::fs::File::open(home.path().join("two.tar")).unwrap();
    tar::Archive::new(archive).unpack(&state).unwrap();
    let daemon = home.start();
    let client = daemon.client();
    for (id, golden) in done.iter().zip(&golden) {
        assert_eq!(client.job(id)["result"]["choices"], *golden);
    }
    client
        .send("POST", "/v1/queue/resume", &[], b"")
        .expect(200);
    for (n, id) in waiting.iter().enumerate() {
        assert_eq!(choices(&client, id), golden[n % 5]);
    }
    for id in &acked[..2] {
        choices(&client, id);
    }
    let file = format!(
        "/v1/files/{}/content",
        batch["input_file_id"].as_str().unwrap()
    );
    assert_eq!(client.get(&file).body, format!("{line}\n").as_bytes());
    daemon.stop();
    check(&state).ends_with(0);
}

#[test]
fn a_backup_that_cannot_be_made_leaves_nothing() {
    let home = Home::new(TINY);
    let daemon = home.start();
    submit(&daemon.client(), "a");
    let missing = backup(&home, &home.path().join("missing/b.tar")).ends_with(1);
    assert!(missing.err.contains("missing/b.tar"), "{}", missing.err);
    daemon.stop();
    let gone = backup(&home, &home.path().join("b.tar")).ends_with(3);
    assert!(gone.err.contains("cannot connect"), "{}", gone.err);
    assert!(!home.path().join("b.tar").exists());
}

#[test]
fn ctrl_c_during_a_backup_leaves_nothing() {
    let daemon = FakeDaemon::start();
    let file = beside(&daemon.socket, "b.tar");
    let child = ctl(&daemon.socket, &["queue", "backup", file.to_str().unwrap()])
        .spawn()
        .unwrap();
    assert_eq!(daemon.seen.recv().unwrap(), Seen::BackingUp);
    interrupt(&child);
    let said = Said::from(child.wait_with_output().unwrap()).ends_with(1);
    assert_eq!(said.err, "woollyctl: interrupted\n");
    let names = listing(file.parent().unwrap()).into_iter();
    let names: Vec<String> = names.map(|(name, _)| name).collect();
    assert_eq!(names, ["fake.sock", "fake.stop"]);
}

#[test]
fn a_check_of_a_working_queue_finds_nothing() {
    let home = Home::new(TINY);
    let daemon = home.start();
    for n in 0..20 {
        submit(&daemon.client(), &n.to_string());
    }
    check(&home.path().join("state")).ends_with(0);
    daemon.stop();
}

/// What is done to a database, and what the check says of it.
#[test]
fn every_kind_of_damage_is_told() {
    let home = Home::new(TINY);
    let daemon = home.start();
    let client = daemon.client();
    let done = submit(&client, "a");
    choices(&client, &done);
    let line = json!({"custom_id": "a", "method": "POST", "url": "/v1/completions", "body": {"prompt": "b"}});
    client.send("POST", "/v1/queue/pause", &[], b"").expect(200);
    upload(&home, &format!("{line}\n"));
    while client.get("/health").expect(200)["jobs"]["queued"] != 1 {
        std::thread::yield_now();
    }
    daemon.stop();
    let state = home.path().join("state");
    check(&state).ends_with(0);
    let unguarded = "DROP TRIGGER job_end_is_final; DROP TRIGGER transcript_ended; DROP TRIGGER share_of_ended_job;";
    let damages = [
        (
            "UPDATE tally SET jobs = jobs + 1 WHERE state = 'failed'",
            "the counts of jobs by state are wrong: failed: 1, but there are 0",
        ),
        (
            "UPDATE share SET bytes = bytes + 1",
            "the share of a user is wrong: user ",
        ),
        ("DELETE FROM share", "the share of a user is wrong: user "),
        (
            "DELETE FROM request WHERE job_id = 1",
            "a job has no request: job_1",
        ),
        ("DELETE FROM result", "a completed job has no result: job_1"),
        (
            "INSERT INTO result(job_id, body) VALUES (2, x'7b7d')",
            "a job that has not completed has a result: job_2",
        ),
        (
            "UPDATE job SET state = 'failed' WHERE id = 1",
            "a job that failed does not say why: job_1",
        ),
        (
            "UPDATE job SET state = 'cancelled' WHERE id = 1; INSERT INTO transcript(job_id, part, fingerprint, body)
             VALUES (1, 0, x'01', x'02')",
            "a job that has ended without a result has a transcript: job_1",
        ),
        (
            "UPDATE job SET state = 'running', lease_epoch = 99 WHERE id = 2",
            "a job runs under a daemon that never was: job_2",
        ),
        (
            "UPDATE batch SET expanded = 2",
            "a batch does not have the jobs that it counts: batch_1",
        ),
        (
            "DELETE FROM file",
            "a batch that waits has no input: batch_1",
        ),
        (
            "UPDATE batch SET ended_at_ms = 5",
            "a batch has ended, and a job of it has not: batch_1, job_2",
        ),
        (
            "INSERT INTO lease(epoch) VALUES (1)",
            "there is not one row that says which daemon it is: 2 rows",
        ),
        (
            "PRAGMA foreign_keys = OFF; INSERT INTO result(job_id, body) VALUES (77, x'7b7d')",
            "result row 77 refers to a missing job",
        ),
        ("UPDATE file SET bytes = bytes + 1", "bytes, but "),
    ];
    let pristine = std::fs::read(state.join("queue.db")).unwrap();
    let damaged = home.path().join("damaged");
    std::fs::create_dir_all(damaged.join("files")).unwrap();
    for entry in std::fs::read_dir(state.join("files")).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), damaged.join("files").join(entry.file_name())).unwrap();
    }
    for (damage, sentence) in damages {
        std::fs::write(damaged.join("queue.db"), &pristine).unwrap();
        let db = rusqlite::Connection::open(damaged.join("queue.db")).unwrap();
        db.execute_batch(unguarded).unwrap();
        db.execute_batch(damage).unwrap();
        drop(db);
        let said = check(&damaged).ends_with(1);
        assert!(said.out.contains(sentence), "{damage}: {}", said.out);
        assert!(said.err.contains("is damaged"), "{damage}: {}", said.err);
        let unread = unread(command(
            WOOLLYCTL,
            &["queue", "check", damaged.to_str().unwrap()],
        ));
        say(unread).ends_with(1);
    }
    std::fs::write(damaged.join("queue.db"), &pristine).unwrap();
    std::fs::write(damaged.join("files/stray"), b"x").unwrap();
    assert_eq!(
        check(&damaged).ends_with(1).out,
        "file stray is known to nobody\n"
    );
    std::fs::remove_dir_all(damaged.join("files")).unwrap();
    assert!(
        check(&damaged)
            .ends_with(1)
            .out
            .contains("cannot be read: No such file")
    );
    // Neither a queue nor a backup.
    let missing = check(&home.path().join("nowhere")).ends_with(1);
    assert!(missing.err.contains("has no queue"), "{}", missing.err);
    std::fs::write(home.path().join("text.tar"), b"hello").unwrap();
    check(&home.path().join("text.tar")).ends_with(1);
    let mut bytes = pristine;
    for page in bytes.chunks_mut(4096).skip(3) {
        page[100..300].fill(0xff);
    }
    std::fs::write(damaged.join("queue.db"), bytes).unwrap();
    check(&damaged).ends_with(1);
}

/// What is in a directory, with sizes.
fn listing(directory: &Path) -> Vec<(String, u64)> {
    let entries = std::fs::read_dir(directory).unwrap().map(Result::unwrap);
    let mut listing: Vec<_> = entries
        .map(|entry| {
            let name = entry.file_name().to_str().unwrap().to_owned();
            (name, entry.metadata().unwrap().len())
        })
        .collect();
    listing.sort();
    listing
}

#[test]
fn a_check_leaves_no_trace() {
    let home = Home::new(TINY);
    let daemon = home.start();
    choices(&daemon.client(), &submit(&daemon.client(), "a"));
    let (tar, temporary) = (home.path().join("b.tar"), home.path().join("tmp"));
    backup(&home, &tar).ends_with(0);
    daemon.stop();
    let state = home.path().join("state");
    let before = listing(&state);
    // Names that mean something in an address are names all the same.
    let odd = home.path().join("50% #1?");
    std::fs::rename(&state, &odd).unwrap();
    check(&odd).ends_with(0);
    assert_eq!(listing(&odd), before);
    std::fs::create_dir(&temporary).unwrap();
    let beside = listing(home.path());
    let mut command = command(WOOLLYCTL, &["queue", "check", tar.to_str().unwrap()]);
    command.env("TMPDIR", &temporary);
    say(command).ends_with(0);
    assert_eq!(listing(&temporary), []);
    assert_eq!(listing(home.path()), beside);
}

#[test]
fn a_check_of_a_killed_daemon_s_queue_reads_its_log() {
    let home = Home::new(TINY);
    let daemon = home.start();
    choices(&daemon.client(), &submit(&daemon.client(), "a"));
    daemon.kill();
    let state = home.path().join("state");
    let log = std::fs::metadata(state.join("queue.db-wal")).unwrap();
    assert!(log.len() > 0);
    check(&state).ends_with(0);
    // The job is in the log only, and so is the damage.
    let db = rusqlite::Connection::open(state.join("queue.db")).unwrap();
    db.execute_batch("PRAGMA wal_autocheckpoint = 0; DELETE FROM result")
        .unwrap();
    let said = check(&state).ends_with(1);
    assert_eq!(said.out, "a completed job has no result: job_1\n");
}

#[test]
fn ctrl_c_leaves_nothing_of_an_unpacked_backup() {
    let directory = tempfile::tempdir().unwrap();
    let (tar, temporary) = (directory.path().join("b.tar"), directory.path().join("tmp"));
    std::fs::create_dir(&temporary).unwrap();
    // It takes longer to unpack than to see that it has begun.
    let size = 4 << 30;
    let mut header = tar::Header::new_gnu();
    header.set_path("queue.db").unwrap();
    header.set_size(size);
    header.set_mode(0o600);
    header.set_cksum();
    std::fs::write(&tar, header.as_bytes()).unwrap();
    let file = std::fs::File::options().write(true).open(&tar).unwrap();
    file.set_len(512 + size + 1024).unwrap();
    let mut command = command(WOOLLYCTL, &["queue", "check", tar.to_str().unwrap()]);
    command.env("TMPDIR", &temporary);
    let child = command.spawn().unwrap();
    let unpacked = loop {
        if let Some(entry) = std::fs::read_dir(&temporary).unwrap().next() {
            break entry.unwrap();
        }
        std::thread::yield_now();
    };
    assert_eq!(
        unpacked.metadata().unwrap().permissions().mode() & 0o777,
        0o700
    );
    while listing(&unpacked.path()).is_empty() {
        std::thread::yield_now();
    }
    interrupt(&child);
    let said = Said::from(child.wait_with_output().unwrap()).ends_with(1);
    assert_eq!(said.err, "woollyctl: interrupted\n");
    assert_eq!(listing(&temporary), []);
}

#[test]
fn what_is_no_whole_backup_is_called_so() {
    let home = Home::new(TINY);
    let daemon = home.start();
    let tar = home.path().join("b.tar");
    backup(&home, &tar).ends_with(0);
    daemon.stop();
    let whole = std::fs::read(&tar).unwrap();
    let says = |bytes: &[u8], sentence: &str| {
        std::fs::write(&tar, bytes).unwrap();
        let said = check(&tar).ends_with(1);
        assert_eq!(
            said.err,
            format!("woollyctl: {} {sentence}\n", tar.display())
        );
    };
    for bytes in [
        b"".as_slice(),
        b"hello",
        &[b'x'; 5000],
        &[0; 5000],
        &whole[..300],
    ] {
        says(bytes, "is no backup of a queue");
    }
    let mut other = tar::Builder::new(vec![]);
    let mut header = tar::Header::new_gnu();
    header.set_size(5);
    let added = other.append_data(&mut header, "notes", b"hello".as_slice());
    added.unwrap();
    says(&other.into_inner().unwrap(), "is no backup of a queue");
    // In the first file, in its middle, and where only the mark of the end is missing.
    for length in [512, 700, whole.len() / 2, whole.len() - 1024] {
        says(&whole[..length], "is cut short");
    }
    std::fs::write(&tar, &whole).unwrap();
    check(&tar).ends_with(0);
}
