//! What the service manager is told, if there is one (`NOTIFY_SOCKET`).
//!
//! Protocol: sd_notify(3). A manager that does not listen is no reason to stop, so failures are only logged;
//! one that does not read is no reason to wait, so a thread of its own does the telling. What it cannot take
//! in time is dropped.

use std::sync::OnceLock;
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread;
use std::time::Duration;

use sd_notify::NotifyState;

/// Messages that wait for the manager to read.
const WAITING: usize = 64;
/// How long the end of the daemon waits for its last message to be read.
const LAST_WORD: Duration = Duration::from_secs(1);

enum Word {
    Ready { status: String },
    Stopping,
    MoreTime { micros: u32 },
    Status(String),
}

struct Message {
    word: Word,
    /// Dropped when it has been told.
    told: Option<SyncSender<()>>,
}

/// Jobs are being served.
pub(super) fn ready(model: &str) {
    let status = format!("serving {model}");
    tell(Word::Ready { status }, None);
}

/// Nothing else is going on any more.
pub(super) fn serving(model: &str) {
    status(&format!("serving {model}"));
}

/// The daemon is on its way out.
pub(super) fn stopping() {
    let (told, done) = mpsc::sync_channel(1);
    tell(Word::Stopping, Some(told));
    // The process may end before the thread has its turn.
    let _ = done.recv_timeout(LAST_WORD);
}

/// The start goes on: the manager's start timeout begins anew, with this length.
pub(super) fn extend_timeout(by: Duration) {
    let micros = u32::try_from(by.as_micros()).unwrap_or(u32::MAX);
    tell(Word::MoreTime { micros }, None);
}

/// One line for `systemctl status`.
pub(super) fn status(line: &str) {
    tell(Word::Status(line.to_owned()), None);
}

fn tell(word: Word, told: Option<SyncSender<()>>) {
    static TELLER: OnceLock<Option<SyncSender<Message>>> = OnceLock::new();
    if let Some(teller) = TELLER.get_or_init(start) {
        let _ = teller.try_send(Message { word, told });
    }
}

/// Starts the thread; `None` without a manager.
fn start() -> Option<SyncSender<Message>> {
    std::env::var_os("NOTIFY_SOCKET")?;
    let (sender, messages) = mpsc::sync_channel(WAITING);
    thread::Builder::new()
        .name("woolly-notify".to_owned())
        .spawn(move || notify(&messages))
        .ok()?;
    Some(sender)
}

fn notify(messages: &Receiver<Message>) {
    while let Ok(Message { word, told }) = messages.recv() {
        let sent = match &word {
            Word::Ready { status } => {
                sd_notify::notify(&[NotifyState::Ready, NotifyState::Status(status)])
            }
            Word::Stopping => {
                sd_notify::notify(&[NotifyState::Stopping, NotifyState::Status("stopping")])
            }
            Word::MoreTime { micros } => {
                sd_notify::notify(&[NotifyState::ExtendTimeoutUsec(*micros)])
            }
            Word::Status(line) => sd_notify::notify(&[NotifyState::Status(line)]),
        };
        if let Err(error) = sent {
            tracing::debug!("the service manager cannot be told: {error}");
        }
        drop(told);
    }
}
