//! The calls of a daemon that change its files, as strace wrote them down: by which thread, on what, and which of them
//! was the daemon's last.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::path::Path;

/// What can be told apart in two runs, in which threads have other numbers and files other names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Kind {
    pub thread: String,
    pub call: String,
    pub file: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Returned,
    /// It failed because strace said so.
    Injected,
    /// The daemon died in it.
    Died,
}

#[derive(Debug)]
pub(super) struct Call {
    /// As strace names it, with its number if there are several.
    thread: String,
    /// In seconds since 1970.
    pub began: f64,
    pub name: String,
    text: String,
    pub end: End,
}

/// A file that a batch is read from or answered in.
pub(super) const STORED: &str = "a file";
/// Where those are.
pub(super) const STORED_IN: &str = "the directory of files";

/// Reads the output of `strace -ttt -y`, with or without threads.
pub(super) fn read(log: &str) -> Vec<Call> {
    let mut calls: Vec<Call> = Vec::new();
    let mut unfinished: HashMap<&str, usize> = HashMap::new();
    for line in log.lines() {
        let Some((thread, began, text)) = columns(line) else {
            continue;
        };
        if let Some(rest) = text.strip_prefix("<... ") {
            if let Some(at) = unfinished.remove(thread) {
                let rest = rest.split_once("resumed>").map_or("", |(_, rest)| rest);
                calls[at].text += rest;
                calls[at].end = end(&calls[at].text);
            }
            continue;
        }
        let name: String = text.chars().take_while(|c| c.is_alphanumeric()).collect();
        if name.is_empty() || !text[name.len()..].starts_with('(') {
            continue;
        }
        let (text, end) = match text.strip_suffix(" <unfinished ...>") {
            Some(start) => {
                unfinished.insert(thread, calls.len());
                (start, End::Died)
            }
            None => (text, end(text)),
        };
        calls.push(Call {
            thread: thread.to_owned(),
            began,
            name,
            text: text.to_owned(),
            end,
        });
    }
    calls
}

/// Thread, time and the rest. Of a single thread strace does not say which.
fn columns(line: &str) -> Option<(&str, f64, &str)> {
    let (first, rest) = line.split_once(' ')?;
    let has_thread = !first.contains('.');
    let (thread, line) = if has_thread {
        (first, rest.trim_start())
    } else {
        ("", line)
    };
    let (time, text) = line.split_once(' ')?;
    Some((thread, time.parse().ok()?, text.trim_start()))
}

fn end(text: &str) -> End {
    if text.contains("(INJECTED)") {
        End::Injected
    } else if text.trim_end().ends_with("= ?") {
        End::Died
    } else {
        End::Returned
    }
}

/// The call that strace let fail, or killed the daemon in: the first, or that of the thread that came to its `nth`.
pub(super) fn met<'a>(calls: &'a [Call], name: &str, nth: usize) -> Option<&'a Call> {
    let mut made: HashMap<&str, usize> = HashMap::new();
    let mut own = calls.iter().filter(|call| call.name == name);
    own.find(|call| {
        let made = made.entry(&call.thread).or_default();
        *made += 1;
        call.end == End::Injected || (call.end == End::Died && *made == nth)
    })
}

/// What the same thread called before that, of what was traced.
pub(super) fn before<'a>(calls: &'a [Call], met: &Call) -> Option<&'a Call> {
    let mut earlier = calls
        .iter()
        .filter(|call| call.thread == met.thread && call.began < met.began);
    earlier.next_back()
}

impl Call {
    /// `None` for one that changes nothing below the directory. `alone` is the thread that strace does not name.
    pub fn kind(&self, home: &Path, alone: &str) -> Option<Kind> {
        let path = self.path()?;
        let file = file(Path::new(path).strip_prefix(home).ok()?.to_str()?);
        let named = self.thread.split_once('<');
        let thread = named.map_or(alone, |(_, name)| name.trim_end_matches('>'));
        Some(Kind {
            thread: thread.to_owned(),
            call: self.name.clone(),
            file,
        })
    }

    fn path(&self) -> Option<&str> {
        let arguments = self.text.split_once('(')?.1;
        match self.name.as_str() {
            "openat" if !arguments.contains("O_CREAT") => None,
            "openat" | "mkdir" | "unlink" | "rename" | "linkat" => arguments.split('"').nth(1),
            _ => Some(arguments.split_once('<')?.1.split_once('>')?.0),
        }
    }
}

