//! What a new daemon does with the jobs of the one before.

use rusqlite::{Connection, params};

use crate::job::{JobId, State};

use super::super::state::{Blame, after_crash};

/// Takes a new lease epoch and applies [`after_crash`] to every unfinished job, in one transaction.
/// Returns the epoch and the queued jobs.
pub(super) fn recover(
    db: &Connection,
    now_ms: i64,
    blame: Blame,
) -> Result<(i64, Vec<JobId>), rusqlite::Error> {
    let transaction = db.unchecked_transaction()?;
    let epoch = transaction.query_row(
        "UPDATE lease SET epoch = epoch + 1 RETURNING epoch",
        [],
        |row| row.get(0),
    )?;
    for state in [State::Queued, State::Running] {
        for (attached, keyed) in [(true, true), (true, false), (false, true), (false, false)] {
            let after = after_crash(state, attached, keyed);
            if after != state {
                transaction.execute(
                    "UPDATE job SET state = ?2, lease_epoch = NULL, crashes = crashes + ?5,
                            attempts = attempts - ?8,
                            started_at_ms = CASE WHEN ?6 THEN started_at_ms END,
                            finished_at_ms = CASE WHEN ?6 THEN ?7 END
                     WHERE state = ?1 AND attached = ?3 AND (idempotency_key IS NOT NULL) = ?4",
                    params![
                        state.as_str(),
                        after.as_str(),
                        attached,
                        keyed,
                        state == State::Running && blame == Blame::RunningJobs,
                        after.is_terminal(),
                        now_ms,
                        after == State::Queued && blame == Blame::Nobody,
                    ],
                )?;
            }
        }
    }
    let queued = transaction
        .prepare("SELECT id FROM job WHERE state = 'queued'")?
        .query_map([], |row| row.get(0).map(JobId))?
        .collect::<Result<_, _>>()?;
    transaction.commit()?;
    Ok((epoch, queued))
}
