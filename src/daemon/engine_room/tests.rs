//! Weights that are verified while jobs run, and an engine that stops meanwhile.

use std::sync::mpsc;

use crate::cache::{self, Problem};
use crate::job::State;
use crate::model;
use crate::queue::{JobRow, NewJob};
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
pub(super) struct Bench {
    config: Config,
    pub(super) front: Front,
    sender: SyncSender<Control>,
    pub(super) control: mpsc::Receiver<Control>,
    _root: tempfile::TempDir,
}

impl Bench {
    pub(super) fn new() -> Self {
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
        self.start_with(verification, |config, loaded, events| {
            let (model, tokenizer) = (Arc::clone(&loaded.model), Arc::clone(&loaded.tokenizer));
            Pool::start(model, tokenizer, &config.compute, &config.workers, events).unwrap()
        })
    }

    pub(super) fn start_with(
        &self,
        verification: Option<Verification>,
        pool: impl FnOnce(&Config, &LoadedModel, async_channel::Sender<SequenceEvent>) -> Pool,
    ) -> EngineRoom {
        let (config, front, control) = (&self.config, &self.front, self.sender.clone());
        let model = config.model.as_ref().unwrap();
        let loaded = model::load(model, config.compute.elements, &config.cache, &()).unwrap();
        let (sender, events) = async_channel::bounded(WAITING_EVENTS);
        let engine = (pool(config, &loaded, sender), events);
        EngineRoom::start_with(config, model, loaded, engine, verification, front, control).unwrap()
    }

    fn submit(&self, sequences: usize, max_tokens: usize) -> JobId {
        self.submit_body(serde_json::json!({
            "prompt": "x", "n": sequences, "max_tokens": max_tokens, "ignore_eos": true,
        }))
    }

    pub(super) fn submit_body(&self, body: serde_json::Value) -> JobId {
        let job = NewJob {
            seed: 7,
            ..NewJob::plain(body.to_string())
        };
        let submitted = self.front.block_on(self.front.queue.submit(job));
        submitted.unwrap().job.id
    }

    fn cancel(&self, id: JobId) {
        self.front.block_on(self.front.queue.cancel(id)).unwrap();
    }

    pub(super) fn row(&self, id: JobId) -> JobRow {
        self.front.block_on(self.front.queue.get(id)).unwrap()
    }

    /// Waits until the job has come that far; each look is a round trip to the queue's thread.
    pub(super) fn reaches(&self, id: JobId, state: State) -> JobRow {
        loop {
            let row = self.row(id);
            if row.state == state {
                return row;
            }
        }
    }

    /// The job, as soon as it has ended.
    pub(super) fn ended(&self, id: JobId) -> JobRow {
        let mut events = self.front.queue.live().subscribe(id);
        self.front
            .block_on(async { while events.next().await.is_some() {} });
        self.row(id)
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
