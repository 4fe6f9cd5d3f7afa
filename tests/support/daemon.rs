//! A real `woollyd` in a fresh directory.

use std::io::Read;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::http::Client;

/// A tiny synthetic model and one thread: an answer takes milliseconds.
pub const TINY: &str = r#"
[model]
name = "tiny"
source = "synthetic"
[synthetic]
preset = "tiny"
[workers]
threads_per_worker = 1
kv_bytes = "16MiB"
"#;

/// The same with room for long answers, so that a test can do something while one is generated.
pub const LONG: &str = r#"
[model]
name = "long"
source = "synthetic"
[synthetic]
preset = "tiny"
context_length = 32768
[workers]
threads_per_worker = 1
slots = 2
kv_bytes = "64MiB"
"#;

const FILE: &str = "woolly.toml";
const SOCKET: &str = "w.sock";
/// The last message on the notify socket, by the test itself.
const GONE: &str = "GONE=1";

/// A directory with a configuration, in which daemons come and go.
pub struct Home {
    directory: TempDir,
}

/// A running daemon; dropping it kills it.
pub struct Daemon {
    child: Child,
    /// What it told the service manager. Taken off the socket as it comes: a manager that does not listen
    /// would hold the daemon up.
    told: Receiver<String>,
    socket: PathBuf,
    /// What it wrote to standard error, once it is gone.
    log: Option<JoinHandle<String>>,
}

impl Home {
    /// `config` is appended to a `[daemon]` table with all paths in the directory, and to a `[cache]` there
    /// unless it has one of its own.
    pub fn new(config: &str) -> Self {
        Home::with_daemon_keys("", config)
    }

    /// The same with more keys in `[daemon]`.
    pub fn with_daemon_keys(keys: &str, config: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut paths = format!("[daemon]\nsocket = \"{SOCKET}\"\nstate_dir = \"state\"\n{keys}\n");
        if !config.contains("[cache]") {
            paths += "[cache]\ndir = \"cache\"\n";
        }
        std::fs::write(directory.path().join(FILE), paths + config).unwrap();
        Home { directory }
    }

    /// Replaces what the configuration says, for the next daemon.
    #[track_caller]
    pub fn reconfigure(&self, from: &str, to: &str) {
        let file = self.path().join(FILE);
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text.contains(from), "{text}");
        std::fs::write(&file, text.replace(from, to)).unwrap();
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    pub fn socket(&self) -> PathBuf {
        self.path().join(SOCKET)
    }

    fn command(&self, options: &[&str]) -> Command {
        self.command_under(&[], options)
    }

    /// The same as the last arguments of another program, such as strace.
    fn command_under(&self, program: &[&str], options: &[&str]) -> Command {
        let words = [program, &[env!("CARGO_BIN_EXE_woollyd")]].concat();
        let mut command = Command::new(words[0]);
        command.args(&words[1..]);
        command
            .arg("--config")
            .arg(self.path().join(FILE))
            .args(options);
        command.env_remove("NOTIFY_SOCKET").stdin(Stdio::null());
        command
    }

    /// Runs `woollyd` to its end, for options that end and for starts that fail.
    pub fn run(&self, options: &[&str]) -> Output {
        self.command(options).output().unwrap()
    }

    /// Starts a daemon and returns when it has said `READY=1`.
    #[track_caller]
    pub fn start(&self) -> Daemon {
        let mut daemon = self.spawn();
        if !daemon.wait_for("READY=1") {
            let (status, log) = daemon.end();
            panic!("woollyd did not start: {status}\n{log}");
        }
        daemon
    }

    /// Starts a daemon without waiting.
    pub fn spawn(&self) -> Daemon {
        self.spawn_under(&[])
    }

    /// The same under another program, which has to end with it and hand its exit code on.
    pub fn spawn_under(&self, program: &[&str]) -> Daemon {
        let notify_path = self.path().join("notify");
        let _ = std::fs::remove_file(&notify_path);
        let notify = UnixDatagram::bind(&notify_path).unwrap();
        let (teller, told) = channel();
        std::thread::spawn(move || {
            let mut message = [0; 4096];
            loop {
                let length = notify.recv(&mut message).unwrap();
                let text = String::from_utf8_lossy(&message[..length]).into_owned();
                if text == GONE || teller.send(text).is_err() {
                    return;
                }
            }
        });
        let mut command = self.command_under(program, &[]);
        command
            .env("NOTIFY_SOCKET", &notify_path)
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stderr = child.stderr.take().unwrap();
        let log = std::thread::spawn(move || {
            let mut text = Vec::new();
            stderr.read_to_end(&mut text).unwrap();
            // Standard error ends with the daemon: whoever waits for a message need not wait longer.
            let _ = UnixDatagram::unbound()
                .unwrap()
                .send_to(GONE.as_bytes(), &notify_path);
            String::from_utf8_lossy(&text).into_owned()
        });
        Daemon {
            child,
            told,
            socket: self.socket(),
            log: Some(log),
        }
    }
}

impl Daemon {
    pub fn client(&self) -> Client {
        Client::new(&self.socket)
    }

    /// Waits until the daemon tells the service manager `word`; false when it ends first.
    #[must_use]
    pub fn wait_for(&mut self, word: &str) -> bool {
        self.messages_until(word).is_some()
    }

    /// The same with all messages before and that one; `None` when the daemon ends first.
    pub fn messages_until(&mut self, word: &str) -> Option<Vec<String>> {
        let mut messages = Vec::new();
        // The end of the daemon ends the channel.
        for text in &self.told {
            let found = text.lines().any(|line| line == word);
            messages.push(text);
            if found {
                return Some(messages);
            }
        }
        None
    }

    /// Of the process that was started.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for the end; the exit status and what was written to standard error.
    pub fn end(mut self) -> (ExitStatus, String) {
        let status = self.child.wait().unwrap();
        let log = self
            .log
            .take()
            .map(|log| log.join().unwrap())
            .unwrap_or_default();
        (status, log)
    }

    /// SIGTERM, and a clean end.
    #[track_caller]
    pub fn stop(self) -> String {
        self.signal(Signal::TERM);
        let (status, log) = self.end();
        assert_eq!(status.code(), Some(0), "{log}");
        log
    }

    /// `kill -9`.
    pub fn kill(self) {
        self.signal(Signal::KILL);
        self.end();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.log.is_none() {
            return;
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        let log = self
            .log
            .take()
            .and_then(|log| log.join().ok())
            .unwrap_or_default();
        if std::thread::panicking() {
            eprintln!("--- woollyd wrote:\n{log}");
        }
    }
}
