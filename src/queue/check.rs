//! Whether a state directory, or a backup that was unpacked, holds what the queue promises. Changes nothing.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::backup::DATABASE;
use super::sqlite::{Checked, check_database};
use super::{Error, StateDir, files};

/// What is wrong with the queue in `state_dir`, a sentence each. While a daemon uses it, files that nobody knows may be
/// about to become known, and are not told.
pub fn check(state_dir: &Path) -> Result<Vec<String>, Error> {
    let database = state_dir.join(DATABASE);
    fs::metadata(&database).map_err(|error| Error::StateDir {
        path: state_dir.display().to_string(),
        problem: format!("has no queue: {error}"),
    })?;
    let at_rest = !StateDir::is_in_use(state_dir) && !has_log(&database);
    let mut checked = check_database(&database, at_rest)?;
    let in_use = StateDir::is_in_use(state_dir);
    if at_rest && in_use {
        // A daemon began to write meanwhile.
        checked = check_database(&database, false)?;
    }
    let Checked {
        mut problems,
        files: known,
    } = checked;
    let directory = state_dir.join(files::DIRECTORY);
    for (stored_as, bytes) in &known {
        match fs::metadata(directory.join(stored_as)) {
            Ok(found) if found.len() == *bytes => {}
            Ok(found) => problems.push(format!(
                "file {stored_as} has {} bytes, but {bytes} are known",
                found.len()
            )),
            Err(error) => problems.push(format!("file {stored_as} cannot be read: {error}")),
        }
    }
    if !in_use {
        let there: BTreeSet<String> = fs::read_dir(&directory)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        let unknown = there.iter().filter(|name| !known.contains_key(*name));
        problems.extend(unknown.map(|name| format!("file {name} is known to nobody")));
    }
    Ok(problems)
}

/// Whether something that was written is not in the database itself yet: its daemon was killed.
fn has_log(database: &Path) -> bool {
    let log = database.with_extension("db-wal");
    fs::metadata(log).is_ok_and(|log| log.len() > 0)
}
