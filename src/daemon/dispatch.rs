//! Dispatch: the only place that knows both queue and engine. Three thin loops, each on its own thread,
//! around the bookkeeping of [`Running`].

use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::api::Served;
use crate::config;
use crate::engine::Pool;
use crate::job::{JobId, SequenceEvent};
use crate::protocol::{self, RequestError, Resolved, ResponseMeta};
use crate::queue::{self, Claimed, Completion, Finished, Origin, Part, Queue};

use super::assembly::End;
use super::checkpoint::Checkpoint;
use super::control::Control;
use super::failure::Failure;
use super::fingerprint;
use super::gate::Gate;
use super::known;
use super::panicked::{Panicked, or_panicked};
use super::running::{EndedJob, Running, Sharing, is_output};
use super::transcript;

/// Nothing tells when a full disk has room again, so a result that met one is written again after this.
const NO_SPACE_PAUSE: Duration = Duration::from_secs(1);

/// What the three loops share.
pub(super) struct Dispatch {
    queue: Queue,
    served: Arc<Served>,
    control: SyncSender<Control>,
    /// See [`config::Queue`].
    checkpoint_tokens: u32,
    reuse: bool,
    running: Mutex<Running>,
    /// A slot became free, or claims are over.
    room: Condvar,
}

impl Dispatch {
    pub(super) fn new(
        queue: Queue,
        served: Arc<Served>,
        control: SyncSender<Control>,
        config: &config::Queue,
    ) -> Self {
        Dispatch {
            queue,
            served,
            control,
            checkpoint_tokens: config.checkpoint_tokens,
            reuse: config.reuse,
            running: Mutex::default(),
            room: Condvar::new(),
        }
    }

    /// Claims jobs while there are slots, and gives their sequences to the engine. Ends after
    /// [`Dispatch::stop_claims`], and with an engine that has no workers left.
    pub(super) fn claim_loop(&self, pool: &Pool) {
        loop {
            self.wait_for_room(pool.slots());
            if pool.is_over() {
                break;
            }
            let Some(claimed) = self.queue.claim_blocking() else {
                break;
            };
            self.start(claimed, pool);
        }
        self.lock().claims_ended();
        self.tell_if_idle();
    }

    fn wait_for_room(&self, slots: usize) {
        let full = |running: &mut Running| !running.may_claim(slots);
        let waited = self.room.wait_while(self.lock(), full);
        waited
            .unwrap_or_else(PoisonError::into_inner)
            .before_claim();
    }

    fn start(&self, claimed: Claimed, pool: &Pool) {
        let Claimed {
            id,
            priority,
            endpoint,
            body,
            seed,
            max_tokens,
            created_at_ms,
            uid,
            dies_with_its_connection,
            transcript,
        } = claimed;
        let resolved = Resolved { seed, max_tokens };
        // Accepted before the model was warm, or under another model or configuration: only now it shows
        // that it cannot run.
        let resolve = || protocol::resolve(&self.served.context(), endpoint, &body, resolved);
        let resolved = or_panicked(resolve).unwrap_or_else(|panicked| Err(panicked.into()));
        let spec = match resolved {
            Ok(spec) => Arc::new(spec),
            Err(RequestError { message, param }) => {
                tracing::info!(job = %id, "job failed: {message}");
                let completion = Completion::Failed {
                    error: message,
                    refused: true,
                    param,
                };
                self.finish(id, completion);
                return;
            }
        };
        let meta = ResponseMeta {
            job: id,
            endpoint,
            created: created_at_ms.div_euclid(1000),
        };
        let fingerprint = fingerprint::of(&spec, &self.served.info.fingerprint);
        let reuse = spec.reuse.unwrap_or(self.reuse);
        // Behind this user id may stand anybody.
        let sharing =
            (reuse && uid != config::OVERFLOW_UID).then_some(Sharing { uid, fingerprint });
        if sharing.is_some_and(|sharing| self.lock().waits_for_equal(id, sharing)) {
            tracing::debug!(job = %id, "job waits for an equal one");
            self.queue.stands_by(id);
            return;
        }
        let equal = sharing.and_then(|_| known::of_equal(&self.queue, id, fingerprint, uid));
        if equal.is_some() {
            self.queue.stands_by(id);
        }
        let sequences = spec.sequences.len();
        let known = equal.unwrap_or_else(|| {
            known::of_earlier_run(&self.queue, id, sequences, &fingerprint, transcript)
        });
        tracing::debug!(job = %id, sequences, events = known.len(), "job starts");
        // Nobody goes on with what dies with its connection: to store it would be in vain.
        let every = match dies_with_its_connection {
            true => 0,
            false => self.checkpoint_tokens as usize * sequences,
        };
        let checkpoint = Checkpoint::new(fingerprint, every, Instant::now());
        let cancelled = self
            .lock()
            .register(Arc::clone(&spec), meta, checkpoint, sharing);
        let origin = Origin {
            fingerprint: fingerprint::in_short(fingerprint),
            sequences,
        };
        self.queue.live().begin(id, origin);
        let tasks = known::tasks(id, priority, &spec, &cancelled, &known);
        for (sequence, event) in known {
            let job = id;
            let event = SequenceEvent {
                job,
                sequence,
                event,
            };
            self.record(event, true);
        }
        for task in tasks {
            pool.submit(task);
        }
    }

