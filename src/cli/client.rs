//! HTTP/1.1 over the daemon's Unix socket.
//!
//! One connection for each request: on a Unix socket it costs microseconds, and a restart of the daemon is
//! then simply a failed request, never a half-dead connection in a pool.
//!
//! Invariant: never retries; that is [`super::reconnect`]'s decision.

use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Body, Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;

use super::{Error, open_files, sse, wire};

/// The largest answer that is read: a list of jobs or one result.
const MAX_ANSWER_BYTES: usize = 256 << 20;

/// The address of a daemon. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Client {
    socket: PathBuf,
    /// For the head of an answer; `None` is for ever.
    limit: Option<Duration>,
}

/// One answer with a status below 400, or a 503 of `/health`.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Value,
}

/// The events of one job as they come.
pub(super) struct Events {
    body: Incoming,
    parser: sse::Parser,
    ready: std::collections::VecDeque<sse::Event>,
    socket: String,
}

/// What a stream brings.
pub(super) enum Streamed {
    /// A piece of the output.
    Chunk(Value),
    /// Whatever streams of this job gave before is void, and all of it follows from the beginning.
    Restarted,
}

impl Client {
    pub(super) fn new(socket: PathBuf) -> Self {
        Client {
            socket,
            limit: None,
        }
    }

    /// The same for requests that only a daemon in trouble does not answer at once.
    pub(super) fn answering_within(self, limit: Duration) -> Self {
        Client {
            limit: Some(limit),
            ..self
        }
    }

    pub(super) fn socket(&self) -> &Path {
        &self.socket
    }

    pub(super) async fn get(&self, path: &str) -> Result<Value, Error> {
        self.json(Method::GET, path, None, None)
            .await
            .and_then(refuse)
    }

    /// `body` is JSON text. `key` becomes the `Idempotency-Key` header: the same request sent again is the same job.
    pub(super) async fn post(
        &self,
        path: &str,
        body: String,
        key: Option<&str>,
    ) -> Result<Value, Error> {
        self.json(Method::POST, path, Some(body), key)
            .await
            .and_then(refuse)
    }

    /// An answer whatever its status.
    pub(super) async fn get_any(&self, path: &str) -> Result<Answer, Error> {
        self.json(Method::GET, path, None, None).await
    }

    /// Opens the event stream at `path`.
    pub(super) async fn events(&self, path: &str) -> Result<Events, Error> {
        let response = self.send(Method::GET, path, None, None).await?;
        if response.status().as_u16() >= 400 {
            let answer = self.read(response).await?;
            return Err(refuse(answer).err().unwrap_or(Error::Interrupted));
        }
        Ok(Events {
            body: response.into_body(),
            parser: sse::Parser::default(),
            ready: std::collections::VecDeque::new(),
            socket: self.name(),
        })
    }

    async fn json(
        &self,
        method: Method,
        path: &str,
        body: Option<String>,
        key: Option<&str>,
    ) -> Result<Answer, Error> {
        let response = self.send(method, path, body, key).await?;
        self.read(response).await
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<String>,
        key: Option<&str>,
    ) -> Result<Response<Incoming>, Error> {
        // The daemon accepts any host on its socket; HTTP/1.1 wants one.
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "woolly");
        if body.is_some() {
            request = request.header("content-type", "application/json");
        }
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        let bytes = body.map(Bytes::from).unwrap_or_default();
        let request = request
            .body(Full::new(bytes))
            .map_err(|problem| Error::Usage(format!("{path:?} is no request: {problem}")))?;
        self.exchange(request).await
    }

    /// An answer whose body is not read yet.
    pub(super) async fn get_response(&self, path: &str) -> Result<Response<Incoming>, Error> {
        self.send(Method::GET, path, None, None).await
    }

    /// Sends a request on a connection of its own.
    pub(super) async fn exchange<B>(&self, request: Request<B>) -> Result<Response<Incoming>, Error>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let Some(limit) = self.limit else {
            return self.connect_and_send(request).await;
        };
        let answer = tokio::time::timeout(limit, self.connect_and_send(request)).await;
        answer.unwrap_or_else(|_| {
            let socket = self.name();
            Err(Error::Silent { socket, limit })
        })
    }

    async fn connect_and_send<B>(&self, request: Request<B>) -> Result<Response<Incoming>, Error>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let stream = UnixStream::connect(&self.socket).await.map_err(|problem| {
            match open_files::are_too_many(&problem) {
                true => Error::NoFiles(problem.to_string()),
                false => Error::Connect {
                    socket: self.name(),
                    problem: problem.to_string(),
                },
            }
        })?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|problem| self.lost(&problem))?;
        // Ends by itself when the request is answered or the connection breaks, and `sender` reports both.
        tokio::spawn(connection);
        sender
            .send_request(request)
            .await
            .map_err(|problem| self.lost(&problem))
    }

    /// Status and JSON body.
    pub(super) async fn read(&self, response: Response<Incoming>) -> Result<Answer, Error> {
        let status = response.status().as_u16();
        let bytes = Limited::new(response.into_body(), MAX_ANSWER_BYTES)
            .collect()
            .await
            .map_err(|problem| Error::Lost {
                socket: self.name(),
                problem: problem.to_string(),
            })?
            .to_bytes();
        let body = match serde_json::from_slice(&bytes) {
            Ok(body) => body,
            // A refusal in plain text is still a refusal; its text is the best sentence there is.
            Err(_) if status >= 400 => Value::String(String::from_utf8_lossy(&bytes).into_owned()),
            Err(problem) => {
                return Err(Error::Failed(format!(
                    "woollyd at {} answered no JSON: {problem}",
                    self.name()
                )));
            }
        };
        Ok(Answer { status, body })
    }

    fn name(&self) -> String {
        self.socket.display().to_string()
    }

    pub(super) fn lost(&self, problem: &hyper::Error) -> Error {
        Error::Lost {
            socket: self.name(),
            problem: problem.to_string(),
        }
    }
}

