//! A small HTTP/1.1 client over a Unix socket: what goes over the wire is what the tests see.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;

/// No daemon is silent for so long; a test that waits for ever tells nobody why.
const PATIENCE: Duration = Duration::from_secs(180);

/// Talks to the daemon at one socket, one connection per request.
#[derive(Debug, Clone)]
pub struct Client {
    socket: PathBuf,
}

#[derive(Debug, Clone)]
pub struct Response {
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

/// The `data:` payloads of server-sent events, as they come.
pub struct Stream {
    lines: BufReader<Box<dyn Read>>,
}

impl Client {
    pub fn new(socket: &Path) -> Self {
        Client {
            socket: socket.to_owned(),
        }
    }

    pub fn get(&self, path: &str) -> Response {
        self.send("GET", path, &[], b"")
    }

    pub fn post(&self, path: &str, body: &Value) -> Response {
        self.send("POST", path, &[], body.to_string().as_bytes())
    }

    /// Submits a job; its id.
    #[track_caller]
    pub fn submit(&self, job: &Value) -> String {
        let accepted = self.post("/v1/jobs", job).expect(202);
        assert_eq!(accepted["object"], "job");
        accepted["id"].as_str().unwrap().to_owned()
    }

    #[track_caller]
    pub fn job(&self, id: &str) -> Value {
        self.get(&format!("/v1/jobs/{id}")).expect(200)
    }

    /// Follows a job to its end and returns it.
    #[track_caller]
    pub fn ended(&self, id: &str) -> Value {
        let events = self.stream("GET", &format!("/v1/jobs/{id}/events"), b"");
        let last = events.last().unwrap();
        let job = self.job(id);
        if job["status"] == "completed" {
            assert_eq!(last, "[DONE]");
        } else {
            let error: Value = serde_json::from_str(&last).unwrap();
            assert!(error["error"]["message"].is_string(), "{error}");
        }
        job
    }

    pub fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Response {
        self.try_send(method, path, headers, body).unwrap()
    }

    /// The same with a daemon that may go at any time: an error when there was no whole answer.
    pub fn try_send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> io::Result<Response> {
        let mut reader = BufReader::new(self.try_begin(method, path, headers, body)?);
        let (status, headers) = head(&mut reader)?;
        let mut text = Vec::new();
        body_of(reader, &headers).read_to_end(&mut text)?;
        let response = Response {
            status,
            headers,
            body: text,
        };
        match response.header("content-length") {
            Some(length) if length != response.body.len().to_string() => {
                Err(io::ErrorKind::UnexpectedEof.into())
            }
            _ => Ok(response),
        }
    }

    /// Sends a request and gives back the connection, before anything was answered.
    pub fn begin(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> UnixStream {
        self.try_begin(method, path, headers, body).unwrap()
    }

    fn try_begin(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> io::Result<UnixStream> {
        let mut connection = UnixStream::connect(&self.socket)?;
        connection.set_read_timeout(Some(PATIENCE))?;
        let mut text = format!("{method} {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n");
        if !body.is_empty() {
            text += &format!("content-length: {}\r\n", body.len());
            if headers.iter().all(|(name, _)| *name != "content-type") {
                text += "content-type: application/json\r\n";
            }
        }
        for (name, value) in headers {
            text += &format!("{name}: {value}\r\n");
        }
        text += "\r\n";
        // A body that is refused early may not be read to its end.
        let _ = connection
            .write_all(text.as_bytes())
            .and_then(|()| connection.write_all(body));
        Ok(connection)
    }

    /// A request that is answered 200 with server-sent events.
    #[track_caller]
    pub fn stream(&self, method: &str, path: &str, body: &[u8]) -> Stream {
        let (status, stream) = self.try_stream(method, path, &[], body).unwrap();
        assert_eq!(status, 200, "{method} {path}");
        stream
    }

    /// The same whatever the status, with a daemon that may go at any time.
    pub fn try_stream(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> io::Result<(u16, Stream)> {
        let mut reader = BufReader::new(self.try_begin(method, path, headers, body)?);
        let (status, headers) = head(&mut reader)?;
        let lines = BufReader::new(body_of(reader, &headers));
        Ok((status, Stream { lines }))
    }
}

impl Response {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&self.body)))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    /// The body, after checking the status.
    #[track_caller]
    pub fn expect(self, status: u16) -> Value {
        assert_eq!(
            self.status,
            status,
            "{}",
            String::from_utf8_lossy(&self.body)
        );
        self.json()
    }
}

impl Stream {
    /// What stands where events were expected, such as the body of a refusal.
    pub fn rest(mut self) -> io::Result<String> {
        let mut text = String::new();
        self.lines.read_to_string(&mut text)?;
        Ok(text)
    }
}

impl Iterator for Stream {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut line = String::new();
            // Signs of life between events do not count.
            if self.lines.read_line(&mut line).ok()? == 0 || Instant::now() > deadline {
                return None;
            }
            if let Some(data) = line.trim_end().strip_prefix("data: ") {
                return Some(data.to_owned());
            }
        }
    }
}

/// The form of `POST /v1/files`: its content type and its body.
pub fn multipart(purpose: &str, content: &[u8]) -> (String, Vec<u8>) {
    const BOUNDARY: &str = "woolly-test-boundary";
    let mut body = format!(
        "--{BOUNDARY}\r\ncontent-disposition: form-data; name=\"purpose\"\r\n\r\n{purpose}\r\n--{BOUNDARY}\r\n\
         content-disposition: form-data; name=\"file\"; filename=\"in.jsonl\"\r\n\
         content-type: application/octet-stream\r\n\r\n"
    )
    .into_bytes();
    body.extend_from_slice(content);
    body.extend_from_slice(format!("\r\n--{BOUNDARY}--\r\n").as_bytes());
    (format!("multipart/form-data; boundary={BOUNDARY}"), body)
}

fn head(reader: &mut impl BufRead) -> io::Result<(u16, Vec<(String, String)>)> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let status = line
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| io::Error::other(format!("not a status line: {line:?}")))?;
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        match line.trim_end().split_once(": ") {
            Some((name, value)) => headers.push((name.to_ascii_lowercase(), value.to_owned())),
            None => return Ok((status, headers)),
        }
    }
}

fn body_of(reader: BufReader<UnixStream>, headers: &[(String, String)]) -> Box<dyn Read> {
    let is_chunked = headers
        .iter()
        .any(|(name, value)| name == "transfer-encoding" && value == "chunked");
    if is_chunked {
        Box::new(Chunked { reader, left: 0 })
    } else {
        Box::new(reader)
    }
}

/// The payload of a chunked body; ends early when the connection does.
struct Chunked {
    reader: BufReader<UnixStream>,
    left: usize,
}

impl Read for Chunked {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        while self.left == 0 {
            let mut size = String::new();
            if self.reader.read_line(&mut size)? == 0 {
                return Ok(0);
            }
            let size = size.trim();
            // The line end after each chunk.
            if size.is_empty() {
                continue;
            }
            self.left = usize::from_str_radix(size, 16).map_err(std::io::Error::other)?;
            if self.left == 0 {
                return Ok(0);
            }
        }
        let wanted = buffer.len().min(self.left);
        let read = self.reader.read(&mut buffer[..wanted])?;
        self.left -= read;
        Ok(read)
    }
}
