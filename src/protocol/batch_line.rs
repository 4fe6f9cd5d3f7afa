//! One line of a batch: OpenAI's batch format, or just a prompt.
//!
//! Input: `{"custom_id", "method": "POST", "url", "body"}`; an object with only the fields of a request
//! (`prompt` or `messages`); or, in a text file, the prompt itself. Output:
//! `{"id", "custom_id", "response": {"status_code", "request_id", "body"}, "error"}`.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::job::Endpoint;

use super::fields::Fields;
use super::render::json;
use super::{ErrorBody, RequestError, validate};

/// What the lines of a file are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineFormat {
    /// A JSON object per line.
    Json,
    /// A prompt per line.
    Text,
}

/// One request of a batch.
#[derive(Debug, Clone, PartialEq)]
pub struct BatchLine {
    /// Unique in its file; the caller checks that.
    pub custom_id: String,
    pub endpoint: Endpoint,
    pub body: Map<String, Value>,
}

impl BatchLine {
    /// Reads a line; `number` counts from 1 and names lines without an id `line-<number>`. `None` for a
    /// blank line. The body is not checked: see [`BatchLine::check`].
    pub fn parse(
        line: &str,
        number: u64,
        format: LineFormat,
    ) -> Result<Option<Self>, RequestError> {
        let line = line.trim_end_matches(['\r', '\n']);
        if line.trim().is_empty() {
            return Ok(None);
        }
        let custom_id = format!("line-{number}");
        if format == LineFormat::Text {
            let body = Map::from_iter([("prompt".to_owned(), Value::from(line))]);
            return Ok(Some(BatchLine {
                custom_id,
                endpoint: Endpoint::Completions,
                body,
            }));
        }
        match serde_json::from_str(line) {
            Ok(Value::Object(object))
                if object.contains_key("body") || object.contains_key("url") =>
            {
                Self::openai(object).map(Some)
            }
            Ok(Value::Object(object)) => Self::bare(object, custom_id).map(Some),
            Ok(_) => Err(RequestError::body("the line must be a JSON object")),
            Err(error) => Err(RequestError::body(format!(
                "the line is not valid JSON: {error}"
            ))),
        }
    }

    fn openai(object: Map<String, Value>) -> Result<Self, RequestError> {
        let mut fields = Fields::from_value(Value::Object(object), String::new())?;
        let custom_id = fields.string("custom_id")?.filter(|id| !id.is_empty());
        let custom_id = custom_id.ok_or_else(|| fields.error("custom_id", "is required"))?;
        if fields
            .string("method")?
            .is_some_and(|method| method != "POST")
        {
            return Err(fields.error("method", "must be POST"));
        }
        let url = fields.string("url")?;
        let endpoint = url
            .as_deref()
            .and_then(Endpoint::from_path)
            .ok_or_else(|| {
                let known = Endpoint::ALL.map(Endpoint::path).join(" or ");
                fields.error("url", format!("must be {known}"))
            })?;
        match fields.required("body")? {
            Value::Object(body) => Ok(BatchLine {
                custom_id,
                endpoint,
                body,
            }),
            _ => Err(fields.error("body", "must be an object")),
        }
    }

    /// The fields of a request, and perhaps an id.
    fn bare(mut body: Map<String, Value>, number: String) -> Result<Self, RequestError> {
        let custom_id = match body.shift_remove("custom_id") {
            None | Some(Value::Null) => number,
            Some(Value::String(id)) if !id.is_empty() => id,
            Some(_) => {
                return Err(RequestError::field(
                    "custom_id",
                    "must be a string that is not empty",
                ));
            }
        };
        let endpoint = if body.contains_key("messages") {
            Endpoint::ChatCompletions
        } else if body.contains_key("prompt") {
            Endpoint::Completions
        } else {
            return Err(RequestError::body(
                "the line has neither body and url, nor prompt, nor messages",
            ));
        };
        Ok(BatchLine {
            custom_id,
            endpoint,
            body,
        })
    }

    /// Checks the body as the endpoint would.
    pub fn check(&self) -> Result<(), RequestError> {
        validate(self.endpoint, &self.body_text())
    }

    /// The body as JSON text.
    pub fn body_text(&self) -> Vec<u8> {
        json(&self.body).into_bytes()
    }
}

/// One line of a batch's output.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OutputLine {
    pub id: String,
    pub custom_id: String,
    /// Null when the request was never run.
    pub response: Option<LineResponse>,
    /// Null when there is a response.
    pub error: Option<LineError>,
}

/// What the endpoint answered, error bodies included.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LineResponse {
    pub status_code: u16,
    pub request_id: String,
    pub body: Value,
}

/// Why a request was never run: `batch_expired`, `batch_cancelled`, ...
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineError {
    pub code: String,
    pub message: String,
}

impl OutputLine {
    /// The line of a request that was answered; `job` is the job's id.
    pub fn answered(custom_id: &str, job: &str, status_code: u16, body: Value) -> Self {
        OutputLine {
            id: format!("batch_req_{job}"),
            custom_id: custom_id.to_owned(),
            response: Some(LineResponse {
                status_code,
                request_id: job.to_owned(),
                body,
            }),
            error: None,
        }
    }

    /// The line of a request that was refused before it became a job.
    pub fn refused(custom_id: &str, status_code: u16, error: &ErrorBody) -> Self {
        let body = serde_json::json!({ "error": error.error });
        Self::answered(custom_id, custom_id, status_code, body)
    }

    /// The line of a request that was never run.
    pub fn not_run(custom_id: &str, job: &str, code: &str, message: &str) -> Self {
        OutputLine {
            id: format!("batch_req_{job}"),
            custom_id: custom_id.to_owned(),
            response: None,
            error: Some(LineError {
                code: code.to_owned(),
                message: message.to_owned(),
            }),
        }
    }

    /// The line without its line break.
    pub fn to_json(&self) -> String {
        json(self)
    }
}
