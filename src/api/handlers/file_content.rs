//! `GET /v1/files/{id}/content`: the bytes of a file, as a stream.

use std::io::{self, Read};

use axum::body::Body;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};

use crate::api::access::Caller;
use crate::api::refusal::Refusal;
use crate::api::server::Shared;

use super::{IdInPath, visible_file};

/// Bytes read at once: in a moment, because a file that was just written lies in memory.
const CHUNK: usize = 64 << 10;
/// Chunks that wait for a slow client. Full: reading waits.
const WAITING_CHUNKS: usize = 4;

pub(in crate::api) async fn handle(
    State(shared): State<Shared>,
    caller: Caller,
    id: IdInPath,
) -> Result<Response, Refusal> {
    let row = visible_file(&shared, caller, id).await?;
    let mut file = shared.queue.files().read(&row.file.stored_as)?;
    let (sender, chunks) = async_channel::bounded::<Result<Vec<u8>, io::Error>>(WAITING_CHUNKS);
    tokio::spawn(async move {
        loop {
            let mut chunk = vec![0; CHUNK];
            let read = file.read(&mut chunk).map(|count| {
                chunk.truncate(count);
                chunk
            });
            let is_last = read.as_ref().map_or(true, Vec::is_empty);
            // The error means that the client is gone.
            if read.as_ref().is_ok_and(Vec::is_empty) || sender.send(read).await.is_err() || is_last
            {
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
