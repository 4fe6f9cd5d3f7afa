//! Rows and answers held against the ledger.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use serde_json::Value;

use super::figure::Faults;
use super::ledger::{Book, Way};
use super::store_file::{Row, StoreFile};
use super::work::Work;

/// What was published so far, by job: it must stay so.
#[derive(Default)]
pub(super) struct Witness {
    ended: HashMap<i64, (String, Option<Vec<u8>>)>,
}

impl Witness {
    /// What holds at any moment: I1, I3, I4, I5 and I6.
    pub fn look(&mut self, file: &StoreFile, book: &Book, work: &Work, faults: &mut Faults) {
        faults.wrong.extend(file.damage.iter().cloned());
        let rows: BTreeMap<i64, &Row> = file.rows.iter().map(|row| (row.id, row)).collect();
        let mut seen = vec![0; book.sent.len()];
        for row in &file.rows {
            match row.mark.and_then(|mark| seen.get_mut(mark)) {
                Some(count) => *count += 1,
                None => faults.wrong.push(format!("job {} was never sent", row.id)),
            }
            self.follow(row, book, work, faults);
        }
        for (mark, sent) in book.sent.iter().enumerate() {
            if seen[mark] > 1 || sent.ids.len() > 1 {
                faults.doubled.push(format!(
                    "{sent:?} with mark {mark} is there {} times",
                    seen[mark]
                ));
            }
            for id in &sent.ids {
                let kept = rows.get(id).is_some_and(|row| row.mark == Some(mark));
                // What a connection waited for goes a while after its end.
                let was = !sent.way.is_kept() && self.ended.contains_key(id);
                if !kept && !was && !sent.answered {
                    faults
                        .lost
                        .push(format!("job {id}, {sent:?} with mark {mark}, is gone"));
                }
            }
        }
    }

    fn follow(&mut self, row: &Row, book: &Book, work: &Work, faults: &mut Faults) {
        if let Some((state, result)) = self.ended.get(&row.id) {
            if *state != row.state || *result != row.result {
                let sentence = format!("job {} was {state}, and is {} now", row.id, row.state);
                faults.doubled.push(sentence);
            }
            return;
        }
        if !row.is_ended() {
            return;
        }
        self.ended
            .insert(row.id, (row.state.clone(), row.result.clone()));
        let sent = row.mark.and_then(|mark| book.sent.get(mark));
        if let (Some(sent), Some(result)) = (sent, &row.result) {
            let result = serde_json::from_slice(result).unwrap_or(Value::Null);
            if !work.is_right(sent.request, &result) {
                let sentence = format!("job {}, request {}: {result}", row.id, sent.request);
                faults.differing.push(sentence);
            }
        }
    }

    /// I2, after a drain.
    pub fn all_done(&self, file: &StoreFile, book: &Book, faults: &mut Faults) {
        for row in &file.rows {
            let way = row
                .mark
                .and_then(|mark| book.sent.get(mark))
                .map(|sent| sent.way);
            let done = match row.state.as_str() {
                "completed" => true,
                "cancelled" => matches!(way, Some(Way::Attached | Way::Doomed)),
                "failed" => way == Some(Way::Doomed),
                _ => false,
            };
            if !done {
                let sentence = format!("job {} ({way:?}) is {} after the drain", row.id, row.state);
                faults.lost.push(sentence);
            }
        }
    }
}

/// I7, after a clean stop.
pub(super) fn tidy(home: &Path, faults: &mut Faults) {
    let names = |folder: &Path| -> Vec<String> {
        let entries = std::fs::read_dir(folder).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.collect()
    };
    let state = home.join("state");
    for name in names(&state) {
        if !["queue.db", "queue.lock", "files", "reserve"].contains(&name.as_str()) {
            faults
                .leftover
                .push(format!("{name} in the state directory"));
        }
    }
    let db = rusqlite::Connection::open(state.join("queue.db")).unwrap();
    let mut known = db.prepare("SELECT stored_as FROM file").unwrap();
    let known = known.query_map([], |row| row.get(0)).unwrap();
    let known: Vec<String> = known.collect::<Result<_, _>>().unwrap();
    let stored = names(&state.join("files"));
    for name in known.iter().filter(|name| !stored.contains(name)) {
        faults.lost.push(format!("file {name} that a row knows"));
    }
    for name in stored {
        if !known.contains(&name) {
            faults
                .leftover
                .push(format!("file {name} that no row knows"));
        }
    }
    if home.join("w.sock").exists() {
        faults.leftover.push("the socket".to_owned());
    }
}
