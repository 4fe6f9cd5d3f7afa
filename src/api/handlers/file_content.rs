//! `GET /v1/files/{id}/content`: the bytes of a file, as a stream.

use std::io::{self, Read};

use axum::body::Body;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};

use crate::api::access::Caller;
use crate::api::refusal::Refusal;
use crate::api::server::Shared;
use crate::api::submission::in_background;
use crate::queue::Error;

use super::{IdInPath, visible_file};

/// Bytes read at once.
const CHUNK: usize = 256 << 10;
/// Chunks that wait for a slow client. Full: reading waits.
const WAITING_CHUNKS: usize = 2;

pub(in crate::api) async fn handle(
    State(shared): State<Shared>,
    caller: Caller,
    id: IdInPath,
) -> Result<Response, Refusal> {
    let row = visible_file(&shared, caller, id).await?;
    let files = shared.queue.files().clone();
    let opened = in_background(move || files.read(&row.file.stored_as)).await?;
    let mut file = opened.map_err(|error| match error {
        Error::NotFound => Refusal::unknown(format!("there is no file {}", row.id)),
        other => other.into(),
    })?;
    let (sender, chunks) = async_channel::bounded::<Result<Vec<u8>, io::Error>>(WAITING_CHUNKS);
    tokio::spawn(async move {
        loop {
            let read = move || {
                let mut chunk = vec![0; CHUNK];
                let count = file.read(&mut chunk)?;
                chunk.truncate(count);
                Ok::<_, io::Error>((file, chunk))
            };
            let chunk = match in_background(read).await {
                Ok(Ok((_, chunk))) if chunk.is_empty() => return,
                Ok(Ok((rest, chunk))) => {
                    file = rest;
                    chunk
                }
                Ok(Err(error)) => {
                    _ = sender.send(Err(error)).await;
                    return;
                }
                // The daemon ends.
                Err(_) => return,
            };
            // The error means that the client is gone.
            if sender.send(Ok(chunk)).await.is_err() {
                return;
            }
        }
    });
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (header::CONTENT_LENGTH, row.file.bytes.to_string()),
    ];
    Ok((headers, Body::from_stream(chunks)).into_response())
}