/// Errors of the daemon become [`Error::Refused`] (4xx and 503) or [`Error::Broken`].
pub(super) fn refuse(answer: Answer) -> Result<Value, Error> {
    let Answer { status, body } = answer;
    match status {
        ..400 => Ok(body),
        400..500 | 503 => {
            let message =
                wire::error_message(&body).unwrap_or_else(|| format!("HTTP status {status}"));
            Err(Error::Refused {
                status,
                message,
                body,
            })
        }
        _ => Err(Error::Broken {
            status,
            message: wire::error_message(&body).unwrap_or_default(),
            restarts: wire::error_code(&body) == Some(wire::STORE),
        }),
    }
}

impl Events {
    /// The next event; `None` after `[DONE]`, and where the job ended otherwise or its events are gone, which its row
    /// tells. A stream that ends before is [`Error::Lost`]: the daemon stopped in the middle. Events with names that
    /// this client does not know tell it nothing.
    pub(super) async fn next(&mut self) -> Result<Option<Streamed>, Error> {
        loop {
            match self.ready.pop_front() {
                Some(event) if event.name == wire::RESTARTED => {
                    return Ok(Some(Streamed::Restarted));
                }
                Some(event) if event.name == wire::GONE => return Ok(None),
                Some(event) if !event.name.is_empty() => continue,
                Some(event) if event.data == "[DONE]" => return Ok(None),
                Some(event) => return self.chunk(&event.data),
                None => {}
            }
            let lost = |problem: String| Error::Lost {
                socket: self.socket.clone(),
                problem,
            };
            let frame = match self.body.frame().await {
                None => return Err(lost("the stream ended early".into())),
                Some(Err(problem)) => return Err(lost(problem.to_string())),
                Some(Ok(frame)) => frame,
            };
            if let Some(bytes) = frame.data_ref() {
                let events = self.parser.push(bytes).map_err(|_| {
                    Error::Failed(format!(
                        "woollyd at {} sent an event without end",
                        self.socket
                    ))
                })?;
                self.ready.extend(events);
            }
        }
    }

    /// `None` for an error, which ends the stream.
    fn chunk(&self, data: &str) -> Result<Option<Streamed>, Error> {
        let payload: Value = serde_json::from_str(data).map_err(|problem| {
            Error::Failed(format!(
                "woollyd at {} sent an event that is no JSON: {problem}",
                self.socket
            ))
        })?;
        let is_error = wire::error_message(&payload).is_some();
        Ok((!is_error).then_some(Streamed::Chunk(payload)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_daemon_that_listens_and_never_answers_is_given_up() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("silent.sock");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let client = Client::new(socket.clone()).answering_within(Duration::from_millis(50));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let error = runtime.block_on(client.get_any("/health")).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "woollyd at {} did not answer within 0.05 s",
                socket.display()
            )
        );
        assert_eq!(error.code(), 3);
    }
}
