//! What a new daemon does with the jobs of the one before.

use rusqlite::{Connection, params};

use crate::job::{JobId, State};

use super::super::state::{Blame, after_crash, is_poison, poison_sentence};

/// Takes a new lease epoch and applies [`after_crash`] to every unfinished job, in one transaction.
/// Returns the epoch and the queued jobs.
pub(super) fn recover(
    db: &Connection,
    now_ms: i64,
    blame: Blame,
    poison_limit: u32,
) -> Result<(i64, Vec<JobId>), rusqlite::Error> {
    let transaction = db.unchecked_transaction()?;
    let epoch = transaction.query_row(
        "UPDATE lease SET epoch = epoch + 1 RETURNING epoch",
        [],
        |row| row.get(0),
    )?;
    if blame == Blame::RunningJobs && poison_limit > 0 {
        transaction.execute(
            "UPDATE job SET crashes = crashes + 1, solo_crashes = solo_crashes + alone
             WHERE state = 'running'",
            [],
        )?;
        fail_poison(&transaction, now_ms, poison_limit)?;
    }
    for state in [State::Queued, State::Running] {
        for (attached, keyed) in [(true, true), (true, false), (false, true), (false, false)] {
            let after = after_crash(state, attached, keyed);
            if after != state {
                transaction.execute(
                    "UPDATE job SET state = ?2, lease_epoch = NULL,
                            attempts = attempts - ?5,
                            started_at_ms = CASE WHEN ?6 THEN started_at_ms END,
                            finished_at_ms = CASE WHEN ?6 THEN ?7 END
                     WHERE state = ?1 AND attached = ?3 AND (idempotency_key IS NOT NULL) = ?4",
                    params![
                        state.as_str(),
                        after.as_str(),
                        attached,
                        keyed,
                        after == State::Queued && blame == Blame::Nobody,
                        after.is_terminal(),
                        now_ms,
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

/// Ends the jobs that daemons died of.
fn fail_poison(db: &Connection, now_ms: i64, limit: u32) -> Result<(), rusqlite::Error> {
    let suspects: Vec<(i64, u32)> = db
        .prepare("SELECT id, solo_crashes FROM job WHERE state = 'running' AND solo_crashes > 0")?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<_, _>>()?;
    for (id, crashes) in suspects {
        if is_poison(crashes, limit) {
            db.execute(
                "UPDATE job SET state = ?2, lease_epoch = NULL, finished_at_ms = ?3, error = ?4 WHERE id = ?1",
                params![id, State::Failed.as_str(), now_ms, poison_sentence(crashes)],
            )?;
        }
    }
    Ok(())
}
