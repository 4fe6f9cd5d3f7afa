//! What the service manager is told, if there is one (`NOTIFY_SOCKET`).
//!
//! Protocol: sd_notify(3). A manager that does not listen is no reason to stop, so failures are only logged.

use std::time::Duration;

use sd_notify::NotifyState;

/// Jobs are being served.
pub(super) fn ready(model: &str) {
    let status = format!("serving {model}");
    tell(&[NotifyState::Ready, NotifyState::Status(&status)]);
}

/// Nothing else is going on any more.
pub(super) fn serving(model: &str) {
    status(&format!("serving {model}"));
}

/// The daemon is on its way out.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("stopping")]);
}

/// The start goes on: the manager's start timeout begins anew, with this length.
pub(super) fn extend_timeout(by: Duration) {
    let micros = u32::try_from(by.as_micros()).unwrap_or(u32::MAX);
    tell(&[NotifyState::ExtendTimeoutUsec(micros)]);
}

/// One line for `systemctl status`.
pub(super) fn status(line: &str) {
    tell(&[NotifyState::Status(line)]);
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!("the service manager cannot be told: {error}");
    }
}
