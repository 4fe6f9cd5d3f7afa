//! Some threads of a running daemon under strace. A number counts in every thread by itself, and the thread that comes
//! to it first in time is met; so what a thread does is reached only when strace looks at that thread alone.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;

use crate::support::http::{Client, multipart};

/// Uploads at once, more than a daemon has threads for them.
const UPLOADS: usize = 6;
/// Of the threads that wait for disks on behalf of clients.
pub(super) const API: &str = "woolly-api";

/// The numbers of the threads with a name.
pub(super) fn named(process: u32, name: &str) -> Vec<u32> {
    let tasks = std::fs::read_dir(format!("/proc/{process}/task")).unwrap();
    let tasks = tasks.flatten().filter(|task| {
        let comm = std::fs::read_to_string(task.path().join("comm"));
        comm.is_ok_and(|comm| comm.trim_end() == name)
    });
    let number = |task: std::fs::DirEntry| task.file_name().to_str()?.parse().ok();
    tasks.filter_map(number).collect()
}

/// Lets a daemon that has just started take uploads, which makes the threads that write them: those. They stay for a
/// while and take the next uploads, too.
pub(super) fn of_uploads(process: u32, client: &Client) -> Vec<u32> {
    let before = named(process, API);
    let (kind, form) = multipart("batch", b"{}\n");
    while named(process, API).len() < before.len() + 2 {
        thread::scope(|threads| {
            for _ in 0..UPLOADS {
                threads.spawn(|| {
                    let headers = [("content-type", &*kind)];
                    let file = client.send("POST", "/v1/files", &headers, &form);
                    file.expect(200);
                });
            }
        });
    }
    let mut threads = named(process, API);
    threads.retain(|thread| !before.contains(thread));
    threads
}

/// strace at work on some threads; it ends with them.
pub(super) struct Attached {
    strace: Child,
    log: PathBuf,
}

impl Attached {
    /// Returns when every thread is under it; `None` where that is not allowed.
    pub fn to(threads: &[u32], options: &[&str], log: &Path) -> Option<Self> {
        let mut strace = Command::new("strace");
        strace.args(["-ttt", "-y", "-Y", "-o"]).arg(log);
        for thread in threads {
            strace.args(["-p", &thread.to_string()]);
        }
        strace.args(options).stderr(Stdio::piped());
        let mut strace = strace.spawn().unwrap();
        let mut told = BufReader::new(strace.stderr.take().unwrap()).lines();
        let attached = |line: &std::io::Result<String>| {
            line.as_ref().is_ok_and(|line| line.ends_with(" attached"))
        };
        let all = told.by_ref().filter(attached).take(threads.len()).count();
        if all < threads.len() {
            let _ = strace.wait();
            return None;
        }
        // It goes on telling of threads that go.
        thread::spawn(move || told.for_each(drop));
        let log = log.to_owned();
        Some(Attached { strace, log })
    }

    /// After the end of the daemon: what strace saw.
    pub fn end(mut self) -> String {
        self.strace.wait().unwrap();
        let log = std::fs::read_to_string(&self.log).unwrap();
        std::fs::remove_file(&self.log).unwrap();
        log
    }
}
