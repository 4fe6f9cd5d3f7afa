//! How many connections are let in at once, and how many of them one user may have.
//!
//! Files are what a process runs out of first, and the store and the model need some too: clients must not be able to
//! take them all, nor one user all that there are for clients.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::serve::Listener;
use rustix::process::{Resource, getrlimit};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::queue::batch::{FILES_AT_WORK, MOST_AT_WORK};

use super::access::{Peer, Rights};
use super::refusal::Refusal;

/// Files that the daemon itself has open: those of batches, and the store and its readers, the model, the log, and some
/// to spare.
const OWN_FILES: u64 = (MOST_AT_WORK * FILES_AT_WORK) as u64 + 48;
/// A connection is one, and may read or write another.
const FILES_OF_ONE: u64 = 2;
const FEWEST: u64 = 8;
const MOST: u64 = 1 << 16;

/// A listener with a place for each connection. Without a free one clients wait in the backlog.
pub(super) struct Limited {
    listener: UnixListener,
    places: Arc<Semaphore>,
    /// Whether a user may have all of them.
    is_exempt: Box<dyn Fn(u32) -> bool + Send>,
    of_user: OfUser,
}

/// The place of one connection. Dropped, it is free again.
pub(super) struct Place {
    _permit: Option<OwnedSemaphorePermit>,
    _of_user: Option<Counted>,
}

impl Limited {
    /// With as many places as the process has files for; administrators may have all of them.
    pub(super) fn new(listener: UnixListener, rights: Rights) -> Self {
        let places = places(getrlimit(Resource::Nofile).current);
        Self::with_places(listener, places, move |uid| rights.is_admin(uid))
    }

    fn with_places(
        listener: UnixListener,
        places: usize,
        is_exempt: impl Fn(u32) -> bool + Send + 'static,
    ) -> Self {
        Limited {
            listener,
            places: Arc::new(Semaphore::new(places)),
            is_exempt: Box::new(is_exempt),
            of_user: OfUser::new(places / 2),
        }
    }

    /// The next client that has a place. Should the process run out of files all the same, this pauses for a second and
    /// goes on.
    pub(super) async fn accept(&mut self) -> (UnixStream, Peer, Place) {
        // Nobody closes the semaphore.
        let permit = self.places.clone().acquire_owned().await.ok();
        loop {
            let (stream, _) = Listener::accept(&mut self.listener).await;
            let peer = Peer::of(&stream);
            let of_user = match (self.is_exempt)(peer.uid) {
                true => None,
                false => match self.of_user.enter(peer.uid) {
                    Some(counted) => Some(counted),
                    None => {
                        refuse(&stream);
                        continue;
                    }
                },
            };
            let place = Place {
                _permit: permit,
                _of_user: of_user,
            };
            return (stream, peer, place);
        }
    }
}

/// As many as the files of a process allow; `None`: any number.
fn places(files: Option<u64>) -> usize {
    let files = files.unwrap_or(u64::MAX).saturating_sub(OWN_FILES);
    (files / FILES_OF_ONE).clamp(FEWEST, MOST) as usize
}

/// Whoever does not hear it finds the connection closed.
fn refuse(stream: &UnixStream) {
    let _: io::Result<usize> =
        stream.try_write(Refusal::too_many_connections().as_last_words().as_bytes());
}

/// The connections of each user that has some.
#[derive(Clone)]
struct OfUser {
    most: usize,
    counts: Arc<Mutex<HashMap<u32, usize>>>,
}

/// One connection of a user, until it is dropped.
struct Counted {
    of_user: OfUser,
    uid: u32,
}

impl OfUser {
    fn new(most: usize) -> Self {
        let counts = Arc::default();
        OfUser { most, counts }
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<u32, usize>> {
        // Numbers only; the worst are wrong ones.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `None`: this user has as many as he may.
    fn enter(&self, uid: u32) -> Option<Counted> {
        let mut counts = self.counts();
        let count = counts.entry(uid).or_insert(0);
        if *count >= self.most {
            return None;
        }
        *count += 1;
        let of_user = self.clone();
        Some(Counted { of_user, uid })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut counts = self.of_user.counts();
        if let Some(count) = counts.get_mut(&self.uid) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.uid);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn the_daemon_keeps_files_for_itself() {
        assert_eq!(places(Some(1_024)), 464);
        assert_eq!(places(Some(16)), 8);
        assert_eq!(places(None), 1 << 16);
    }

    #[test]
    fn one_user_has_no_more_than_his_part() {
        let of_user = OfUser::new(2);
        let first = of_user.enter(7);
        let second = of_user.enter(7);
        assert!(first.is_some() && second.is_some());
        assert!(of_user.enter(7).is_none());
        assert!(of_user.enter(8).is_some());
        drop(first);
        let third = of_user.enter(7);
        assert!(third.is_some());
        drop((second, third));
        assert!(of_user.counts().is_empty());
    }

    #[test]
    fn a_user_with_too_many_connections_is_told_and_others_are_let_in() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("w.sock");
        let own = rustix::process::getuid().as_raw();
        runtime.block_on(async {
            let listener = UnixListener::bind(&path).unwrap();
            let connect = || std::os::unix::net::UnixStream::connect(&path).unwrap();
            // Of four places nobody may have more than two.
            let mut limited = Limited::with_places(listener, 4, |_| false);
            let _clients = [connect(), connect()];
            let first = limited.accept().await;
            let second = limited.accept().await;
            assert_eq!((first.1.uid, second.1.uid), (own, own));
            let mut refused = connect();
            let next = limited.accept();
            let heard = tokio::task::spawn_blocking(move || {
                let mut answer = String::new();
                refused.read_to_string(&mut answer).unwrap();
                answer
            });
            tokio::pin!(next);
            let answer = tokio::select! {
                _ = &mut next => panic!("a third one was let in"),
                answer = heard => answer.unwrap(),
            };
            let (head, body) = answer.split_once("\r\n\r\n").unwrap();
            assert!(head.starts_with("HTTP/1.1 429 "), "{head}");
            assert!(head.contains(&format!("content-length: {}", body.len())));
            let body: serde_json::Value = serde_json::from_str(body).unwrap();
            assert_eq!(body["error"]["code"], "connections");
            // When one of his is gone he may come again.
            drop(first);
            let _client = connect();
            next.await;
        });
    }
}
