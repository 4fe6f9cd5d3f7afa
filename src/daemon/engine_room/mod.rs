//! What works: the engine's workers and the threads that feed them and record what they do.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;
use std::thread::JoinHandle;

use async_channel::Receiver;

use crate::api::{self, Served};
use crate::config::{self, Config};
use crate::engine::Pool;
use crate::job::{JobId, SequenceEvent};
use crate::model::LoadedModel;

use super::control::{self, Control};
use super::dispatch::Dispatch;
use super::failure::Failure;
use super::front::Front;
use super::gate::Gate;
use super::verifying::{self, Verification};

/// Events between the workers and the thread that records them. When it is full the workers wait: decoding
/// slows down to the speed at which results are written, and nothing is lost.
const WAITING_EVENTS: usize = 1024;

pub(super) struct EngineRoom {
    pool: Arc<Pool>,
    dispatch: Arc<Dispatch>,
    gate: Arc<Gate>,
    cancellations: Receiver<JobId>,
    /// Ends the verification between two tensors.
    enough: Arc<AtomicBool>,
    verifying: Option<JoinHandle<()>>,
    claiming: JoinHandle<()>,
    recording: JoinHandle<()>,
    cancelling: JoinHandle<()>,
}

impl EngineRoom {
    /// Starts the workers on a warm model, then opens the API for completions, then claims jobs. Weights
    /// that are still to be verified are read meanwhile, and nothing is recorded before that is done.
    pub(super) fn start(
        config: &Config,
        model: &config::Model,
        mut loaded: LoadedModel,
        front: &Front,
        control: SyncSender<Control>,
    ) -> Result<Self, Failure> {
        let verification = loaded.unverified.take().map(|unverified| -> Verification {
            Box::new(move |enough| unverified.verify(enough))
        });
        let (sender, events) = async_channel::bounded(WAITING_EVENTS);
        let pool = Pool::start(
            Arc::clone(&loaded.model),
            Arc::clone(&loaded.tokenizer),
            &config.compute,
            &config.workers,
            sender,
        );
        let pool = pool.map_err(|error| Failure::model(&error))?;
        let engine = (pool, events);
        Self::start_with(config, model, loaded, engine, verification, front, control)
    }

    /// The same with workers on anything, and what they tell.
    fn start_with(
        config: &Config,
        model: &config::Model,
        loaded: LoadedModel,
        (pool, events): (Pool, Receiver<SequenceEvent>),
        verification: Option<Verification>,
        front: &Front,
        control: SyncSender<Control>,
    ) -> Result<Self, Failure> {
        front.watch_engine(&pool, control.clone());
        let pool = Arc::new(pool);
        let not_cached = loaded.report.not_cached;
        let not_cached = not_cached.map(|why| format!("{why}; the weights are in memory instead"));
        let served = Arc::new(Served {
            info: loaded.info,
            ready_at: api::now_ms().div_euclid(1000),
            tokenizer: loaded.tokenizer,
            template: loaded.template,
            max_positions: pool.max_positions(),
            max_tokens_completion: model.max_tokens_completion,
            max_tokens_chat: model.max_tokens_chat,
            warning: not_cached,
        });
        let unverified = verification.is_some();
        front.slot.fill(Arc::clone(&served), unverified);

        let gate = Arc::new(Gate::new(unverified));
        let enough = Arc::new(AtomicBool::new(false));
        let verifying = verification.map(|verification| {
            let (gate, enough) = (Arc::clone(&gate), Arc::clone(&enough));
            verifying::start(verification, gate, enough, control.clone())
        });
        let verifying = verifying.transpose()?;
        front.queue.allow_claims();
        let (queue, settings) = (front.queue.clone(), &config.queue);
        let dispatch = Dispatch::new(queue, served, control.clone(), settings);
        let dispatch = Arc::new(dispatch);
        let cancellations = front.queue.cancellations();
        let recording = {
            let (dispatch, gate) = (Arc::clone(&dispatch), Arc::clone(&gate));
            control::spawn("woolly-record", control.clone(), move || {
                dispatch.record_loop(&events, &gate)
            })?
        };
        let cancelling = {
            let (dispatch, cancellations) = (Arc::clone(&dispatch), cancellations.clone());
            control::spawn("woolly-cancel", control.clone(), move || {
                dispatch.cancel_loop(&cancellations)
            })?
        };
        let claiming = {
            let (dispatch, pool) = (Arc::clone(&dispatch), Arc::clone(&pool));
            control::spawn("woolly-claim", control, move || dispatch.claim_loop(&pool))?
        };
        Ok(EngineRoom {
            pool,
            dispatch,
            gate,
            cancellations,
            enough,
            verifying,
            claiming,
            recording,
            cancelling,
        })
    }

    /// No job is started any more; running ones go on.
    pub(super) fn stop_claims(&self) {
        self.dispatch.stop_claims();
    }

    pub(super) fn is_idle(&self) -> bool {
        self.dispatch.is_idle()
    }

    /// Stops what still runs, in the order in which each thread's input ends, and puts it back into the
    /// queue.
    pub(super) fn stop(self) -> Result<(), Failure> {
        self.dispatch.stop_claims();
        self.enough.store(true, Ordering::Relaxed);
        // If the weights are not known to be sound by now: nobody waits in front of the gate any more, and
        // the workers find room for their events.
        self.gate.shut();
        // Also frees the engine's task channel, in case the claiming thread waits for room in it.
        self.dispatch.stop_all();
        // A panic was reported when it happened.
        let _ = self.claiming.join();
        if let Ok(pool) = Arc::try_unwrap(self.pool) {
            // Its last events end the recording thread.
            pool.stop();
            let _ = self.recording.join();
        }
        self.cancellations.close();
        let _ = self.cancelling.join();
        // The last one to hold the weights: a new model must find their memory free.
        if let Some(verifying) = self.verifying {
            let _ = verifying.join();
        }
        self.dispatch.requeue_unfinished()
    }
}

#[cfg(test)]
mod faults;
#[cfg(test)]
mod tests;