    /// Records what the engine tells, until the engine is gone; nothing before the gate is open. Behind a
    /// shut gate events are taken so that no worker waits, and lost: their jobs never ended, and are
    /// unfinished.
    pub(super) fn record_loop(&self, events: &async_channel::Receiver<SequenceEvent>, gate: &Gate) {
        if !gate.wait() {
            while events.recv_blocking().is_ok() {}
            return;
        }
        while let Ok(event) = events.recv_blocking() {
            self.record(event, false);
        }
    }

    /// Takes note of what a sequence did, now or in an earlier run.
    fn record(&self, event: SequenceEvent, is_repeated: bool) {
        let event = Arc::new(event);
        if is_output(&event.event) {
            self.queue.live().append(Arc::clone(&event));
        }
        let now = Instant::now();
        let (part, ended) = {
            let mut running = self.lock();
            let part = running.note(&event, is_repeated, now);
            (part, running.apply(&event))
        };
        if let Some(part) = part {
            let taken = self.queue.checkpoint(event.job, part);
            self.lock().handed_over(event.job, taken, now);
        }
        if is_last(&event) {
            self.room.notify_one();
        }
        if let Some(ended) = ended {
            let sharing = ended.sharing;
            self.publish(ended);
            let waited = self.lock().published(sharing);
            self.release(waited);
            self.tell_if_idle();
        }
    }

    /// Puts jobs back into the queue that waited for an equal one: they find its result, or run.
    fn release(&self, mut waited: Vec<JobId>) {
        while !waited.is_empty() {
            self.room.notify_one();
            match self.queue.requeue_blocking(waited.clone()) {
                Err(queue::Error::NoSpace { .. }) if self.pause_unless_stopping() => {}
                // Given back with the others when the daemon ends, or found by the next one.
                Err(_) => return self.lock().give_back(waited),
                Ok(()) => waited.clear(),
            }
        }
    }

