//! Tables and lines for people, JSON lines for programs.

use std::fmt::Display;
use std::io::{self, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

use super::wire::Job;

/// One line on standard error. When nobody can read it, a log on a full disk or a closed pipe, nothing is
/// lost that anybody could be told.
pub(super) fn say(line: impl Display) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// One JSON object on one line.
pub(super) fn json_line(out: &mut impl Write, value: &Value) -> io::Result<()> {
    writeln!(out, "{value}")?;
    out.flush()
}

/// Where the exit code is the answer, or there is more to do than to tell: it stays so when nobody reads standard output
/// any more.
pub(super) fn read_or_not(written: io::Result<()>) -> io::Result<()> {
    match written {
        Err(problem) if problem.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

/// Columns as wide as their widest cell, two spaces apart, no trailing spaces.
pub(super) fn table(out: &mut impl Write, head: &[&str], rows: &[Vec<String>]) -> io::Result<()> {
    let mut widths: Vec<usize> = head.iter().map(|cell| cell.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let head: Vec<String> = head.iter().map(|&cell| cell.to_owned()).collect();
    for row in std::iter::once(&head).chain(rows) {
        let cells = widths
            .iter()
            .zip(row)
            .map(|(width, cell)| format!("{cell:width$}"));
        writeln!(out, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
    }
    out.flush()
}

/// Any JSON object as `name  value` lines; inner objects as `outer.inner`.
pub(super) fn fields(out: &mut impl Write, value: &Value) -> io::Result<()> {
    let mut flat = Vec::new();
    flatten("", value, &mut flat);
    let width = flat
        .iter()
        .map(|(name, _)| name.chars().count())
        .max()
        .unwrap_or(0);
    for (name, value) in flat {
        writeln!(out, "{name:width$}  {value}")?;
    }
    out.flush()
}

fn flatten(prefix: &str, value: &Value, flat: &mut Vec<(String, String)>) {
    match value {
        Value::Object(object) => {
            for (name, value) in object {
                let name = if prefix.is_empty() {
                    name.clone()
                } else {
                    format!("{prefix}.{name}")
                };
                flatten(&name, value, flat);
            }
        }
        Value::Null => {}
        Value::String(text) => flat.push((prefix.to_owned(), text.clone())),
        other => flat.push((prefix.to_owned(), other.to_string())),
    }
}

pub(super) const JOB_HEAD: [&str; 5] = ["ID", "STATUS", "PROMPT", "OUTPUT", "SUBMITTED"];

/// One row of a job table; `now` is in Unix seconds.
pub(super) fn job_row(job: &Job, now: u64) -> Vec<String> {
    let (prompt, output) = job.usage();
    let tokens = |count: u64| {
        if prompt + output == 0 {
            String::new()
        } else {
            count.to_string()
        }
    };
    let age = job
        .raw
        .get("created_at")
        .and_then(Value::as_u64)
        .map(|then| age(now.saturating_sub(then)));
    vec![
        job.id.to_string(),
        job.state.as_str().to_owned(),
        tokens(prompt),
        tokens(output),
        age.unwrap_or_default(),
    ]
}

/// Seconds that have passed as one rough word.
pub(super) fn age(seconds: u64) -> String {
    format!("{} ago", rough(seconds))
}

/// How far away a time is; both are in Unix seconds.
pub(super) fn distance(time: u64, now: u64) -> String {
    match time > now {
        true => format!("in {}", rough(time - now)),
        false => age(now - time),
    }
}

fn rough(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..86_400 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// The clock, in Unix seconds.
pub(super) fn now() -> u64 {
    unix_seconds(SystemTime::now())
}

/// Seconds since 1970; 0 for times before.
pub(super) fn unix_seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

/// Bytes with a unit a person reads.
pub(super) fn bytes(count: u64) -> String {
    indicatif::HumanBytes(count).to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn text(write: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) -> String {
        let mut out = Vec::new();
        write(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn columns_line_up() {
        let rows = [
            vec!["job_1".into(), "x".into()],
            vec!["job_12".into(), String::new()],
        ];
        let table = text(|out| table(out, &["ID", "S"], &rows));
        assert_eq!(table, "ID      S\njob_1   x\njob_12\n");
    }

    #[test]
    fn nested_objects_become_dotted_names() {
        let value = json!({"status": "ok", "jobs": {"queued": 2}, "none": null, "list": [1]});
        assert_eq!(
            text(|out| fields(out, &value)),
            "status       ok\njobs.queued  2\nlist         [1]\n"
        );
    }

    #[test]
    fn a_job_row_shows_tokens_only_when_there_are_some() {
        let queued = json!({"id": "job_3", "status": "queued", "created_at": 940});
        let row = job_row(&Job::read(queued).unwrap(), 1000);
        assert_eq!(row, ["job_3", "queued", "", "", "1 min ago"]);
        let usage = json!({"prompt_tokens": 4, "completion_tokens": 0});
        let done =
            json!({"id": "job_3", "status": "completed", "usage": usage, "created_at": 1000});
        assert_eq!(
            job_row(&Job::read(done).unwrap(), 1000),
            ["job_3", "completed", "4", "0", "0 s ago"]
        );
    }
}
