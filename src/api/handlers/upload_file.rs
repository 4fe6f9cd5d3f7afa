//! `POST /v1/files`: a form with `purpose` (`batch`) and `file`. Its bytes go to disk as they come.

use axum::extract::multipart::{Field, MultipartError, MultipartRejection};
use axum::extract::{Multipart, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Map, Value};

use crate::api::access::Caller;
use crate::api::batch_view;
use crate::api::body::json_response;
use crate::api::refusal::Refusal;
use crate::api::server::Shared;
use crate::api::submission::in_background;
use crate::protocol::batches::{PURPOSE_BATCH, kept_seconds};
use crate::queue::NewStored;
use crate::queue::batch::NewFile;

/// Bytes of a file's name, and of the other fields, at most.
const LONGEST_FIELD: usize = 255;

pub(in crate::api) async fn handle(
    State(shared): State<Shared>,
    caller: Caller,
    form: Result<Multipart, MultipartRejection>,
) -> Result<Response, Refusal> {
    shared.takes_work()?;
    let mut form = form.map_err(|error| Refusal::bad_request(error.body_text()))?;
    let (mut purpose, mut stored, mut kept) = (None, None, Map::new());
    while let Some(field) = form.next_field().await.map_err(broken)? {
        match field.name() {
            Some("purpose") => purpose = Some(short_text(field).await?),
            Some("file") if stored.is_none() => {
                let name = field.file_name().unwrap_or("upload").to_owned();
                if name.len() > LONGEST_FIELD {
                    let problem =
                        format!("the name of file must have at most {LONGEST_FIELD} bytes");
                    return Err(Refusal::bad_field("file", problem));
                }
                stored = Some((name, store(&shared, field).await?));
            }
            Some("expires_after[anchor]") => {
                kept.insert("anchor".to_owned(), short_text(field).await?.into());
            }
            Some("expires_after[seconds]") => {
                let text = short_text(field).await?;
                let seconds = text.parse::<i64>().map_or(text.into(), Value::from);
                kept.insert("seconds".to_owned(), seconds);
            }
            // Unknown ones change nothing.
            _ => _ = short_text(field).await?,
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
    let bytes = stored.bytes();
    // Syncing takes as long as the disk does.
    let stored_as = in_background(move || stored.finish()).await??;
    let file = NewFile {
        uid: caller.uid,
        purpose: PURPOSE_BATCH.to_owned(),
        name,
        stored_as: stored_as.clone(),
        bytes,
        kept_s,
    };
    match shared.queue.add_file(file).await {
        Ok(row) => Ok(json_response(StatusCode::OK, &batch_view::file(&row))),
        Err(error) => {
            shared.queue.files().remove(&stored_as);
            Err(error.into())
        }
    }
}

async fn store(shared: &Shared, mut field: Field<'_>) -> Result<NewStored, Refusal> {
    let mut file = shared.queue.files().create()?;
    while let Some(chunk) = field.chunk().await.map_err(broken)? {
        if file.bytes() + chunk.len() as u64 > shared.max_file_bytes {
            let limit = usize::try_from(shared.max_file_bytes).unwrap_or(usize::MAX);
            return Err(Refusal::too_large(limit));
        }
        file.write(&chunk)?;
    }
    Ok(file)
}

async fn short_text(mut field: Field<'_>) -> Result<String, Refusal> {
    let mut bytes = vec![];
    while let Some(chunk) = field.chunk().await.map_err(broken)? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() > LONGEST_FIELD {
            let problem = format!("fields beside file must have at most {LONGEST_FIELD} bytes");
            return Err(Refusal::bad_request(problem));
        }
    }
    String::from_utf8(bytes).map_err(|_| Refusal::bad_request("a field of the form is no text"))
}

fn broken(error: MultipartError) -> Refusal {
    Refusal::bad_request(format!("the form broke off: {}", error.body_text()))
}
