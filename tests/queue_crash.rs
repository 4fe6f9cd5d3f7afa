//! A real process with a real queue, killed with SIGKILL again and again: no accepted job is lost, none
//! exists twice, and no result is published twice or forgotten.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use woolly::config;
use woolly::job::{JobId, State};
use woolly::queue::{Blame, Filter, Finished, JobReader, JobStore, Queue, SqliteStore};

use crate::support::block_on::block_on;
use crate::support::queue::{completed, detached, keyed, queue_config};

/// Set for the process that is to be killed: its state directory.
const CHILD: &str = "WOOLLY_TEST_QUEUE_CHILD";
const ROUNDS: usize = 10;
const SUBMITTERS: usize = 4;

const CONFIG: config::Queue = queue_config(1_000_000, 1_000_000);

/// Not a test of its own: the process that the test below starts and kills.
#[test]
fn child() {
    let Ok(dir) = std::env::var(CHILD) else {
        return;
    };
    let round = std::env::var("ROUND").unwrap();
    let queue = Queue::open(Path::new(&dir), &CONFIG).unwrap();
    std::thread::scope(|threads| {
        for submitter in 0..SUBMITTERS {
            let (queue, round) = (&queue, &round);
            threads.spawn(move || {
                for n in 0.. {
                    let key = format!("{round}-{submitter}-{n}");
                    let job = keyed(detached(&key), &key);
                    let id = block_on(queue.submit(job)).unwrap().job.id;
                    say(&format!("accepted {} {key}", id.0));
                }
            });
        }
        threads.spawn(|| {
            while let Some(job) = queue.claim_blocking() {
                let text = result_of(&job.body);
                assert_eq!(
                    queue.finish_blocking(job.id, completed(&text)),
                    Ok(Finished::Published)
                );
                say(&format!("finished {}", job.id.0));
            }
        });
    });
}

/// One whole line in one write, on its own line whatever the test harness printed before.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("\n{line}\n").as_bytes()).unwrap();
    out.flush().unwrap();
}

fn result_of(body: &[u8]) -> String {
    format!("answer to {}", String::from_utf8_lossy(body))
}

fn start(dir: &Path, round: usize) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "queue_crash::child",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(CHILD, dir)
        .env("ROUND", round.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// What the killed processes told the world.
#[derive(Default)]
struct Told {
    /// Key by id.
    accepted: BTreeMap<i64, String>,
    finished: Vec<i64>,
}

impl Told {
    fn hear(&mut self, line: &str) {
        let mut words = line.split(' ');
        match (words.next(), words.next(), words.next()) {
            (Some("accepted"), Some(id), Some(key)) => {
                let before = self.accepted.insert(id.parse().unwrap(), key.to_owned());
                assert_eq!(before, None, "an id was given out twice");
            }
            (Some("finished"), Some(id), None) => self.finished.push(id.parse().unwrap()),
            _ => {}
        }
    }
}

#[test]
fn sigkill_loses_nothing_and_doubles_nothing() {
    let root = tempfile::tempdir().unwrap();
    let mut told = Told::default();
    // A different point of the work each time, the same ones in every run of the test.
    let mut patience = 1;
    for round in 0..ROUNDS {
        let mut child = start(root.path(), round);
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut heard = 0;
        while heard < patience {
            let line = lines
                .next()
                .expect("the child ended before it was killed")
                .unwrap();
            heard += usize::from(line.starts_with("accepted") || line.starts_with("finished"));
            told.hear(&line);
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // What was said before the kill counts, also when it was not yet heard.
        let mut rest: Vec<_> = lines.map_while(Result::ok).collect();
        rest.pop_if(|last| !last.is_empty());
        rest.iter().for_each(|line| told.hear(line));
        check(root.path(), &told);
        patience = (patience * 7 + 11) % 151;
    }
    assert!(told.accepted.len() > ROUNDS && told.finished.len() > ROUNDS);
}

/// Opens the store as the next daemon does.
fn check(dir: &Path, told: &Told) {
    let mut store = SqliteStore::open(dir).unwrap();
    store.recover(0, Blame::RunningJobs, 3).unwrap();
    let mut reader = store.reader().unwrap();
    let rows = reader
        .list(&Filter {
            limit: usize::MAX,
            ..Filter::default()
        })
        .unwrap();
    let rows: BTreeMap<_, _> = rows.into_iter().map(|row| (row.id.0, row)).collect();
    for id in told.accepted.keys() {
        assert!(rows.contains_key(id), "accepted job {id} is gone");
    }
    for id in &told.finished {
        assert_eq!(rows[id].state, State::Completed, "finished job {id}");
    }
    for row in rows.values() {
        match row.state {
            State::Queued => assert_eq!(row.finished_at_ms, None),
            State::Completed => published(&mut *reader, row.id, told),
            other => panic!("{} is {other:?}", row.id),
        }
    }
    drop((reader, store));
    let db = rusqlite::Connection::open(dir.join("queue.db")).unwrap();
    let text = |sql: &str| {
        db.query_row(sql, [], |row| row.get::<_, String>(0))
            .unwrap()
    };
    assert_eq!(text("PRAGMA integrity_check"), "ok");
    let number = |sql: &str| db.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(number("SELECT count(*) FROM pragma_foreign_key_check"), 0);
    assert_eq!(
        number("SELECT count(*) - count(DISTINCT idempotency_key) FROM job"),
        0
    );
    assert_eq!(
        number("SELECT count(*) FROM job WHERE id NOT IN (SELECT job_id FROM request)"),
        0
    );
    assert_eq!(
        number("SELECT count(*) FROM job"),
        number("SELECT sum(jobs) FROM tally"),
        "the tally left the truth"
    );
}

fn published(reader: &mut dyn JobReader, id: JobId, told: &Told) {
    let result = reader
        .get(id)
        .unwrap()
        .result
        .expect("completed without a result");
    if let Some(key) = told.accepted.get(&id.0) {
        let expected = result_of(&detached(key).body);
        assert_eq!(String::from_utf8_lossy(&result), expected);
    }
}
