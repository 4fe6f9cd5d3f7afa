//! The daemon: start in order, stop in reverse; dispatch between queue and engine.
//!
//! Start: signals, queue, socket and API (jobs are accepted from here on), model, engine, dispatch, and
//! then `READY=1`. Stop: no new work, running jobs get their time, what is left goes back to the queue,
//! engine, API, queue.
//!
//! Exit codes: 0 clean, 1 failed, 74 I/O (a restart helps), 78 configuration (a restart does not help):
//! see [`Failure`].

mod assembly;
mod check;
mod control;
mod dispatch;
mod engine_room;
mod failure;
mod front;
mod logging;
mod running;
mod signals;
mod systemd;
mod warming;

pub use check::check;
pub use failure::{EXIT_CONFIGURATION, EXIT_FAILED, EXIT_IO, Failure};

use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::config::{self, Config};

use control::{Control, MESSAGES};
use engine_room::EngineRoom;
use front::Front;

/// Runs until a signal or a failure.
pub fn run(config: &Config) -> Result<(), Failure> {
    let model = check::model_of(config)?;
    logging::start(&config.log)?;
    let (sender, control) = mpsc::sync_channel(MESSAGES);
    signals::watch(sender.clone())?;
    let front = Front::start(config, sender.clone())?;
    let served = serve(config, model, &front, sender, &control);
    systemd::stopping();
    front.stop();
    served
}

/// From a cold model to the end of the last job.
fn serve(
    config: &Config,
    model: &config::Model,
    front: &Front,
    sender: mpsc::SyncSender<Control>,
    control: &mpsc::Receiver<Control>,
) -> Result<(), Failure> {
    warming::start(model, &config.cache, front.slot.clone(), sender.clone())?;
    let loaded = loop {
        match control.recv() {
            Ok(Control::Loaded(loaded)) => match *loaded {
                Ok(loaded) => break loaded,
                Err(failure) => return Err(failure),
            },
            Ok(Control::Failed(failure)) => return Err(failure),
            // Nothing runs yet; what was accepted waits for the next start.
            Ok(Control::Stop) | Err(mpsc::RecvError) => return Ok(()),
            Ok(Control::Idle) => {}
        }
    };
    let name = loaded.info.name.clone();
    let engine_room = EngineRoom::start(config, model, loaded, front, sender)?;
    systemd::ready(&name);
    tracing::info!("serving jobs");

    let outcome = loop {
        match control.recv() {
            Ok(Control::Failed(failure)) => break Err(failure),
            Ok(Control::Stop) | Err(mpsc::RecvError) => {
                // In this order: who hears of the stop must find that new work is refused.
                front.drain();
                systemd::stopping();
                break drain(
                    &engine_room,
                    control,
                    Duration::from_secs(config.daemon.drain_timeout_s),
                );
            }
            Ok(Control::Loaded(_) | Control::Idle) => {}
        }
    };
    let stopped = engine_room.stop();
    outcome.and(stopped)
}

/// Waits until nothing runs, until the time is up, or until a second signal.
fn drain(
    engine_room: &EngineRoom,
    control: &mpsc::Receiver<Control>,
    timeout: Duration,
) -> Result<(), Failure> {
    tracing::info!(
        timeout_s = timeout.as_secs(),
        "draining: running jobs finish, no new ones start"
    );
    engine_room.stop_claims();
    let started = Instant::now();
    while !engine_room.is_idle() {
        let left = timeout.saturating_sub(started.elapsed());
        match control.recv_timeout(left) {
            Ok(Control::Failed(failure)) => return Err(failure),
            Ok(Control::Idle | Control::Loaded(_)) => {}
            Ok(Control::Stop) => {
                tracing::info!("stopping now: running jobs go back to the queue");
                break;
            }
            Err(_) => {
                tracing::info!("the time to drain is up: running jobs go back to the queue");
                break;
            }
        }
    }
    Ok(())
}
