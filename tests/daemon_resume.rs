//! What was generated is not generated again: jobs go on after a crash or a restart, and equal jobs share a result.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::daemon::{Daemon, Home, LONG};
use crate::support::http::Client;

/// Long enough that a kill finds it running.
fn long(seed: u64) -> Value {
    let body = json!({
        "prompt": ["first", "second"], "n": 2, "max_tokens": 1500, "temperature": 1.2, "seed": seed,
        "ignore_eos": true, "logprobs": 2, "presence_penalty": 0.4, "echo": true,
    });
    json!({"endpoint": "/v1/completions", "body": body})
}

/// Follows a job to its end; what it gave.
fn result(client: &Client, id: &str) -> Value {
    let job = client.ended(id);
    assert_eq!(job["status"], "completed", "{job}");
    json!([job["result"]["choices"], job["result"]["usage"]])
}

/// Parts of transcripts on disk.
fn parts(home: &Home) -> i64 {
    transcript(home, "count(*)")
}

/// The transcripts on disk, as an administrator sees them.
fn transcript(home: &Home, what: &str) -> i64 {
    let path = home.path().join("state/queue.db");
    let db =
        rusqlite::Connection::open_with_flags(path, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY);
    let db = db.unwrap();
    db.busy_timeout(Duration::from_secs(60)).unwrap();
    let sql = format!("SELECT {what} FROM transcript");
    db.query_row(&sql, [], |row| row.get(0)).unwrap()
}

/// Waits until more than so many bytes are stored, and returns how many; each look is a round trip to the disk.
fn wait_for_more(home: &Home, bytes: i64) -> i64 {
    loop {
        let stored = transcript(home, "coalesce(sum(length(body)), 0)");
        if stored > bytes {
            return stored;
        }
        std::thread::yield_now();
    }
}

/// How often the log says that a job went on, and behind how many events in all.
fn went_on(log: &str) -> (usize, u64) {
    let lines = log
        .lines()
        .filter(|line| line.contains("job goes on behind"));
    let counts: Vec<u64> = lines
        .map(|line| {
            let (_, rest) = line.split_once("events=").unwrap();
            rest.split_whitespace().next().unwrap().parse().unwrap()
        })
        .collect();
    (counts.len(), counts.iter().sum())
}

fn home(queue: &str) -> Home {
    Home::new(&format!("{LONG}[queue]\npoison_limit = 0\n{queue}"))
}

#[test]
fn a_killed_job_goes_on_and_ends_with_the_same_bytes() {
    let home = home("checkpoint_tokens = 50\n");
    let daemon = home.start();
    let golden = result(&daemon.client(), &daemon.client().submit(&long(3)));
    assert_eq!(parts(&home), 0, "nothing is kept of what has completed");
    let id = daemon.client().submit(&long(3));
    let (mut daemon, mut stored, mut before) = (daemon, 0, 0);
    // The slots run two of the four sequences at once, so that one kill finds some over and some not begun.
    for round in 1..=3 {
        // The first part of a run takes the place of all parts of the one before, and has more in it.
        stored = wait_for_more(&home, stored);
        daemon.signal(rustix::process::Signal::KILL);
        let (_, log) = daemon.end();
        if round > 1 {
            let (times, events) = went_on(&log);
            assert_eq!(times, 1, "{log}");
            assert!(events >= before, "{events} after {before}");
            before = events;
        }
        daemon = home.start();
    }
    assert_eq!(result(&daemon.client(), &id), golden);
    let (times, events) = went_on(&daemon.stop());
    assert!(times == 1 && events > 90, "{events}");
    assert_eq!(parts(&home), 0);
}

#[test]
fn a_restart_computes_nothing_again() {
    let home = home("checkpoint_tokens = 1000000\n[log]\nlevel = \"debug\"\n");
    let home_daemon = |home: &Home| home.start();
    let daemon = home_daemon(&home);
    let golden = result(&daemon.client(), &daemon.client().submit(&long(4)));
    let id = daemon.client().submit(&long(4));
    let mut events = daemon
        .client()
        .stream("GET", &format!("/v1/jobs/{id}/events"), b"");
    for _ in 0..20 {
        events.next().unwrap();
    }
    drop(events);
    // Twice: the second one does not wait for the jobs.
    daemon.signal(rustix::process::Signal::TERM);
    daemon.signal(rustix::process::Signal::INT);
    let (status, log) = daemon.end();
    assert_eq!(status.code(), Some(0), "{log}");
    assert_eq!(parts(&home), 1);
    let daemon = home_daemon(&home);
    assert_eq!(result(&daemon.client(), &id), golden);
    let (times, count) = went_on(&daemon.stop());
    assert!(times == 1 && count >= 20, "{times} {count}");
}

#[test]
fn under_another_model_a_job_starts_anew_and_says_so() {
    let home = home("checkpoint_tokens = 20\n");
    let daemon = home.start();
    let id = daemon.client().submit(&long(5));
    wait_for_more(&home, 0);
    daemon.kill();
    home.reconfigure("[synthetic]\n", "[synthetic]\nseed = 43\n");
    let daemon = home.start();
    let path = format!("/v1/jobs/{id}/events");
    let stream = daemon.client().send(
        "GET",
        &path,
        &[("last-event-id", "00000000-999999.9.0.0")],
        b"",
    );
    let text = String::from_utf8(stream.body).unwrap();
    let begin: String = text.chars().take(200).collect();
    assert!(text.starts_with("event: restarted\n"), "{begin}");
    assert!(text.contains("\"index\":0"), "from the beginning: {begin}");
    let golden = result(&daemon.client(), &daemon.client().submit(&long(5)));
    assert_eq!(result(&daemon.client(), &id), golden);
    let log = daemon.stop();
    assert!(log.contains("job starts anew"), "{log}");
}

