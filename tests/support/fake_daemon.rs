//! A daemon that does as it is told, for tests of the client: it can hold jobs, break connections, go away
//! and come back. It keeps its jobs meanwhile, as a real one does.

use std::collections::{HashMap, VecDeque};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;

use serde_json::{Value, json};

#[derive(Debug, Clone)]
pub struct FakeJob {
    pub key: String,
    /// As it was submitted.
    pub request: Value,
    pub endpoint: String,
    pub body: Value,
    pub status: &'static str,
}

/// What happens to be observed from outside, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// A submit, and whether its key was new.
    Submitted {
        new: bool,
    },
    /// A submit that came while the daemon drains.
    TurnedAway,
    /// The event stream of a job was opened.
    Watched(usize),
    Cancelled(usize),
    BackingUp,
}

#[derive(Default)]
struct State {
    jobs: Vec<FakeJob>,
    by_key: HashMap<String, usize>,
    /// Jobs do not end while this is set.
    hold: bool,
    /// So many streams more are broken after their second chunk.
    break_streams: usize,
    /// Submits are answered 503 while this is set.
    draining: bool,
    /// So many submits more are answered 429.
    full: usize,
    /// More jobs than these are not taken in while they have not ended.
    room: Option<usize>,
    /// A submit was answered 429 since the last one was taken in.
    refused: bool,
    /// Jobs that are held end as soon as a submit is refused because of them.
    hold_until_refused: bool,
    /// So many event streams more are refused for too many connections.
    crowded: usize,
    /// Every submit is answered with this status.
    refuse: Option<u16>,
    /// Prompts that ask to fail are answered.
    mended: bool,
    /// So many submits more are stored and their connection is broken before the answer.
    swallow_answers: usize,
    /// So many requests more are answered as by a daemon whose store has failed.
    faults: usize,
    /// What is said of the daemon's health next, before it is well.
    healths: VecDeque<(u16, Value)>,
    away: bool,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    seen: Mutex<Sender<Seen>>,
}

pub struct FakeDaemon {
    pub socket: PathBuf,
    pub seen: Receiver<Seen>,
    shared: Arc<Shared>,
    listener: Option<JoinHandle<()>>,
    _directory: tempfile::TempDir,
}

impl FakeDaemon {
    pub fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (sender, seen) = channel();
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            changed: Condvar::new(),
            seen: Mutex::new(sender),
        });
        let socket = directory.path().join("fake.sock");
        let mut daemon = FakeDaemon {
            socket,
            seen,
            shared,
            listener: None,
            _directory: directory,
        };
        daemon.come_back();
        daemon
    }

    pub fn jobs(&self) -> Vec<FakeJob> {
        self.shared.state.lock().unwrap().jobs.clone()
    }

    fn set(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.shared.state.lock().unwrap());
        self.shared.changed.notify_all();
    }

    pub fn hold(&self, hold: bool) {
        self.set(|state| state.hold = hold);
    }

    pub fn drain(&self, draining: bool) {
        self.set(|state| state.draining = draining);
    }

    pub fn break_streams(&self, count: usize) {
        self.set(|state| state.break_streams = count);
    }

    pub fn full(&self, count: usize) {
        self.set(|state| state.full = count);
    }

    pub fn crowded(&self, count: usize) {
        self.set(|state| state.crowded = count);
    }

    /// Room for so many jobs, which end as soon as somebody asks for more.
    pub fn room(&self, jobs: usize) {
        self.set(|state| {
            state.room = Some(jobs);
            state.hold = true;
            state.hold_until_refused = true;
        });
    }

    pub fn refuse(&self, status: u16) {
        self.set(|state| state.refuse = Some(status));
    }

    /// From now on nothing fails.
    pub fn mend(&self) {
        self.set(|state| state.mended = true);
    }

    pub fn swallow_answers(&self, count: usize) {
        self.set(|state| state.swallow_answers = count);
    }

    pub fn faults(&self, count: usize) {
        self.set(|state| state.faults = count);
    }

    pub fn healths(&self, healths: impl IntoIterator<Item = (u16, Value)>) {
        self.set(|state| state.healths.extend(healths));
    }

    /// Every connection breaks and the socket is gone.
    pub fn go_away(&mut self) {
        self.set(|state| state.away = true);
        std::fs::remove_file(&self.socket).unwrap();
        self.stop_listening();
    }

    pub fn come_back(&mut self) {
        self.set(|state| state.away = false);
        let listener = UnixListener::bind(&self.socket).unwrap();
        let shared = Arc::clone(&self.shared);
        // The socket's file may be gone when it is time to stop: a second name stays.
        std::fs::hard_link(&self.socket, self.socket.with_extension("stop")).unwrap();
        self.listener = Some(std::thread::spawn(move || {
            for connection in listener.incoming() {
                if shared.state.lock().unwrap().away {
                    return;
                }
                let shared = Arc::clone(&shared);
                // A client that goes away is none of the daemon's business.
                std::thread::spawn(move || drop(serve(&shared, connection.unwrap())));
            }
        }));
    }

    fn stop_listening(&mut self) {
        let name = self.socket.with_extension("stop");
        // Wakes the accept.
        drop(UnixStream::connect(&name));
        std::fs::remove_file(name).unwrap();
        self.listener.take().unwrap().join().unwrap();
    }
}

