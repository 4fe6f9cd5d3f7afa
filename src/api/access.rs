//! Who is calling, and which jobs they may see.
//!
//! The kernel tells the user id of the process that connected (`SO_PEERCRED`), so there are no passwords.
//! Administrators are root, the daemon's own user, and those of the configuration. Everyone else sees and
//! cancels only jobs of their own; a foreign job looks like one that does not exist.

use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::request::Parts;
use tokio::net::UnixStream;

use crate::config::OVERFLOW_UID;

use super::refusal::Refusal;
use super::server::Shared;

/// The user at the other end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Peer {
    pub(super) uid: u32,
}

impl Peer {
    pub(super) fn of(stream: &UnixStream) -> Self {
        // A peer that cannot be asked for gets no more rights than an unknown user.
        let uid = stream
            .peer_cred()
            .map_or(OVERFLOW_UID, |credentials| credentials.uid());
        Peer { uid }
    }
}

/// Who may do everything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rights {
    own_uid: u32,
    admin_uids: Vec<u32>,
}

impl Rights {
    pub fn new(own_uid: u32, admin_uids: Vec<u32>) -> Self {
        Rights {
            own_uid,
            admin_uids,
        }
    }

    pub(super) fn is_admin(&self, uid: u32) -> bool {
        uid != OVERFLOW_UID && (uid == 0 || uid == self.own_uid || self.admin_uids.contains(&uid))
    }

    /// The caller with `uid`, for requests about jobs.
    pub(super) fn caller(&self, uid: u32) -> Result<Caller, Refusal> {
        if uid == OVERFLOW_UID {
            return Err(Refusal::forbidden(
                "this user is unknown here and has no rights over jobs",
            ));
        }
        Ok(Caller {
            uid,
            is_admin: self.is_admin(uid),
        })
    }
}

/// A user with rights over jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Caller {
    pub(super) uid: u32,
    is_admin: bool,
}

impl Caller {
    pub(super) fn is_admin(&self) -> bool {
        self.is_admin
    }

    pub(super) fn may_see(&self, owner: u32) -> bool {
        self.is_admin || self.uid == owner
    }

    /// Whose jobs a list shows; `None` is everyone's.
    pub(super) fn list_filter(&self) -> Option<u32> {
        if self.is_admin { None } else { Some(self.uid) }
    }
}

impl FromRequestParts<Shared> for Peer {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, shared: &Shared) -> Result<Self, Refusal> {
        let peer = ConnectInfo::<Peer>::from_request_parts(parts, shared).await;
        peer.map(|ConnectInfo(peer)| peer)
            .map_err(|_| Refusal::forbidden("the caller is not known"))
    }
}

impl FromRequestParts<Shared> for Caller {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, shared: &Shared) -> Result<Self, Refusal> {
        let peer = Peer::from_request_parts(parts, shared).await?;
        shared.rights.caller(peer.uid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn administrators_see_everything_and_others_their_own() {
        let rights = Rights::new(990, vec![1000]);
        for admin in [0, 990, 1000] {
            let caller = rights.caller(admin).unwrap();
            assert!(
                caller.may_see(7) && caller.list_filter().is_none(),
                "{admin}"
            );
        }
        let caller = rights.caller(7).unwrap();
        assert!(caller.may_see(7));
        assert!(!caller.may_see(8));
        assert_eq!(caller.list_filter(), Some(7));
    }

    #[test]
    fn the_overflow_user_has_no_rights_even_when_the_daemon_runs_as_it() {
        let rights = Rights::new(OVERFLOW_UID, vec![OVERFLOW_UID]);
        assert!(rights.caller(OVERFLOW_UID).is_err());
        assert!(!rights.is_admin(OVERFLOW_UID));
    }
}
