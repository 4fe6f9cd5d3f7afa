//! The lines of a batch: OpenAI's batch format, or just a prompt; and the lines of its output.
//!
//! Input: `{"custom_id", "method": "POST", "url", "body"}`, or the prompt itself. Output:
//! `{"id", "custom_id", "response": {"status_code", "request_id", "body"}, "error"}`.
//!
//! Kinds of mistakes are told apart. A line without a usable `custom_id` makes the file unusable, because no line of
//! the output could say whose it is. One of what stands around the body ([`BatchLine::mistake`]) is one of who wrote the
//! file. What is wrong inside of the body is answered as the endpoint would: with status 400.
//!
//! Invariant: one line at a time. That no `custom_id` is used twice is checked by who holds the file, and
//! the fields of the body are checked by the endpoint.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::fields::Fields;
use super::render::json;
use super::{ErrorBody, ErrorKind, JobRequest, RequestError};

/// Bytes of a `custom_id`: it is stored with its job, and stands in the output.
const LONGEST_ID: usize = 512;

/// One request of a batch.
#[derive(Debug, Clone, PartialEq)]
pub struct BatchLine {
    pub custom_id: String,
    /// What to run, or why this line cannot run.
    pub request: Result<JobRequest, RequestError>,
}

impl BatchLine {
    /// A line of a file of batch requests. An error is one of the file.
    pub fn openai(text: &str) -> Result<Self, RequestError> {
        let value: Value =
            serde_json::from_str(text.trim_end()).map_err(|error| not_json(&error))?;
        let mut fields = Fields::from_value(value, String::new())
            .map_err(|_| RequestError::body("the line must be a JSON object"))?;
        let custom_id = fields
            .string("custom_id")?
            .filter(|id| !id.is_empty())
            .ok_or_else(|| fields.error("custom_id", "is required"))?;
        if custom_id.len() > LONGEST_ID {
            let problem = format!("must have at most {LONGEST_ID} bytes");
            return Err(fields.error("custom_id", problem));
        }
        let request = request(&mut fields);
        Ok(BatchLine { custom_id, request })
    }

    /// What is wrong around the body: with the method, the url, or that there is no body.
    pub fn mistake(&self) -> Option<&RequestError> {
        let error = self.request.as_ref().err()?;
        let param = error.param.as_deref();
        let is_inside = param.is_some_and(|param| param.starts_with("body."));
        (!is_inside).then_some(error)
    }

    /// A line that is a prompt, or has one in it. Such a line has no id but its number, and it does not say how to
    /// sample: the request made of its text comes from the caller.
    pub fn prompt(number: u64, request: JobRequest) -> Self {
        BatchLine {
            custom_id: format!("line-{number}"),
            request: Ok(request),
        }
    }
}

/// The line is one, whatever its number in the file: only the column says where.
fn not_json(error: &serde_json::Error) -> RequestError {
    let text = error.to_string();
    let problem = text.split(" at line ").next().unwrap_or_default();
    let column = error.column();
    RequestError::body(format!(
        "the line is not valid JSON: {problem} at column {column}"
    ))
}

fn request(fields: &mut Fields) -> Result<JobRequest, RequestError> {
    if fields.string("method")?.as_deref() != Some("POST") {
        return Err(fields.error("method", "must be POST"));
    }
    let endpoint = fields.endpoint("url")?;
    let body = fields.object("body")?;
    match body.get("stream") {
        None | Some(Value::Null | Value::Bool(false)) => Ok(JobRequest::new(endpoint, body)),
        Some(_) => Err(fields.error("body.stream", "has no meaning in a batch; leave it out")),
    }
}

/// One line of a batch's output, with the body of its answer as this.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OutputLine<B = Value> {
    pub id: String,
    pub custom_id: String,
    /// Null when there is no answer.
    pub response: Option<LineResponse<B>>,
    /// Null when there is a response.
    pub error: Option<LineError>,
}

/// What the endpoint answered, error bodies included.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LineResponse<B = Value> {
    pub status_code: u16,
    /// The job's id; where there is no job, another name of the request that no other request has. Never
    /// null: OpenAI's clients read a string.
    pub request_id: String,
    pub body: B,
}

/// Why there is no answer: `batch_expired`, `job_failed`, ...
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineError {
    pub code: String,
    pub message: String,
}

impl<B> OutputLine<B> {
    /// The line of a request that was answered, with whatever status.
    pub fn answered(custom_id: &str, request_id: &str, status_code: u16, body: B) -> Self {
        OutputLine {
            id: format!("batch_req_{request_id}"),
            custom_id: custom_id.to_owned(),
            response: Some(LineResponse {
                status_code,
                request_id: request_id.to_owned(),
                body,
            }),
            error: None,
        }
    }
}

impl<B: Serialize> OutputLine<B> {
    /// The line without its line break.
    pub fn to_json(&self) -> String {
        json(self)
    }
}

impl OutputLine {
    /// The line of a request that cannot run: [`BatchLine::request`] said why.
    pub fn refused(custom_id: &str, request_id: &str, error: RequestError) -> Self {
        let body = serde_json::json!({ "error": ErrorBody::from(error).error });
        let status = ErrorKind::InvalidRequest.status();
        Self::answered(custom_id, request_id, status, body)
    }

    /// The line of a request that has no answer.
    pub fn unanswered(custom_id: &str, request_id: &str, code: &str, message: &str) -> Self {
        OutputLine {
            id: format!("batch_req_{request_id}"),
            custom_id: custom_id.to_owned(),
            response: None,
            error: Some(LineError {
                code: code.to_owned(),
                message: message.to_owned(),
            }),
        }
    }
}
