//! R26: the daemon dies while it brings a queue of an older version up to date.

use std::path::Path;

use crate::support::daemon::Home;
use crate::torture::{Scale, pick, scale, strace};

use super::figure::{Faults, Figure};
use super::store_file::StoreFile;
use super::traced;
use super::work::CONFIG;

/// What each version added.
const STEPS: [&str; 6] = [
    include_str!("../../../src/queue/sqlite/schema/2.sql"),
    include_str!("../../../src/queue/sqlite/schema/3.sql"),
    include_str!("../../../src/queue/sqlite/schema/4.sql"),
    include_str!("../../../src/queue/sqlite/schema/5.sql"),
    include_str!("../../../src/queue/sqlite/schema/6.sql"),
    include_str!("../../../src/queue/sqlite/schema/7.sql"),
];
const CALLS: [&str; 5] = ["pwrite64", "fsync", "ftruncate", "unlink", "openat"];
/// Of one thread; a start makes fewer.
const MOST: usize = 500;

#[test]
fn r26_killed_while_migrating() {
    if !strace::is_there() {
        return;
    }
    let mut figure = Figure::new("R26", "kill -9 while an older queue is migrated");
    let mut outcomes = [0, 0];
    for steps in 0..STEPS.len() {
        for call in CALLS {
            for nth in (1..=MOST).step_by(pick(40, 6, 1)) {
                let home = Home::new(CONFIG);
                let state = home.path().join("state");
                old_queue(&state, steps);
                if !traced::start(&home, call, "signal=KILL", nth) {
                    break;
                }
                let mut faults = Faults::default();
                match StoreFile::copied(&state).version {
                    found if found == 1 + steps => outcomes[0] += 1,
                    found if found == 1 + STEPS.len() => outcomes[1] += 1,
                    found => faults.wrong.push(format!("version {found}")),
                }
                figure.accepted += finish(&home, &mut faults);
                let case = format!("version {}, {call} {nth}", steps + 1);
                figure.trials += 1;
                figure.faults.add(&case, faults);
            }
        }
    }
    figure.note(format!(
        "{} deaths left the older version, {} the newest, none anything between",
        outcomes[0], outcomes[1]
    ));
    if scale() != Scale::Smoke && outcomes.contains(&0) {
        let sentence = format!("only one outcome was seen: {outcomes:?}");
        figure.faults.wrong.push(sentence);
    }
    figure.finish(pick(4, 20, 60), 3 * pick(4, 20, 60));
}

/// A queue of the first version with a job that ran, one that waits and one that is done; then `steps` versions on.
fn old_queue(state: &Path, steps: usize) {
    std::fs::create_dir_all(state).unwrap();
    let db = rusqlite::Connection::open(state.join("queue.db")).unwrap();
    db.execute_batch(include_str!("../../fixtures/queue-1.sql"))
        .unwrap();
    // Jobs that can run, and one that ended a moment ago.
    db.execute_batch(
        r#"UPDATE request SET body = CAST('{"prompt":"same","max_tokens":2}' AS BLOB) WHERE job_id < 3;
           UPDATE job SET endpoint = '/v1/completions';
           UPDATE job SET finished_at_ms = unixepoch() * 1000 WHERE id = 3;"#,
    )
    .unwrap();
    for step in &STEPS[..steps] {
        db.execute_batch(step).unwrap();
    }
    db.pragma_update(None, "user_version", 1 + steps as i64)
        .unwrap();
}

/// A daemon that is let alone brings the file up to date and does what waits. How many jobs are there then.
fn finish(home: &Home, faults: &mut Faults) -> usize {
    let daemon = home.start();
    for id in [1, 2] {
        let job = daemon.client().ended(&format!("job_{id}"));
        if job["status"] != "completed" {
            faults.lost.push(job.to_string());
        }
    }
    daemon.stop();
    let file = StoreFile::copied(&home.path().join("state"));
    faults.wrong.extend(file.damage);
    if file.version != 1 + STEPS.len() {
        faults.wrong.push(format!("version {}", file.version));
    }
    let rows: Vec<_> = file
        .rows
        .iter()
        .map(|row| (row.id, row.state.as_str()))
        .collect();
    if rows != [(1, "completed"), (2, "completed"), (3, "completed")] {
        faults.lost.push(format!("{rows:?}"));
    }
    match file.rows.last() {
        Some(row) if row.result.as_deref() == Some(b"{}") => {}
        _ => faults.differing.push("the result of before".to_owned()),
    }
    file.rows.len()
}
