//! The daemon: start in order, stop in reverse; dispatch between queue and engine.
//!
//! Start: signals, queue, socket and API (jobs are accepted from here on), model, engine, dispatch, and
//! then `READY=1`. Stop: no new work, running jobs get their time, what is left goes back to the queue,
//! engine, API, queue.
//!
//! Jobs may run while the weights are still being verified; a `gate` keeps what they give in memory until
//! that is done. Wrong weights end the engine and not the daemon: the model is loaded again.
//!
//! Exit codes: 0 clean, 1 failed, 74 I/O (a restart helps), 78 configuration (a restart does not help):
//! see [`Failure`].

mod aftermath;
mod assembly;
mod batches;
mod check;
mod checkpoint;
mod control;
mod dispatch;
mod engine_room;
mod failure;
mod fingerprint;
mod front;
mod gate;
mod known;
mod logging;
mod panicked;
mod presence;
mod running;
mod signals;
mod spool;
mod systemd;
mod transcript;
mod verifying;
mod warming;

pub use check::check;
pub use failure::{EXIT_CONFIGURATION, EXIT_FAILED, EXIT_IO, Failure};

use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::api;
use crate::config::{self, Config};
use crate::model::LoadedModel;

use control::{Control, MESSAGES};
use engine_room::EngineRoom;
use front::Front;

/// Runs until a signal or a failure.
pub fn run(config: &Config) -> Result<(), Failure> {
    let model = check::model_of(config)?;
    logging::start(&config.log)?;
    if let Err(error) = api::raise_file_limit() {
        tracing::warn!("cannot raise the limit of open files: {error}");
    }
    let (sender, control) = mpsc::sync_channel(MESSAGES);
    signals::watch(sender.clone())?;
    let front = Front::start(config, sender.clone())?;
    let served = serve(config, model, &front, &sender, &control);
    systemd::stopping();
    front.ends();
    let stopped = front.stop();
    served.and(stopped)
}

/// How the time of one loaded model ended.
enum End {
    /// A signal.
    Stopped,
    /// Its weights are not what they should be.
    Mistrusted(String),
}

/// From a cold model to the end of the last job. When weights turn out to be wrong while jobs run, nothing
/// that they gave was recorded, and the model is loaded again: with every value compared before it is used,
/// so this happens once.
fn serve(
    config: &Config,
    model: &config::Model,
    front: &Front,
    sender: &mpsc::SyncSender<Control>,
    control: &mpsc::Receiver<Control>,
) -> Result<(), Failure> {
    let mut cache = config.cache.clone();
    loop {
        warming::start(
            model,
            config.compute.elements,
            &cache,
            front.slot.clone(),
            sender.clone(),
        )?;
        // What was accepted waits for the next start.
        let Some(loaded) = loaded(control)? else {
            return Ok(());
        };
        let (name, in_doubt) = (loaded.info.name.clone(), loaded.unverified.is_some());
        let engine_room = EngineRoom::start(config, model, loaded, front, sender.clone())?;
        systemd::ready(&name, in_doubt);
        tracing::info!("serving jobs");
        let ended = work(config, front, &engine_room, &name, control);
        if !matches!(ended, Ok(End::Stopped)) {
            front.slot.empty();
        }
        if ended.is_err() {
            front.ends();
        }
        let stopped = engine_room.stop();
        match (ended?, stopped?) {
            (End::Stopped, ()) => return Ok(()),
            (End::Mistrusted(problem), ()) => {
                tracing::warn!(
                    "{problem}: what was computed with it is thrown away, and it is made again"
                );
                systemd::status("loading the model again");
                cache.verify = config::Verify::Full;
            }
        }
    }
}

/// Waits for the model; `None` when a signal comes first.
fn loaded(control: &mpsc::Receiver<Control>) -> Result<Option<LoadedModel>, Failure> {
    loop {
        match control.recv() {
            Ok(Control::Loaded(loaded)) => return loaded.map(Some),
            Ok(Control::Failed(failure)) => return Err(failure),
            Ok(Control::Stop) | Err(mpsc::RecvError) => return Ok(None),
            Ok(Control::Idle | Control::Verified | Control::Mistrusted(_)) => {}
        }
    }
}

/// Lets the engine work until something ends that, and running jobs have had their time.
fn work(
    config: &Config,
    front: &Front,
    engine_room: &EngineRoom,
    model: &str,
    control: &mpsc::Receiver<Control>,
) -> Result<End, Failure> {
    loop {
        match control.recv() {
            Ok(Control::Failed(failure)) => return Err(failure),
            Ok(Control::Mistrusted(problem)) => return Ok(End::Mistrusted(problem)),
            Ok(Control::Verified) => {
                front.slot.verified();
                systemd::serving(model);
            }
            Ok(Control::Stop) | Err(mpsc::RecvError) => {
                // Whoever kills the daemon from here on has lost patience with it: no job is to blame.
                front.ends();
                // In this order: who hears of the stop must find that new work is refused.
                front.drain();
                systemd::stopping();
                let timeout = Duration::from_secs(config.daemon.drain_timeout_s);
                return drain(engine_room, control, timeout).map(|()| End::Stopped);
            }
            Ok(Control::Loaded(_) | Control::Idle) => {}
        }
    }
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
            Ok(Control::Idle | Control::Loaded(_) | Control::Verified) => {}
            Ok(Control::Mistrusted(problem)) => {
                tracing::warn!("{problem}: running jobs go back to the queue");
                break;
            }
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
