//! Files to the daemon and back, piece by piece: their size is not the memory's.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

use http_body_util::{BodyExt, Empty, StreamBody};
use hyper::body::{Bytes, Frame};
use hyper::{Method, Request};
use serde_json::Value;

use super::Error;
use super::client::{Client, refuse};
use super::new_file::NewFile;

/// Bytes read from a file at once, and pieces that wait to be sent. Full: reading waits.
const CHUNK: usize = 64 << 10;
const WAITING_CHUNKS: usize = 4;
/// Lines that begin so do not stand in a file of JSON lines.
const BOUNDARY: &str = "woolly-7d1f0c6e2b9a";

impl Client {
    /// Uploads a file of batch requests; the file object.
    pub(super) async fn upload(&self, path: &Path) -> Result<Value, Error> {
        let mut file =
            File::open(path).map_err(|problem| Error::file("cannot read", path, &problem))?;
        // The daemon keeps the name for people; what would break out of the header is left out.
        let name: String = path
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default()
            .chars()
            .filter(|c| !c.is_control() && *c != '"' && *c != '\\')
            .take(60)
            .collect();
        let head = format!(
            "--{BOUNDARY}\r\ncontent-disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n--{BOUNDARY}\r\n\
             content-disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\r\n"
        );
        let tail = format!("\r\n--{BOUNDARY}--\r\n");
        let (sender, frames) = async_channel::bounded(WAITING_CHUNKS);
        let owned = path.to_owned();
        let reading = tokio::spawn(async move {
            let mut piece = Bytes::from(head);
            loop {
                // Nobody takes it any more: the request has failed, and says why.
                if sender
                    .send(Ok::<_, std::io::Error>(Frame::data(piece)))
                    .await
                    .is_err()
                {
                    return Ok(());
                }
                let mut chunk = vec![0; CHUNK];
                let count = file
                    .read(&mut chunk)
                    .map_err(|problem| Error::file("cannot read", &owned, &problem))?;
                if count == 0 {
                    break;
                }
                chunk.truncate(count);
                piece = Bytes::from(chunk);
            }
            let _ = sender.send(Ok(Frame::data(Bytes::from(tail)))).await;
            Ok(())
        });
        let request = Request::builder()
            .method(Method::POST)
            .uri("/v1/files")
            .header("host", "woolly")
            .header(
                "content-type",
                format!("multipart/form-data; boundary={BOUNDARY}"),
            )
            .body(StreamBody::new(Box::pin(frames)))
            .map_err(|problem| Error::Usage(format!("no request: {problem}")))?;
        let answered = match self.exchange(request).await {
            Ok(response) => self.read(response).await.and_then(refuse),
            Err(error) => Err(error),
        };
        let read = reading
            .await
            .map_err(|problem| Error::Failed(problem.to_string()))?;
        // A file that cannot be read is why the request broke off.
        read.and(answered)
    }

    /// Deletes what lies behind a path.
    pub(super) async fn delete(&self, path: &str) -> Result<(), Error> {
        let request = Request::builder()
            .method(Method::DELETE)
            .uri(path)
            .header("host", "woolly")
            .body(Empty::new())
            .map_err(|problem| Error::Usage(format!("{path:?} is no request: {problem}")))?;
        let response = self.exchange(request).await?;
        self.read(response).await.and_then(refuse).map(|_| ())
    }

    /// Copies what lies behind a path into a file; how many bytes these are.
    pub(super) async fn download(&self, path: &str, out: &mut NewFile) -> Result<u64, Error> {
        let response = self.get_response(path).await?;
        if response.status().as_u16() >= 400 {
            return self.read(response).await.and_then(refuse).map(|_| 0);
        }
        let expected = response
            .headers()
            .get("content-length")
            .and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        let mut body = response.into_body();
        let mut copied = 0;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|problem| self.lost(&problem))?;
            if let Some(bytes) = frame.data_ref() {
                copied += bytes.len() as u64;
                out.write_all(bytes)
                    .map_err(|problem| out.failed(&problem))?;
            }
        }
        match expected {
            Some(expected) if expected != copied => Err(Error::Failed(format!(
                "{path} broke off after {copied} of {expected} bytes"
            ))),
            _ => Ok(copied),
        }
    }
}
