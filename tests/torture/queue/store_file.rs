//! The rows of a queue, as the daemon that is gone left them. They are read from a copy: opening the file itself
//! would tidy up what the next daemon is to find.

use std::path::Path;

use super::work;

pub(super) struct Row {
    pub id: i64,
    pub state: String,
    /// What leads back to the ledger; `None` for a body that nobody sent.
    pub mark: Option<usize>,
    pub result: Option<Vec<u8>>,
    pub attempts: i64,
    pub crashes: i64,
    pub created_at_ms: i64,
}

impl Row {
    pub fn is_ended(&self) -> bool {
        !matches!(self.state.as_str(), "queued" | "running")
    }
}

pub(super) struct StoreFile {
    pub rows: Vec<Row>,
    /// Of the schema.
    pub version: usize,
    /// What is wrong with the file.
    pub damage: Vec<String>,
}

impl StoreFile {
    pub fn copied(state_dir: &Path) -> Self {
        let copy = tempfile::tempdir().unwrap();
        for name in ["queue.db", "queue.db-wal", "queue.db-journal"] {
            let (from, to) = (state_dir.join(name), copy.path().join(name));
            if from.exists() {
                std::fs::copy(from, to).unwrap();
            }
        }
        StoreFile::read(copy.path())
    }

    /// The queue in a directory that nothing else uses.
    pub fn read(dir: &Path) -> Self {
        let db = rusqlite::Connection::open(dir.join("queue.db")).unwrap();
        let text = |sql: &str| {
            db.query_row(sql, [], |row| row.get::<_, String>(0))
                .unwrap()
        };
        let number = |sql: &str| db.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
        let mut damage = Vec::new();
        let sound = text("PRAGMA integrity_check");
        if sound != "ok" {
            damage.push(format!("integrity_check: {sound}"));
        }
        let version = number("SELECT user_version FROM pragma_user_version") as usize;
        // Killed before its first commit.
        if number("SELECT count(*) FROM sqlite_schema WHERE name = 'job'") == 0 {
            return StoreFile {
                rows: Vec::new(),
                version,
                damage,
            };
        }
        let zeros = [
            "SELECT count(*) FROM pragma_foreign_key_check",
            "SELECT (SELECT count(*) FROM job) - (SELECT sum(jobs) FROM tally)",
            "SELECT count(*) FROM job WHERE id NOT IN (SELECT job_id FROM request)",
            "SELECT count(*) FROM job WHERE (state = 'completed') != (id IN (SELECT job_id FROM result))",
        ];
        for zero in zeros {
            let found = number(zero);
            if found != 0 {
                damage.push(format!("{zero}: {found}"));
            }
        }
        let mut rows = db
            .prepare(
                "SELECT job.id, state, request.body, result.body, attempts, crashes,
                        created_at_ms
                 FROM job LEFT JOIN request ON request.job_id = job.id LEFT JOIN result ON result.job_id = job.id
                 ORDER BY job.id",
            )
            .unwrap();
        let rows = rows.query_map([], |row| {
            let body: Option<Vec<u8>> = row.get(2)?;
            Ok(Row {
                id: row.get(0)?,
                state: row.get(1)?,
                mark: body.as_deref().and_then(work::mark),
                result: row.get(3)?,
                attempts: row.get(4)?,
                crashes: row.get(5)?,
                created_at_ms: row.get(6)?,
            })
        });
        let rows = rows.unwrap().collect::<Result<_, _>>().unwrap();
        StoreFile {
            rows,
            version,
            damage,
        }
    }

    pub fn unfinished(&self) -> usize {
        self.rows.iter().filter(|row| !row.is_ended()).count()
    }
}
