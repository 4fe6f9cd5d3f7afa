//! `/v1/jobs`: submitting a job and describing one.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::job::{Endpoint, State, Usage};

use super::fields::Fields;
use super::{RequestError, validate};

/// Bytes of a job's metadata at most, as JSON text.
pub const MAX_METADATA_BYTES: usize = 16 << 10;
/// Priorities are small numbers; a typing error should not win over everything for ever.
pub const PRIORITIES: std::ops::RangeInclusive<i64> = -1000..=1000;
/// Times in Unix seconds: up to the year 9999, so that they are still numbers in milliseconds.
const UNIX_SECONDS: std::ops::RangeInclusive<i64> = 0..=253_402_300_799;
/// Queue positions are exact up to this one.
pub const LAST_EXACT_POSITION: u64 = 1000;

/// The body of `POST /v1/jobs`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct JobRequest {
    pub endpoint: Endpoint,
    /// The request as it would be sent to the endpoint.
    pub body: Map<String, Value>,
    /// Higher runs first.
    #[serde(skip_serializing_if = "is_zero")]
    pub priority: i32,
    /// The submitter's own notes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Map<String, Value>>,
    /// Unix seconds: not started before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_before: Option<i64>,
    /// Unix seconds: expires when it is not done by then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline: Option<i64>,
    /// Refused when it would hardly be done by its deadline.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub refuse_late: bool,
}

fn is_zero(priority: &i32) -> bool {
    *priority == 0
}

impl JobRequest {
    /// A request with nothing said but what to run.
    pub fn new(endpoint: Endpoint, body: Map<String, Value>) -> Self {
        JobRequest {
            endpoint,
            body,
            priority: 0,
            metadata: None,
            not_before: None,
            deadline: None,
            refuse_late: false,
        }
    }

    /// The request, and the names of unknown fields. The inner body is validated too; its fields are
    /// named `body.<field>`.
    pub fn parse(bytes: &[u8]) -> Result<(Self, Vec<String>), RequestError> {
        let mut fields = Fields::from_body(bytes)?;
        let endpoint = fields.endpoint("endpoint")?;
        let body = fields.object("body")?;
        let metadata = match fields.take("metadata") {
            None => None,
            Some(Value::Object(metadata)) => Some(metadata),
            Some(_) => return Err(fields.error("metadata", "must be an object")),
        };
        let not_before = fields.integer("not_before", UNIX_SECONDS)?;
        let deadline = fields.integer("deadline", UNIX_SECONDS)?;
        if let (Some(not_before), Some(deadline)) = (not_before, deadline)
            && deadline <= not_before
        {
            return Err(fields.error("deadline", "must be later than not_before"));
        }
        let refuse_late = fields.flag("refuse_late")?;
        if refuse_late && deadline.is_none() {
            return Err(fields.error("refuse_late", "needs a deadline"));
        }
        let priority = fields
            .integer("priority", PRIORITIES)?
            .map_or(0, |priority| priority as i32);
        let request = JobRequest {
            endpoint,
            body,
            priority,
            metadata,
            not_before,
            deadline,
            refuse_late,
        };
        if request
            .metadata_text()
            .is_some_and(|text| text.len() > MAX_METADATA_BYTES)
        {
            let problem = format!("must be at most {MAX_METADATA_BYTES} bytes of JSON");
            return Err(fields.error("metadata", problem));
        }
        validate(endpoint, &request.body_text()).map_err(|error| error.inside("body"))?;
        Ok((request, fields.unknown()))
    }

    /// The body of `POST /v1/jobs`.
    pub fn to_json(&self) -> String {
        super::render::json(self)
    }

    /// The inner body as JSON text: what is stored and resolved later.
    pub fn body_text(&self) -> Vec<u8> {
        super::render::json(&self.body).into_bytes()
    }

    /// The metadata as JSON text.
    pub fn metadata_text(&self) -> Option<String> {
        self.metadata.as_ref().map(super::render::json)
    }
}

/// A job as the API shows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobView {
    /// `job_<number>`.
    pub id: String,
    /// `job`.
    pub object: String,
    pub status: State,
    pub endpoint: Endpoint,
    pub priority: i32,
    /// Queued jobs that run before this one; null unless queued.
    pub position: Option<Position>,
    /// Unix seconds, as the other times.
    pub created_at: i64,
    pub started_at: Option<i64>,
    pub finished_at: Option<i64>,
    /// By the pace of the last jobs; null when it has ended, while nothing is started, and before there is a pace.
    #[serde(default)]
    pub estimated_start_at: Option<i64>,
    #[serde(default)]
    pub estimated_finish_at: Option<i64>,
    /// Not started before.
    #[serde(default)]
    pub not_before: Option<i64>,
    /// Expires when it is not done by then.
    #[serde(default)]
    pub deadline: Option<i64>,
    pub attempts: u32,
    pub usage: Option<Usage>,
    /// The response body of the endpoint, when completed and asked for.
    pub result: Option<Value>,
    pub error: Option<JobError>,
    pub metadata: Option<Value>,
    /// The batch that it is a request of.
    #[serde(default)]
    pub batch_id: Option<String>,
    /// Fields of the submission that had no effect.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// Why a job has no result: a sentence, and the state as a word.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobError {
    pub message: String,
    pub code: String,
}

/// A place in the queue: a number up to [`LAST_EXACT_POSITION`], `">1000"` beyond.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Position {
    Exact(u64),
    Beyond(String),
}

impl From<u64> for Position {
    fn from(position: u64) -> Self {
        if position <= LAST_EXACT_POSITION {
            Position::Exact(position)
        } else {
            Position::Beyond(format!(">{LAST_EXACT_POSITION}"))
        }
    }
}

/// The body of `GET /v1/jobs`: newest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobList {
    /// `list`.
    pub object: String,
    pub data: Vec<JobView>,
    /// More jobs follow after the last one listed.
    pub has_more: bool,
}
