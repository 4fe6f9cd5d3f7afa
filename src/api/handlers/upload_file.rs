//! `POST /v1/files`: a form with `purpose` (`batch`) and `file`. Its bytes go to disk as they come.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::multipart::{Field, MultipartError};
use axum::extract::{FromRequest, Multipart, Request, State};
use axum::http::{StatusCode, header};
use axum::response::Response;
use serde_json::{Map, Value};

use crate::api::access::Caller;
use crate::api::batch_view;
use crate::api::body::json_response;
use crate::api::form::{Counted, FormBody, MOST_AROUND, TooMuchAround};
use crate::api::refusal::Refusal;
use crate::api::server::Shared;
use crate::api::submission::in_background;
use crate::protocol::batches::{PURPOSE_BATCH, kept_seconds};
use crate::queue::batch::NewFile;
use crate::queue::{NewStored, Upload};

/// Bytes of a file's name, and of the other fields, at most.
const LONGEST_FIELD: usize = 255;
/// Bytes that are written at once. As often it is looked whether there is still room in the queue.
const CHUNK: usize = 1 << 20;

pub(in crate::api) async fn handle(
    State(shared): State<Shared>,
    caller: Caller,
    request: Request,
) -> Result<Response, Refusal> {
    shared.takes_work()?;
    let length = request.headers().get(header::CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    let mut upload = shared.queue.upload(caller.uid);
    if let Some(length) = length {
        has_room(&shared, &mut upload, length.saturating_sub(MOST_AROUND)).await?;
    }
    let counted = Arc::<Counted>::default();
    let of_body = counted.clone();
    let request = request.map(|body| Body::new(FormBody::new(body, of_body)));
    let mut form = Multipart::from_request(request, &shared)
        .await
        .map_err(|error| Refusal::bad_request(error.body_text()))?;
    let broken = |error| broken(&counted, &error);
    let (mut purpose, mut stored, mut kept) = (None, None, Map::new());
    while let Some(field) = form.next_field().await.map_err(broken)? {
        match field.name() {
            Some("purpose") => purpose = Some(short_text(field, &counted).await?),
            Some("file") if stored.is_none() => {
                let name = field.file_name().unwrap_or("upload").to_owned();
                if name.len() > LONGEST_FIELD {
                    let problem =
                        format!("the name of file must have at most {LONGEST_FIELD} bytes");
                    return Err(Refusal::bad_field("file", problem));
                }
                stored = Some((name, store(&shared, &mut upload, field, &counted).await?));
            }
            Some("file") => return Err(Refusal::bad_field("file", "file may be given once")),
            Some("expires_after[anchor]") => {
                let text = short_text(field, &counted).await?;
                kept.insert("anchor".to_owned(), text.into());
            }
            Some("expires_after[seconds]") => {
                let text = short_text(field, &counted).await?;
                let seconds = text.parse::<i64>().map_or(text.into(), Value::from);
                kept.insert("seconds".to_owned(), seconds);
            }
            // Unknown ones change nothing.
            _ => _ = short_text(field, &counted).await?,
        }
    }
    if purpose.as_deref() != Some(PURPOSE_BATCH) {
        return Err(Refusal::bad_field("purpose", "purpose must be batch"));
    }
    let kept = (!kept.is_empty()).then_some(Value::Object(kept));
    let kept_s = kept
        .map(|kept| kept_seconds("expires_after", kept))
        .transpose()?;
    let (name, stored) = stored.ok_or_else(|| Refusal::bad_field("file", "file is required"))?;
    let queue = shared.queue.clone();
    // Not to be broken off between disk and store, whether or not the client is still there.
    let add = move || {
        let bytes = stored.bytes();
        let whole = stored.finish()?;
        let added = queue.add_file_blocking(NewFile {
            uid: caller.uid,
            purpose: PURPOSE_BATCH.to_owned(),
            name,
            stored_as: whole.name().to_owned(),
            bytes,
            kept_s,
        });
        whole.settle(&added);
        // From here on it counts as one that is there.
        drop(upload);
        added
    };
    let row = in_background(add).await??;
    Ok(json_response(StatusCode::OK, &batch_view::file(&row)))
}

/// Whether a file of so many bytes would be taken in now, beside the others that are on their way.
async fn has_room(shared: &Shared, upload: &mut Upload, bytes: u64) -> Result<(), Refusal> {
    if bytes > shared.max_file_bytes {
        let limit = usize::try_from(shared.max_file_bytes).unwrap_or(usize::MAX);
        return Err(Refusal::too_large(limit));
    }
    Ok(upload.admit(bytes).await?)
}

async fn store(
    shared: &Shared,
    upload: &mut Upload,
    mut field: Field<'_>,
    counted: &Counted,
) -> Result<NewStored, Refusal> {
    let files = shared.queue.files().clone();
    let mut file = in_background(move || files.create()).await??;
    let mut chunk = Vec::new();
    loop {
        let piece = field
            .chunk()
            .await
            .map_err(|error| broken(counted, &error))?;
        if let Some(piece) = &piece {
            counted.add_content(piece.len());
            chunk.extend_from_slice(piece);
        }
        if piece.is_none() || chunk.len() >= CHUNK {
            has_room(shared, upload, file.bytes() + chunk.len() as u64).await?;
            let write = move || {
                file.write(&chunk)?;
                chunk.clear();
                Ok::<_, crate::queue::Error>((file, chunk))
            };
            (file, chunk) = in_background(write).await??;
        }
        if piece.is_none() {
            return Ok(file);
        }
    }
}

async fn short_text(mut field: Field<'_>, counted: &Counted) -> Result<String, Refusal> {
    let mut bytes = vec![];
    while let Some(chunk) = field
        .chunk()
        .await
        .map_err(|error| broken(counted, &error))?
    {
        bytes.extend_from_slice(&chunk);
        if bytes.len() > LONGEST_FIELD {
            let problem = format!("fields beside file must have at most {LONGEST_FIELD} bytes");
            return Err(Refusal::bad_request(problem));
        }
    }
    String::from_utf8(bytes).map_err(|_| Refusal::bad_request("a field of the form is no text"))
}

fn broken(counted: &Counted, error: &MultipartError) -> Refusal {
    if counted.is_too_much_around() {
        return Refusal::bad_request(TooMuchAround.to_string());
    }
    Refusal::bad_request(format!("the form broke off: {}", error.body_text()))
}