fn with_reuse(mut job: Value, reuse: bool) -> Value {
    job["body"]["reuse"] = reuse.into();
    job
}

/// Lines of the log that say how equal jobs were served: held back, and answered.
fn served(daemon: Daemon) -> (usize, usize) {
    let log = daemon.stop();
    let count = |what: &str| log.lines().filter(|line| line.contains(what)).count();
    (
        count("job waits for an equal one"),
        count("job is answered with the result of an equal one"),
    )
}

const DEBUG: &str = "[log]\nlevel = \"woolly=debug\"\n";

/// With room for all jobs, so that equal ones are claimed while the first still runs.
fn roomy_home(more: &str) -> Home {
    let roomy = LONG.replace("slots = 2", "slots = 16");
    Home::new(&format!("{roomy}[queue]\npoison_limit = 0\n{more}"))
}

#[test]
fn equal_jobs_share_one_run_where_they_allow_it() {
    let home = roomy_home(DEBUG);
    let daemon = home.start();
    let client = daemon.client();
    let golden = result(&client, &client.submit(&long(6)));
    // At the same time, and one after them; those that do not allow it run.
    client.send("POST", "/v1/queue/pause", &[], b"").expect(200);
    let ids: Vec<String> = (0..4)
        .map(|_| client.submit(&with_reuse(long(6), true)))
        .collect();
    let alone = client.submit(&with_reuse(long(6), false));
    client
        .send("POST", "/v1/queue/resume", &[], b"")
        .expect(200);
    for id in ids.iter().chain([&alone]) {
        assert_eq!(result(&client, id), golden);
    }
    let later = client.submit(&with_reuse(long(6), true));
    assert_eq!(result(&client, &later), golden);
    // A stream of it, too.
    let events = client.stream("GET", &format!("/v1/jobs/{later}/events"), b"");
    assert!(events.count() > 1000);
    let other = client.submit(&with_reuse(long(7), true));
    assert_ne!(result(&client, &other), golden);
    assert_eq!(served(daemon), (3, 4));
}

/// Nobody's job depends on what becomes of another one.
#[test]
fn equal_jobs_outlive_the_one_they_wait_for() {
    let home = roomy_home("");
    let daemon = home.start();
    let client = daemon.client();
    let golden = result(&client, &client.submit(&long(6)));
    client.post("/v1/queue/pause", &json!({})).expect(200);
    let ids: [String; 4] = std::array::from_fn(|_| client.submit(&with_reuse(long(6), true)));
    client.post("/v1/queue/resume", &json!({})).expect(200);
    let runs = |client: &Client, id: &String| client.job(id)["status"] == "running";
    while !ids.iter().all(|id| runs(&client, id)) {
        std::thread::yield_now();
    }
    let cancel = |client: &Client, id: &str| {
        let cancelled = client.post(&format!("/v1/jobs/{id}/cancel"), &json!({}));
        assert_eq!(cancelled.expect(200)["status"], "cancelled");
    };
    let begun = |client: &Client, id: &str| {
        let mut events = client.stream("GET", &format!("/v1/jobs/{id}/events"), b"");
        assert!(events.next().is_some());
    };
    // The first runs, and the others wait for it; then the third runs, and the last waits.
    begun(&client, &ids[0]);
    cancel(&client, &ids[1]);
    cancel(&client, &ids[0]);
    begun(&client, &ids[2]);
    daemon.kill();
    let daemon = home.start();
    let client = daemon.client();
    begun(&client, &ids[2]);
    daemon.stop();
    let daemon = home.start();
    let client = daemon.client();
    for id in &ids[2..] {
        assert_eq!(result(&client, id), golden);
    }
    for id in &ids[..2] {
        assert_eq!(client.job(id)["status"], "cancelled");
    }
    daemon.stop();
}

#[test]
fn a_completed_job_answers_after_a_restart_and_for_requests_that_wait() {
    let home = home(&format!("reuse = true\n{DEBUG}"));
    let ask = |client: &Client, seed: u64| {
        let body = json!({"prompt": "p", "max_tokens": 9, "temperature": 0, "seed": seed, "n": 2});
        let answer = client.post("/v1/completions", &body).expect(200);
        json!([answer["choices"], answer["usage"]])
    };
    let daemon = home.start();
    let client = daemon.client();
    let first = ask(&client, 1);
    assert_eq!(ask(&client, 1), first);
    let body = json!({"prompt": "p", "max_tokens": 9, "temperature": 0, "n": 2});
    let kept = client.submit(&json!({"endpoint": "/v1/completions", "body": body}));
    assert_eq!(result(&client, &kept), first);
    assert_eq!(served(daemon), (0, 2));
    let daemon = home.start();
    // Nothing is drawn, so the seed does not matter.
    assert_eq!(ask(&daemon.client(), 2), first);
    assert_eq!(served(daemon), (0, 1));
}
