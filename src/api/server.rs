//! The server: what every request shares, and the accept loop.

use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::connect_info::ConnectInfo;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;

use crate::queue::Queue;

use super::access::{Peer, Rights};
use super::connections::Limited;
use super::lifecycle::{Lifecycle, Phase};
use super::model_slot::{ModelSlot, Served};
use super::patient::Patient;
use super::refusal::Refusal;
use super::routes;

/// What the API is made of.
pub struct Api {
    pub queue: Queue,
    pub model: ModelSlot,
    pub rights: Rights,
    pub lifecycle: Lifecycle,
    /// Larger bodies are answered 413.
    pub max_body_bytes: usize,
    /// The same for uploaded files.
    pub max_file_bytes: u64,
}

/// [`Api`], shared by all requests.
pub(super) type Shared = Arc<Api>;

impl Api {
    /// The model, for requests that need it now.
    pub(super) fn served(&self) -> Result<Arc<Served>, Refusal> {
        self.model.get().ok_or_else(Refusal::warming)
    }

    /// Refuses new work once the daemon is draining.
    pub(super) fn takes_work(&self) -> Result<(), Refusal> {
        match self.lifecycle.phase() {
            Phase::Serving => Ok(()),
            Phase::Draining | Phase::Stopped => Err(Refusal::draining()),
        }
    }
}

/// How long a client may keep the server waiting. Nobody is sent away who waits for an answer, or follows one.
#[derive(Debug, Clone, Copy)]
struct Patience {
    /// For the whole head of a request, from the connection or the answer before on.
    head: Duration,
    /// For the next bytes of its body.
    body: Duration,
}

const PATIENCE: Patience = Patience {
    head: Duration::from_secs(30),
    body: Duration::from_secs(60),
};

/// Answers requests on `listener` (which does not block) until the lifecycle is stopped and every open request is answered.
///
/// There are places for as many connections as the files of the process allow; others wait in the backlog.
pub async fn serve(listener: std::os::unix::net::UnixListener, api: Api) -> io::Result<()> {
    serve_with(listener, api, PATIENCE).await
}

async fn serve_with(
    listener: std::os::unix::net::UnixListener,
    api: Api,
    patience: Patience,
) -> io::Result<()> {
    let mut listener = Limited::new(UnixListener::from_std(listener)?, api.rights.clone());
    let lifecycle = api.lifecycle.clone();
    let router = routes::router(Arc::new(api));
    // Every connection holds a receiver: none is left when all are gone.
    let (open, connection) = watch::channel(());
    loop {
        let (stream, peer, place) = tokio::select! {
            accepted = listener.accept() => accepted,
            () = lifecycle.stopped() => break,
        };
        let (router, lifecycle) = (router.clone(), lifecycle.clone());
        let connection = connection.clone();
        tokio::spawn(async move {
            answer(stream, peer, router, lifecycle, patience).await;
            drop((place, connection));
        });
    }
    drop((listener, connection));
    open.closed().await;
    Ok(())
}

/// Answers the requests of one client, one after the other.
async fn answer(
    stream: UnixStream,
    peer: Peer,
    router: Router,
    lifecycle: Lifecycle,
    patience: Patience,
) {
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |request: Request<Incoming>| {
        let mut request = request.map(|body| Body::new(Patient::new(body, patience.body)));
        request.extensions_mut().insert(ConnectInfo(peer));
        let answered = router.call(request);
        async { answered.await.map_err(|error: Infallible| error) }
    });
    let mut server = http1::Builder::new();
    server
        .timer(TokioTimer::new())
        .header_read_timeout(patience.head);
    let mut connection = pin!(server.serve_connection(TokioIo::new(stream), service));
    // An error is one of the client, who is gone or was too slow.
    tokio::select! {
        _ = connection.as_mut() => return,
        () = lifecycle.stopped() => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Read, Write};
    use std::os::unix::net::UnixStream as Client;

    use crate::config;
    use crate::job::JobId;
    use crate::queue::NewJob;

    use super::*;

    const SHORT: Duration = Duration::from_millis(20);
    const LONG: Duration = Duration::from_secs(3_600);

    /// Runs `test` with a server of this patience, and the queue behind it.
    fn with_server(patience: Patience, test: impl FnOnce(&dyn Fn(&str) -> Client, &Queue)) {
        let root = tempfile::tempdir().unwrap();
        let queue = Queue::open(&root.path().join("state"), &config::Queue::PLAIN).unwrap();
        let path = root.path().join("w.sock");
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        listener.set_nonblocking(true).unwrap();
        let lifecycle = Lifecycle::new();
        let api = Api {
            queue: queue.clone(),
            model: ModelSlot::default(),
            rights: Rights::new(rustix::process::getuid().as_raw(), vec![]),
            lifecycle: lifecycle.clone(),
            max_body_bytes: 1_000,
            max_file_bytes: 1_000,
        };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let server = runtime.spawn(async move { serve_with(listener, api, patience).await });
        let send = |text: &str| {
            let mut client = Client::connect(&path).unwrap();
            client.write_all(text.as_bytes()).unwrap();
            client
        };
        test(&send, &queue);
        lifecycle.advance(Phase::Stopped);
        runtime.block_on(server).unwrap().unwrap();
        queue.close();
    }

    /// All until the server closes the connection.
    fn rest(mut client: impl Read) -> String {
        let mut text = String::new();
        client.read_to_string(&mut text).unwrap();
        text
    }

    fn head(client: &mut impl BufRead) -> String {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") && client.read_line(&mut head).unwrap() > 0 {}
        head
    }

    #[test]
    fn a_head_that_does_not_come_or_is_never_whole_ends_its_connection() {
        let patience = Patience {
            head: SHORT,
            body: LONG,
        };
        with_server(patience, |send, _| {
            assert_eq!(rest(send("")), "");
            assert!(!rest(send("GET /health HTTP/1.1\r\nhost: t\r\n")).contains("200 OK"));
            // Also behind an answer: a connection that nobody uses any more.
            let used = rest(send("GET /health HTTP/1.1\r\nhost: t\r\n\r\n"));
            assert_eq!(used.matches("HTTP/1.1 ").count(), 1, "{used}");
        });
    }

    #[test]
    fn who_waits_for_an_answer_is_not_sent_away() {
        let patience = Patience {
            head: SHORT,
            body: SHORT,
        };
        with_server(patience, |send, queue| {
            let job = NewJob::plain("{}");
            let runtime = tokio::runtime::Builder::new_current_thread()
                .build()
                .unwrap();
            runtime.block_on(queue.submit(job)).unwrap();
            let follows = send("GET /v1/jobs/job_1/events HTTP/1.1\r\nhost: t\r\n\r\n");
            let mut follows = BufReader::new(follows);
            let head = head(&mut follows);
            assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
            // Longer than the patience: two others, one after the other, have come to its end.
            assert_eq!(rest(send("")) + &rest(send("")), "");
            runtime.block_on(queue.cancel(JobId(1))).unwrap();
            let told = rest(follows);
            assert!(told.contains("the job was cancelled"), "{told}");
        });
    }

    #[test]
    fn a_body_that_does_not_come_on_is_refused() {
        let patience = Patience {
            head: LONG,
            body: SHORT,
        };
        with_server(patience, |send, _| {
            let request = "POST /v1/batches HTTP/1.1\r\nhost: t\r\ncontent-length: 10\r\n\r\n{\"a";
            let answer = rest(send(request));
            assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
            assert!(answer.contains("nothing more of it came"), "{answer}");
        });
    }
}
