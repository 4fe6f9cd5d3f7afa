//! Every invariant, broken on purpose behind the daemon's back: a judge that sees nothing here would see nothing
//! anywhere.

use rusqlite::Connection;

use super::figure::{Faults, Figure};
use super::ledger::Way;
use super::stage::Stage;
use super::submitters::fixed;
use super::work::CONFIG;

/// Jobs before the batch; their ids are 1 to `JOBS`.
const JOBS: usize = 3;

/// Where the damage has to show.
#[derive(Clone, Copy)]
enum Kind {
    Lost,
    Doubled,
    Differing,
    Leftover,
    Wrong,
}

impl Kind {
    fn sentences(self, faults: &Faults) -> &[String] {
        match self {
            Kind::Lost => &faults.lost,
            Kind::Doubled => &faults.doubled,
            Kind::Differing => &faults.differing,
            Kind::Leftover => &faults.leftover,
            Kind::Wrong => &faults.wrong,
        }
    }
}

/// What is broken, by which statements, and where it has to show.
const STATEMENTS: [(&str, &str, Kind); 10] = [
    (
        "I1: a job is gone",
        "DELETE FROM job WHERE id = 2",
        Kind::Lost,
    ),
    (
        "I1: a batch is gone",
        "DELETE FROM job WHERE batch = 1; DELETE FROM batch WHERE id = 1",
        Kind::Lost,
    ),
    (
        "I2: a job did not complete",
        "DROP TRIGGER job_end_is_final; DELETE FROM result WHERE job_id = 2;
         UPDATE job SET state = 'expired' WHERE id = 2",
        Kind::Lost,
    ),
    (
        "I3: a result was published again",
        "UPDATE result SET body = CAST(CAST(body AS TEXT) || ' ' AS BLOB) WHERE job_id = 2",
        Kind::Doubled,
    ),
    (
        "I3: a job ended in another way",
        "DROP TRIGGER job_end_is_final; DELETE FROM result WHERE job_id = 2;
         UPDATE job SET state = 'cancelled' WHERE id = 2",
        Kind::Doubled,
    ),
    (
        "I4: a result has another text",
        "UPDATE result SET body = CAST(json_set(CAST(body AS TEXT), '$.choices[0].text', 'x') AS BLOB) WHERE job_id = 1",
        Kind::Differing,
    ),
    (
        "I4: a result has another count of tokens",
        "UPDATE result SET body = CAST(json_set(CAST(body AS TEXT), '$.usage.total_tokens', 0) AS BLOB) WHERE job_id = 3",
        Kind::Differing,
    ),
    (
        "I5: a job is there twice",
        "CREATE TEMP TABLE copy AS SELECT * FROM job WHERE id = 1;
         UPDATE copy SET id = 1000, idempotency_key = NULL;
         INSERT INTO job SELECT * FROM copy;
         INSERT INTO request SELECT 1000, body FROM request WHERE job_id = 1;
         CREATE TEMP TABLE copied AS SELECT * FROM result WHERE job_id = 1;
         UPDATE copied SET job_id = 1000;
         INSERT INTO result SELECT * FROM copied",
        Kind::Doubled,
    ),
    (
        "I6: a count is wrong",
        "UPDATE tally SET jobs = jobs + 1 WHERE state = 'queued'",
        Kind::Wrong,
    ),
    (
        "I6: a page belongs to nothing",
        "DELETE FROM sqlite_schema WHERE name = 'batch_open'",
        Kind::Wrong,
    ),
];

