//! What works: the engine's workers and the threads that feed them and record what they do.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;
use std::thread::JoinHandle;

use crate::api::{self, Served};
use crate::config::{self, Config};
use crate::engine::Pool;
use crate::job::JobId;
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
    cancellations: async_channel::Receiver<JobId>,
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
        Self::start_with(config, model, loaded, verification, front, control)
    }

    fn start_with(
        config: &Config,
        model: &config::Model,
        loaded: LoadedModel,
        verification: Option<Verification>,
        front: &Front,
        control: SyncSender<Control>,
    ) -> Result<Self, Failure> {
        let (event_sender, events) = async_channel::bounded(WAITING_EVENTS);
        let pool = Pool::start(
            loaded.model,
            Arc::clone(&loaded.tokenizer),
            &config.compute,
            &config.workers,
            event_sender,
        );
        let pool = Arc::new(pool.map_err(|error| Failure::model(&error))?);
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
mod tests {
    use std::sync::mpsc;

    use crate::cache::{self, Problem};
    use crate::job::{Endpoint, State};
    use crate::model;
    use crate::queue::{JobRow, NewJob, Times};
    use crate::weights::{self, Verdict};

    use super::*;

    /// More tokens than there is room for events, so that the workers come to wait.
    const MANY: usize = WAITING_EVENTS + 200;

    const CONFIG: &str = r#"
        [daemon]
        socket = "w.sock"
        state_dir = "state"
        [cache]
        dir = "cache"
        [model]
        source = "synthetic"
        [synthetic]
        preset = "tiny"
        context_length = 4096
        [workers]
        threads_per_worker = 1
        slots = 2
        kv_bytes = "32MiB"
    "#;

    /// A daemon without its main thread.
    struct Bench {
        config: Config,
        front: Front,
        sender: SyncSender<Control>,
        control: mpsc::Receiver<Control>,
        _root: tempfile::TempDir,
    }

    impl Bench {
        fn new() -> Self {
            let root = tempfile::tempdir().unwrap();
            let config = Config::from_toml(CONFIG, root.path()).unwrap();
            let (sender, control) = mpsc::sync_channel(control::MESSAGES);
            let front = Front::start(&config, sender.clone()).unwrap();
            Bench {
                config,
                front,
                sender,
                control,
                _root: root,
            }
        }

        fn start(&self, verification: Option<Verification>) -> EngineRoom {
            let model = self.config.model.as_ref().unwrap();
            let loaded =
                model::load(model, self.config.compute.elements, &self.config.cache, &()).unwrap();
            let (front, sender) = (&self.front, self.sender.clone());
            EngineRoom::start_with(&self.config, model, loaded, verification, front, sender)
                .unwrap()
        }

        fn submit(&self, sequences: usize, max_tokens: usize) -> JobId {
            let body = serde_json::json!({
                "prompt": "x", "n": sequences, "max_tokens": max_tokens, "ignore_eos": true,
            });
            let job = NewJob {
                endpoint: Endpoint::Completions,
                body: body.to_string().into_bytes(),
                seed: 7,
                max_tokens: None,
                priority: 0,
                idempotency_key: None,
                uid: 0,
                attached: false,
                metadata: None,
                created_at_ms: 0,
                times: Times::default(),
                refuse_late: false,
            };
            let submitted = self.front.block_on(self.front.queue.submit(job));
            submitted.unwrap().job.id
        }

        fn cancel(&self, id: JobId) {
            self.front.block_on(self.front.queue.cancel(id)).unwrap();
        }

        fn row(&self, id: JobId) -> JobRow {
            self.front.block_on(self.front.queue.get(id)).unwrap()
        }

        /// Waits until the job has come that far; each look is a round trip to the queue's thread.
        fn reaches(&self, id: JobId, state: State) -> JobRow {
            loop {
                let row = self.row(id);
                if row.state == state {
                    return row;
                }
            }
        }

        fn choices(&self, id: JobId) -> serde_json::Value {
            let row = self.reaches(id, State::Completed);
            let body: serde_json::Value = serde_json::from_slice(&row.result.unwrap()).unwrap();
            body["choices"].clone()
        }

        /// Whether those who follow a job were shown anything.
        fn shown(&self, id: JobId) -> bool {
            let mut events = self.front.queue.live().subscribe(id);
            self.front.block_on(async {
                tokio::select! {
                    biased;
                    event = events.next() => event.is_some(),
                    () = std::future::ready(()) => false,
                }
            })
        }

        fn is_untouched(&self, id: JobId) {
            let row = self.row(id);
            assert_eq!((row.state, row.attempts), (State::Queued, 0));
            assert!(!self.shown(id));
        }
    }

    /// A verification that lasts until the test decides, or until it is stopped.
    fn undecided() -> (mpsc::Sender<Result<Verdict, weights::Error>>, Verification) {
        let (decide, decision) = mpsc::channel();
        let verification = move |enough: &AtomicBool| loop {
            match decision.try_recv() {
                Ok(decided) => return decided,
                Err(_) if enough.load(Ordering::Relaxed) => return Ok(Verdict::Stopped),
                Err(_) => std::thread::yield_now(),
            }
        };
        (decide, Box::new(verification))
    }

    fn wrong() -> weights::Error {
        let problem = Problem::Checksum("blk.1.attn_q.weight".to_owned());
        let path = "f".into();
        cache::Error::Refused { path, problem }.into()
    }

    #[test]
    fn what_was_computed_before_the_weights_are_sound_waits() {
        let bench = Bench::new();
        let (decide, verification) = undecided();
        let room = bench.start(Some(verification));
        let long = bench.submit(1, MANY);
        let cancelled = bench.submit(5, MANY);
        let short = bench.submit(1, 3);
        bench.reaches(long, State::Running);
        bench.reaches(cancelled, State::Running);
        bench.cancel(cancelled);
        assert!(!bench.shown(long));
        decide.send(Ok(Verdict::Sound)).unwrap();
        assert!(matches!(bench.control.recv(), Ok(Control::Verified)));
        bench.reaches(long, State::Completed);
        bench.reaches(short, State::Completed);
        assert_eq!(bench.row(cancelled).state, State::Cancelled);
        room.stop().unwrap();
        bench.front.stop().unwrap();
    }

    #[test]
    fn an_engine_can_stop_in_front_of_a_closed_gate() {
        let bench = Bench::new();
        let (_decide, verification) = undecided();
        let room = bench.start(Some(verification));
        // The second one waits for the engine to take all of its sequences.
        let ids = [bench.submit(1, MANY), bench.submit(9, MANY)];
        for id in ids {
            bench.reaches(id, State::Running);
        }
        room.stop().unwrap();
        ids.iter().for_each(|id| bench.is_untouched(*id));
        assert!(bench.control.try_recv().is_err(), "nothing failed");
        bench.front.stop().unwrap();
    }

    #[test]
    fn what_wrong_weights_gave_is_thrown_away_and_computed_again() {
        let bench = Bench::new();
        let room = bench.start(None);
        let golden = bench.choices(bench.submit(2, 50));
        room.stop().unwrap();

        let (decide, verification) = undecided();
        let room = bench.start(Some(verification));
        let short = bench.submit(2, 50);
        bench.reaches(short, State::Running);
        let long = bench.submit(3, MANY);
        decide.send(Err(wrong())).unwrap();
        // The first engine was idle when it stopped, and said so.
        assert!(matches!(bench.control.recv(), Ok(Control::Idle)));
        match bench.control.recv() {
            Ok(Control::Mistrusted(problem)) => {
                assert!(problem.contains("blk.1.attn_q.weight"), "{problem}")
            }
            _ => panic!("not noticed"),
        }
        room.stop().unwrap();
        bench.is_untouched(short);
        bench.is_untouched(long);

        let room = bench.start(None);
        assert_eq!(bench.choices(short), golden);
        assert_eq!(bench.reaches(long, State::Completed).attempts, 1);
        room.stop().unwrap();
        bench.front.stop().unwrap();
    }

    #[test]
    fn what_is_cancelled_between_two_engines_does_not_come_back() {
        let bench = Bench::new();
        let (_decide, verification) = undecided();
        let room = bench.start(Some(verification));
        let gone = bench.submit(1, MANY);
        bench.reaches(gone, State::Running);
        room.stop().unwrap();
        bench.cancel(gone);
        let room = bench.start(None);
        let next = bench.submit(1, 2);
        bench.reaches(next, State::Completed);
        assert_eq!(bench.row(gone).state, State::Cancelled);
        room.stop().unwrap();
        bench.front.stop().unwrap();
    }
}
