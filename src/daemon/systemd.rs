//! What the service manager is told, if there is one (`NOTIFY_SOCKET`).
//!
//! Protocol: sd_notify(3). A manager that does not listen is no reason to stop, so failures are only logged.

use sd_notify::NotifyState;

/// Jobs are being served.
pub(super) fn ready(model: &str) {
    let status = format!("serving {model}");
    tell(&[NotifyState::Ready, NotifyState::Status(&status)]);
}

/// The daemon is on its way out.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("stopping")]);
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