impl Drop for FakeDaemon {
    fn drop(&mut self) {
        self.set(|state| state.away = true);
        if self.listener.is_some() {
            self.stop_listening();
        }
    }
}

/// The answer to a prompt, in the pieces in which it is streamed.
pub fn pieces(body: &Value) -> Vec<String> {
    let prompt = body["prompt"]
        .as_str()
        .or_else(|| body["messages"].as_array()?.last()?["content"].as_str());
    let prompt = prompt.unwrap_or("?");
    vec![
        "you ".into(),
        "said ".into(),
        format!("{prompt}"),
        " — ".into(),
        "so".into(),
    ]
}

fn serve(shared: &Shared, connection: UnixStream) -> std::io::Result<()> {
    let mut reader = BufReader::new(connection.try_clone()?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split(' ').map(str::to_owned);
    let (method, path) = (
        words.next().unwrap_or_default(),
        words.next().unwrap_or_default(),
    );
    let (mut length, mut key) = (0, String::new());
    loop {
        let mut header = String::new();
        reader.read_line(&mut header)?;
        let Some((name, value)) = header.trim_end().split_once(": ") else {
            break;
        };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().unwrap(),
            "idempotency-key" => key = value.to_owned(),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    if is_fault(shared) {
        return answer(connection, 500, &store_fault());
    }
    match (method.as_str(), parts.as_slice()) {
        ("GET", ["health"]) => {
            let next = shared.state.lock().unwrap().healths.pop_front();
            let well = || (200, json!({"status": "ok", "jobs": {"queued": 0}}));
            let (status, body) = next.unwrap_or_else(well);
            answer(connection, status, &body)
        }
        ("POST", ["v1", "queue", "drain"]) => answer(connection, 200, &json!({"draining": true})),
        ("GET", ["v1", "queue", "backup"]) => endless_backup(shared, connection),
        ("POST", ["v1", "jobs"]) => submit(shared, connection, key, &body),
        ("GET", ["v1", query]) if query.starts_with("jobs?") => list(shared, connection, query),
        ("GET", ["v1", "jobs", id]) => show(shared, connection, id),
        ("POST", ["v1", "jobs", id, "cancel"]) => cancel(shared, connection, id),
        ("GET", ["v1", "jobs", id, "events"]) => events(shared, connection, id),
        _ => answer(
            connection,
            404,
            &json!({"error": {"message": format!("no {path}")}}),
        ),
    }
}

/// The beginning of a backup, and nothing more until the client goes away.
fn endless_backup(shared: &Shared, mut connection: UnixStream) -> std::io::Result<()> {
    connection.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000000\r\n\r\nabc")?;
    shared.seen.lock().unwrap().send(Seen::BackingUp).unwrap();
    connection.read_exact(&mut [0])
}

fn is_fault(shared: &Shared) -> bool {
    let mut state = shared.state.lock().unwrap();
    let is_fault = state.faults > 0;
    state.faults = state.faults.saturating_sub(1);
    is_fault
}

pub fn store_fault() -> Value {
    json!({"error": {"message": "the queue's store failed", "code": "store"}})
}

fn answer(mut connection: UnixStream, status: u16, body: &Value) -> std::io::Result<()> {
    let body = body.to_string();
    let head = format!(
        "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    connection.write_all(head.as_bytes())?;
    connection.write_all(body.as_bytes())
}

fn submit(
    shared: &Shared,
    connection: UnixStream,
    key: String,
    request: &Value,
) -> std::io::Result<()> {
    let mut state = shared.state.lock().unwrap();
    let body = request["body"].clone();
    if body["prompt"] == "refuse me" {
        let error = json!({"error": {"message": "the prompt is impossible", "param": "prompt"}});
        return answer(connection, 400, &error);
    }
    if state.draining {
        shared.seen.lock().unwrap().send(Seen::TurnedAway).unwrap();
        let error = json!({"error": {"message": "the daemon is stopping"}});
        return answer(connection, 503, &error);
    }
    if let Some(status) = state.refuse {
        let error = json!({"error": {"message": "you are not welcome"}});
        return answer(connection, status, &error);
    }
    let known = state.by_key.get(&key).copied();
    let open = state.jobs.iter().filter(|job| job.status == "queued");
    let no_room = known.is_none() && state.room.is_some_and(|room| open.count() >= room);
    if state.full > 0 || no_room {
        state.full = state.full.saturating_sub(1);
        state.refused = true;
        shared.changed.notify_all();
        return answer(
            connection,
            429,
            &json!({"error": {"message": "the queue is full"}}),
        );
    }
    state.refused = false;
    let index = known.unwrap_or_else(|| {
        let endpoint = request["endpoint"].as_str().unwrap().to_owned();
        state.jobs.push(FakeJob {
            key: key.clone(),
            request: request.clone(),
            endpoint,
            body,
            status: "queued",
        });
        let index = state.jobs.len() - 1;
        state.by_key.insert(key, index);
        index
    });
    shared
        .seen
        .lock()
        .unwrap()
        .send(Seen::Submitted {
            new: known.is_none(),
        })
        .unwrap();
    if state.swallow_answers > 0 {
        state.swallow_answers -= 1;
        return Ok(());
    }
    let job = view(&state.jobs[index], index);
    drop(state);
    answer(connection, 202, &job)
}

fn view(job: &FakeJob, index: usize) -> Value {
    let mut view = json!({"id": format!("job_{index}"), "object": "job", "status": job.status, "created_at": 1});
    if job.status == "completed" {
        let text = pieces(&job.body).concat();
        let choice = match job.endpoint.as_str() {
            "/v1/completions" => json!({"index": 0, "text": text}),
            _ => json!({"index": 0, "message": {"role": "assistant", "content": text}}),
        };
        view["result"] = json!({"choices": [choice]});
        view["usage"] = json!({"prompt_tokens": 2, "completion_tokens": 5, "total_tokens": 7});
    }
    if job.status == "failed" {
        view["error"] = json!({"message": "it was too hard", "code": "failed"});
    }
    view
}

fn find(state: &State, id: &str) -> Option<usize> {
    id.strip_prefix("job_")?
        .parse()
        .ok()
        .filter(|&index: &usize| index < state.jobs.len())
}

fn not_found(connection: UnixStream) -> std::io::Result<()> {
    answer(
        connection,
        404,
        &json!({"error": {"message": "no such job"}}),
    )
}

fn show(shared: &Shared, connection: UnixStream, id: &str) -> std::io::Result<()> {
    let state = shared.state.lock().unwrap();
    let Some(index) = find(&state, id) else {
        return not_found(connection);
    };
    answer(connection, 200, &view(&state.jobs[index], index))
}

fn list(shared: &Shared, connection: UnixStream, query: &str) -> std::io::Result<()> {
    let state = shared.state.lock().unwrap();
    let wanted = query.split_once("status=").map(|(_, status)| status);
    let jobs = state.jobs.iter().enumerate().rev();
    let jobs = jobs.filter(|(_, job)| wanted.is_none_or(|status| status == job.status));
    let data: Vec<Value> = jobs.map(|(index, job)| view(job, index)).collect();
    answer(
        connection,
        200,
        &json!({"object": "list", "data": data, "has_more": false}),
    )
}

fn cancel(shared: &Shared, connection: UnixStream, id: &str) -> std::io::Result<()> {
    let mut state = shared.state.lock().unwrap();
    let Some(index) = find(&state, id) else {
        return not_found(connection);
    };
    if !matches!(state.jobs[index].status, "completed" | "failed") {
        state.jobs[index].status = "cancelled";
    }
    shared.changed.notify_all();
    shared
        .seen
        .lock()
        .unwrap()
        .send(Seen::Cancelled(index))
        .unwrap();
    answer(connection, 200, &view(&state.jobs[index], index))
}

/// Streams two pieces, waits while jobs are held, then streams the rest and ends the job.
fn events(shared: &Shared, mut connection: UnixStream, id: &str) -> std::io::Result<()> {
    let (index, job) = {
        let mut state = shared.state.lock().unwrap();
        let Some(index) = find(&state, id) else {
            return not_found(connection);
        };
        if state.crowded > 0 {
            state.crowded -= 1;
            drop(state);
            let crowd =
                json!({"error": {"message": "too many connections", "code": "connections"}});
            return answer(connection, 429, &crowd);
        }
        (index, state.jobs[index].clone())
    };
    connection.write_all(
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n",
    )?;
    let pieces = pieces(&job.body);
    let live = matches!(job.status, "queued" | "running");
    let mut chunk = |piece: &str| {
        let choice = match job.endpoint.as_str() {
            "/v1/completions" => json!({"index": 0, "text": piece}),
            _ => json!({"index": 0, "delta": {"content": piece}}),
        };
        write!(
            connection,
            ": still here\n\ndata: {}\n\n",
            json!({"choices": [choice]})
        )
    };
    if live {
        for piece in &pieces[..2] {
            chunk(piece)?;
        }
    }
    shared
        .seen
        .lock()
        .unwrap()
        .send(Seen::Watched(index))
        .unwrap();
    {
        let mut state = shared.state.lock().unwrap();
        if live && state.break_streams > 0 {
            state.break_streams -= 1;
            return Ok(());
        }
        while state.hold
            && !(state.hold_until_refused && state.refused)
            && !state.away
            && state.jobs[index].status == "queued"
        {
            state = shared.changed.wait(state).unwrap();
        }
        if state.away {
            return Ok(());
        }
        if state.jobs[index].status == "queued" {
            let fails = job.body["prompt"] == "fail me" && !state.mended;
            state.jobs[index].status = if fails { "failed" } else { "completed" };
        }
    }
    if live {
        for piece in &pieces[2..] {
            chunk(piece)?;
        }
    }
    connection.write_all(b"data: [DONE]\n\n")
}

/// A path for a file beside the socket.
pub fn beside(socket: &Path, name: &str) -> PathBuf {
    socket.with_file_name(name)
}