#[test]
fn every_broken_invariant_is_noticed() {
    let mut figure = Figure::new("I1-I8", "invariants broken on purpose, and noticed");
    let mut notice = |what: &str, kind: Kind, faults: &Faults| {
        figure.trials += 1;
        if kind.sentences(faults).is_empty() {
            let sentence = format!("{what}: not noticed, but {faults:?}");
            figure.faults.wrong.push(sentence);
        }
    };
    for (what, sql, kind) in STATEMENTS {
        let mut stage = done();
        if what.starts_with("I3") {
            // Published for everybody to see.
            stage.look();
        }
        open(&stage).execute_batch(sql).unwrap();
        // No daemon starts on a damaged file.
        let faults = match kind {
            Kind::Wrong => {
                stage.look_at_the_end();
                stage.found()
            }
            _ => stage.finish().1,
        };
        notice(what, kind, &faults);
    }

    // What clients are given: a job by its id, and the lines of a batch.
    for (what, mark) in [("a job", 0), ("a line", JOBS)] {
        let stage = done();
        let request = stage.ledger.book().sent[mark].request;
        stage.ledger.book().sent[mark].request = if request == 0 { 1 } else { 0 };
        let what = format!("I4: {what} has the answer of another");
        notice(&what, Kind::Differing, &stage.finish().1);
    }
    let stage = done();
    answer_twice(&stage);
    let what = "I3: a line has two answers";
    notice(what, Kind::Doubled, &stage.finish().1);

    let mut stage = done();
    let state = stage.home.path().join("state");
    for name in [state.join(".tmp.1"), state.join("files").join("nobody's")] {
        std::fs::write(name, "").unwrap();
    }
    stage.look_at_the_end();
    let faults = stage.found();
    assert_eq!(faults.leftover.len(), 2, "{faults:?}");
    notice("I7: files that nobody knows", Kind::Leftover, &faults);

    let mut stage = done();
    let stored: String = open(&stage)
        .query_row("SELECT stored_as FROM file", [], |row| row.get(0))
        .unwrap();
    let files = stage.home.path().join("state").join("files");
    std::fs::remove_file(files.join(stored)).unwrap();
    stage.look_at_the_end();
    notice("I7: a file is gone", Kind::Lost, &stage.found());

    let mut of_one = Figure::new("I8", "not printed");
    of_one.faults.lost.push("on purpose".to_owned());
    let told = of_one.verdict(0, 0).unwrap_err();
    let mut faults = Faults::default();
    let names_its_seed = told.contains("WOOLLY_TORTURE_SEED=") && told.contains("on purpose");
    faults.wrong.extend(names_its_seed.then_some(told));
    notice("I8: a fault names its seed", Kind::Wrong, &faults);
    figure.finish(16, 0);
}

/// A daemon's directory when everything is done.
fn done() -> Stage {
    let stage = Stage::new(CONFIG);
    let daemon = stage.home.start();
    let mut submitter = fixed(&stage, &daemon.client());
    for request in 0..JOBS {
        let mark = stage.ledger.send(request, Way::Detached { keyed: true });
        assert!(submitter.submit(mark, true).unwrap());
    }
    assert!(submitter.batch().unwrap());
    stage.drain(&daemon);
    daemon.stop();
    stage
}

fn open(stage: &Stage) -> Connection {
    let file = stage.home.path().join("state").join("queue.db");
    let db = Connection::open(file).unwrap();
    db.execute_batch("PRAGMA writable_schema = ON; PRAGMA foreign_keys = ON")
        .unwrap();
    db
}

/// The first line of a batch's output stands there once more.
fn answer_twice(stage: &Stage) {
    let db = open(stage);
    let output = "SELECT stored_as FROM file WHERE purpose = 'batch_output'";
    let name: String = db.query_row(output, [], |row| row.get(0)).unwrap();
    let path = stage.home.path().join("state").join("files").join(name);
    let text = std::fs::read_to_string(&path).unwrap();
    let (first, _) = text.split_once('\n').unwrap();
    let text = format!("{text}{first}\n");
    std::fs::write(&path, &text).unwrap();
    let longer = "UPDATE file SET bytes = ?1 WHERE purpose = 'batch_output'";
    db.execute(longer, [text.len() as i64]).unwrap();
}