    fn publish(&self, ended: EndedJob) {
        let EndedJob {
            spec,
            meta,
            end,
            fingerprint,
            unfinished,
            rest,
            sharing,
        } = ended;
        let id = meta.job;
        match end {
            End::Completed(outcome) => {
                let usage = protocol::usage(&spec, &outcome);
                let completion = or_panicked(|| Completion::Completed {
                    result: protocol::render(&self.served.context(), &meta, &spec, &outcome),
                    usage,
                    outline: protocol::outline(fingerprint::in_short(fingerprint), &outcome),
                    keep: sharing.map(|sharing| Part {
                        number: 0,
                        fingerprint: sharing.fingerprint,
                        body: transcript::of_outcome(&outcome),
                    }),
                });
                let completion = completion.unwrap_or_else(|Panicked| Completion::Faulted {
                    error: "the answer could not be written down".to_owned(),
                });
                if self.finish(id, completion) == Some(Finished::Published) {
                    tracing::info!(
                        job = %id,
                        prompt_tokens = usage.prompt_tokens,
                        completion_tokens = usage.completion_tokens,
                        "job completed"
                    );
                }
            }
            End::Failed { error, fault } => {
                tracing::warn!(job = %id, "job failed: {error}");
                let completion = match fault {
                    true => Completion::Faulted { error },
                    false => Completion::Failed {
                        error,
                        refused: false,
                        param: None,
                    },
                };
                let _ = self.finish(id, completion);
            }
            End::Stopped if unfinished => {
                tracing::debug!(job = %id, "job stopped");
                if let Some(part) = rest {
                    // Not taken: more of it is computed again, that is all.
                    self.queue.checkpoint(id, part);
                }
            }
            // Cancelled by a user: it is terminal already.
            End::Stopped => self.queue.live().close(id),
        }
    }

    /// Publishes the end of a job. A full disk is waited for: meanwhile events pile up and the workers
    /// wait, and nothing is computed in vain. Any other failure ends the daemon, and the next start runs
    /// the job again and gets the same bytes. `None`: nothing was published.
    fn finish(&self, id: JobId, completion: Completion) -> Option<Finished> {
        loop {
            match self.queue.finish_blocking(id, completion.clone()) {
                Ok(finished) => {
                    // Too late: it was cancelled or expired before its end could be published, and is terminal too.
                    if !matches!(finished, Finished::Retried { .. }) {
                        self.queue.live().close(id);
                    }
                    return Some(finished);
                }
                Err(error @ queue::Error::NoSpace { .. }) => {
                    tracing::warn!(job = %id, "{error}; trying again");
                    if self.pause_unless_stopping() {
                        continue;
                    }
                    // The same end comes of it with the next run.
                    self.lock().give_back([id]);
                    return None;
                }
                Err(error) => {
                    let _ = self.control.try_send(Control::Failed(Failure::from(error)));
                    return None;
                }
            }
        }
    }

    /// Waits a while; false as soon as the daemon is stopping.
    fn pause_unless_stopping(&self) -> bool {
        let waited = self
            .room
            .wait_timeout_while(self.lock(), NO_SPACE_PAUSE, |running| {
                !running.is_stopping()
            });
        !waited
            .unwrap_or_else(PoisonError::into_inner)
            .0
            .is_stopping()
    }

    /// Stops what users cancel, until the channel is closed.
    pub(super) fn cancel_loop(&self, cancellations: &async_channel::Receiver<JobId>) {
        while let Ok(id) = cancellations.recv_blocking() {
            self.lock().cancel(id);
        }
    }

    /// No job is started any more.
    pub(super) fn stop_claims(&self) {
        self.lock().stop_claims();
        self.queue.stop_claims();
        self.room.notify_all();
    }

    /// Every running sequence stops at its next token.
    pub(super) fn stop_all(&self) {
        self.lock().stop_all();
    }

    pub(super) fn is_idle(&self) -> bool {
        self.lock().is_idle()
    }

    /// Puts what was stopped back into the queue; nothing may run any more.
    pub(super) fn requeue_unfinished(&self) -> Result<(), Failure> {
        let unfinished = self.lock().take_unfinished();
        if unfinished.is_empty() {
            return Ok(());
        }
        tracing::info!(jobs = unfinished.len(), "running jobs go back to the queue");
        Ok(self.queue.requeue_blocking(unfinished)?)
    }

    fn tell_if_idle(&self) {
        if self.is_idle() {
            let _ = self.control.try_send(Control::Idle);
        }
    }

    /// A panic while the lock was held ends the daemon anyway; until then the bookkeeping is as good as any.
    fn lock(&self) -> MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_last(event: &SequenceEvent) -> bool {
    use crate::job::Event;
    !matches!(event.event, Event::Token(_) | Event::Scored(_))
}
