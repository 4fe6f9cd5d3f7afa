//! What the service manager is told, if there is one (`NOTIFY_SOCKET`).
//!
//! Protocol: sd_notify(3). A manager that does not listen is no reason to stop, so failures are only logged.
//! One that does not read is no reason to wait, so a thread of its own does the telling; what it could not
//! tell yet is replaced by what is newer, and nothing piles up.

use std::mem;
use std::sync::mpsc::{self, SyncSender};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use sd_notify::NotifyState;

/// How long the end of the daemon waits for its last message to be read.
const LAST_WORD: Duration = Duration::from_secs(1);

/// What is to be told.
#[derive(Default)]
struct News {
    ready: bool,
    stopping: bool,
    more_time_micros: Option<u32>,
    status: Option<String>,
    /// Dropped when all of it has been told.
    told: Option<SyncSender<()>>,
}

#[derive(Default)]
struct Teller {
    news: Mutex<Option<News>>,
    came: Condvar,
}

/// Jobs are being served. While the weights are `in_doubt`, what is computed is held back.
pub(super) fn ready(model: &str, in_doubt: bool) {
    tell(|news| {
        news.ready = true;
        let held = match in_doubt {
            true => "; the weights are being verified, and output waits for that",
            false => "",
        };
        news.status = Some(format!("serving {model}{held}"));
    });
}

/// Nothing else is going on any more.
pub(super) fn serving(model: &str) {
    status(&format!("serving {model}"));
}

/// The daemon is on its way out.
pub(super) fn stopping() {
    let (told, done) = mpsc::sync_channel(1);
    tell(|news| {
        news.stopping = true;
        news.status = Some("stopping".to_owned());
        news.told = Some(told);
    });
    // The process may end before the thread has its turn.
    let _ = done.recv_timeout(LAST_WORD);
}

/// The start goes on: the manager's start timeout begins anew, with this length.
pub(super) fn extend_timeout(by: Duration) {
    let micros = u32::try_from(by.as_micros()).unwrap_or(u32::MAX);
    tell(|news| news.more_time_micros = Some(micros));
}

/// One line for `systemctl status`.
pub(super) fn status(line: &str) {
    tell(|news| news.status = Some(line.to_owned()));
}

fn tell(change: impl FnOnce(&mut News)) {
    static TELLER: OnceLock<Option<Arc<Teller>>> = OnceLock::new();
    if let Some(teller) = TELLER.get_or_init(start) {
        change(teller.news().get_or_insert_default());
        teller.came.notify_one();
    }
}

/// Starts the thread; `None` without a manager.
fn start() -> Option<Arc<Teller>> {
    std::env::var_os("NOTIFY_SOCKET")?;
    let teller = Arc::new(Teller::default());
    let its_own = Arc::clone(&teller);
    thread::Builder::new()
        .name("woolly-notify".to_owned())
        .spawn(move || its_own.run())
        .ok()?;
    Some(teller)
}

impl Teller {
    fn run(&self) {
        loop {
            let waited = self.came.wait_while(self.news(), |news| news.is_none());
            let news = mem::take(&mut *waited.unwrap_or_else(PoisonError::into_inner));
            if let Some(news) = news {
                news.send();
            }
        }
    }

    fn news(&self) -> MutexGuard<'_, Option<News>> {
        self.news.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl News {
    fn send(self) {
        let mut states = Vec::new();
        states.extend(self.more_time_micros.map(NotifyState::ExtendTimeoutUsec));
        states.extend(self.ready.then_some(NotifyState::Ready));
        states.extend(self.stopping.then_some(NotifyState::Stopping));
        states.extend(self.status.as_deref().map(NotifyState::Status));
        if let Err(error) = sd_notify::notify(&states) {
            tracing::debug!("the service manager cannot be told: {error}");
        }
    }
}