fn file(inside: &str) -> &'static str {
    match inside {
        "state" => "the state directory",
        "state/queue.db" => "the database",
        "state/queue.db-wal" => "its log",
        "state/queue.db-shm" => "the index of its log",
        "state/queue.db-journal" => "its journal",
        "state/queue.lock" => "the lock",
        "state/files" => STORED_IN,
        "state/reserve" => "the reserve",
        "state/running" => "the sign of life",
        stored if stored.starts_with("state/files/") => STORED,
        socket if socket.starts_with("w.sock") => "the socket",
        cache if cache.starts_with("cache") => "the cache",
        _ => "another file",
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} by {}", self.call, self.file, self.thread)
    }
}

/// Of all calls that a daemon made.
pub(super) fn kinds(calls: &[Call], home: &Path, alone: &str) -> BTreeSet<Kind> {
    let kinds = calls.iter().filter_map(|call| call.kind(home, alone));
    kinds.collect()
}

/// How often each call was made by the thread that made it most often.
pub(super) fn most_of_a_thread(calls: &[Call]) -> BTreeMap<String, usize> {
    let mut of_threads: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for call in calls {
        *of_threads.entry((&call.name, &call.thread)).or_default() += 1;
    }
    let mut most = BTreeMap::new();
    for ((name, _), count) in of_threads {
        let most = most.entry(name.to_owned()).or_insert(count);
        *most = count.max(*most);
    }
    most
}

/// What a sweep had to meet and did not.
pub(super) fn missing(recorded: &BTreeSet<Kind>, met: &BTreeSet<Kind>) -> Vec<String> {
    let missing = recorded.difference(met);
    missing.map(|kind| format!("never met: {kind}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const THREADS: &str = r#"12<woolly-queue> 10.500000 fsync(7</h/state/queue.db-wal>) = 0
13<woolly-api> 10.600000 write(18<anon_inode:[eventfd]>, "\1", 8) = 8
12<woolly-queue> 11.000000 fsync(7</h/state/queue.db-wal> <unfinished ...>
13<woolly-api> 11.100000 fsync(9</h/state/files/60f> <unfinished ...>
13<woolly-api> 11.200000 --- SIGTERM {si_signo=SIGTERM} ---
12<woolly-queue> 11.300000 <... fsync resumed>) = ?
12<woolly-queue> 11.400000 +++ killed by SIGKILL +++
13<woolly-api> 11.400000 <... fsync resumed>) = ?
"#;

    fn names(calls: &[Call]) -> Vec<String> {
        let kinds = kinds(calls, Path::new("/h"), "main");
        kinds.iter().map(Kind::to_string).collect()
    }

    #[test]
    fn the_busiest_thread_is_counted() {
        let most = most_of_a_thread(&read(THREADS));
        let most: Vec<(&str, usize)> = most.iter().map(|(name, n)| (&**name, *n)).collect();
        assert_eq!(most, [("fsync", 2), ("write", 1)]);
    }

    #[test]
    fn the_last_call_is_that_of_the_thread_that_came_to_the_number() {
        let calls = read(THREADS);
        let kind = |nth| Some(met(&calls, "fsync", nth)?.kind(Path::new("/h"), "")?.thread);
        assert_eq!(kind(2).as_deref(), Some("woolly-queue"));
        assert_eq!(kind(1).as_deref(), Some("woolly-api"));
        assert_eq!(kind(3), None);
        assert_eq!(
            names(&calls),
            [
                "fsync of a file by woolly-api",
                "fsync of its log by woolly-queue"
            ]
        );
    }

    #[test]
    fn one_thread_has_no_name_and_looking_changes_nothing() {
        let log = r#"10.1 openat(AT_FDCWD</h>, "/h/state/files", O_RDONLY|O_CLOEXEC) = 22</h/state/files>
10.2 openat(AT_FDCWD</h>, "/h/state/reserve", O_WRONLY|O_CREAT|O_CLOEXEC, 0600) = 21</h/state/reserve>
10.3 unlink("/h/w.sock") = 0
10.4 fsync(7</elsewhere>) = 0
10.5 fsync(7</h/state/files>) = -1 EIO (Input/output error) (INJECTED)
"#;
        let calls = read(log);
        assert_eq!(
            names(&calls),
            [
                "fsync of the directory of files by main",
                "openat of the reserve by main",
                "unlink of the socket by main"
            ]
        );
        let failed = met(&calls, "fsync", 2).unwrap();
        assert_eq!(before(&calls, failed).map(|call| call.began), Some(10.4));
        assert_eq!((failed.began, failed.end), (10.5, End::Injected));
        let recorded = kinds(&calls, Path::new("/h"), "main");
        let mut all_but_one = recorded.clone();
        all_but_one.pop_first();
        let expected = ["never met: fsync of the directory of files by main"];
        assert_eq!(missing(&recorded, &all_but_one), expected);
    }
}
