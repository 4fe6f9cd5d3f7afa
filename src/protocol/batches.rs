//! `/v1/files` and `/v1/batches`, in OpenAI's shapes.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::job::Endpoint;

use super::RequestError;
use super::fields::Fields;
use super::jobs::PRIORITIES;

/// Pairs of a batch's metadata at most, and characters of their names and values.
const MOST_PAIRS: usize = 16;
const LONGEST_NAME: usize = 64;
const LONGEST_VALUE: usize = 512;
/// The longest time that a batch may have: a year.
const LONGEST_WINDOW_S: u64 = 366 * 24 * 3600;

/// Seconds that a file may ask to be kept.
const KEPT_S: RangeInclusive<i64> = 3_600..=2_592_000;

/// What a file is for.
pub const PURPOSE_BATCH: &str = "batch";
pub const PURPOSE_OUTPUT: &str = "batch_output";

/// A file as the API shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileView {
    /// `file-<number>`.
    pub id: String,
    /// `file`.
    pub object: String,
    pub bytes: u64,
    /// Unix seconds.
    pub created_at: i64,
    /// Null: it is kept until somebody deletes it.
    pub expires_at: Option<i64>,
    pub filename: String,
    pub purpose: String,
    /// `processed`: a file that has an id is whole.
    pub status: String,
}

/// The answer to a deletion.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deleted {
    pub id: String,
    pub object: String,
    pub deleted: bool,
}

/// A page of files or batches, newest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Listing<T> {
    /// `list`.
    pub object: String,
    pub data: Vec<T>,
    pub first_id: Option<String>,
    pub last_id: Option<String>,
    pub has_more: bool,
}

/// The body of `POST /v1/batches`.
#[derive(Debug, Clone, PartialEq)]
pub struct BatchRequest {
    pub input_file_id: String,
    pub endpoint: Endpoint,
    pub completion_window: String,
    /// The same in seconds.
    pub window_s: u64,
    pub priority: i32,
    pub metadata: Option<Map<String, Value>>,
    /// Seconds that the files with the answers are kept.
    pub output_kept_s: Option<u32>,
}

/// `{"anchor": "created_at", "seconds": 3600}`, the field called `name`: how many seconds a file is kept.
pub fn kept_seconds(name: &str, value: Value) -> Result<u32, RequestError> {
    let mut fields = Fields::from_value(value, name.to_owned())?;
    if fields.string("anchor")?.as_deref() != Some("created_at") {
        return Err(fields.error("anchor", "must be created_at"));
    }
    let seconds = fields.integer("seconds", KEPT_S)?;
    let seconds = seconds.and_then(|seconds| u32::try_from(seconds).ok());
    seconds.ok_or_else(|| fields.error("seconds", "is required"))
}

impl BatchRequest {
    /// The request, and the names of unknown fields.
    pub fn parse(bytes: &[u8]) -> Result<(Self, Vec<String>), RequestError> {
        let mut fields = Fields::from_body(bytes)?;
        let input_file_id = fields
            .string("input_file_id")?
            .ok_or_else(|| fields.error("input_file_id", "is required"))?;
        let endpoint = fields.endpoint("endpoint")?;
        let completion_window = fields
            .string("completion_window")?
            .ok_or_else(|| fields.error("completion_window", "is required"))?;
        let window_s = window_seconds(&completion_window).ok_or_else(|| {
            let problem = "must be a number and s, m, h or d, such as 24h; at most 366d";
            fields.error("completion_window", problem)
        })?;
        let priority = fields.integer("priority", PRIORITIES)?;
        let metadata = match fields.take("metadata") {
            None => None,
            Some(Value::Object(pairs)) if is_small(&pairs) => Some(pairs),
            Some(_) => {
                let problem = format!(
                    "must be an object of at most {MOST_PAIRS} texts of {LONGEST_VALUE} characters, with names of \
                     {LONGEST_NAME}"
                );
                return Err(fields.error("metadata", problem));
            }
        };
        let output_kept = fields.take("output_expires_after");
        let output_kept_s = output_kept
            .map(|value| kept_seconds("output_expires_after", value))
            .transpose()?;
        let request = BatchRequest {
            input_file_id,
            endpoint,
            completion_window,
            window_s,
            priority: priority.map_or(0, |priority| priority as i32),
            metadata,
            output_kept_s,
        };
        Ok((request, fields.unknown()))
    }

    pub fn metadata_text(&self) -> Option<String> {
        self.metadata.as_ref().map(super::render::json)
    }
}

fn is_small(pairs: &Map<String, Value>) -> bool {
    let short = |text: &str, most: usize| text.chars().take(most + 1).count() <= most;
    pairs.len() <= MOST_PAIRS
        && pairs.iter().all(|(name, value)| {
            short(name, LONGEST_NAME)
                && value
                    .as_str()
                    .is_some_and(|text| short(text, LONGEST_VALUE))
        })
}

fn window_seconds(text: &str) -> Option<u64> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let unit = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 24 * 3600,
        _ => return None,
    };
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let count: u64 = is_number.then(|| digits.parse().ok()).flatten()?;
    let seconds = count.checked_mul(unit)?;
    (1..=LONGEST_WINDOW_S).contains(&seconds).then_some(seconds)
}

/// A batch as the API shows it. Times are Unix seconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BatchView {
    /// `batch_<number>`.
    pub id: String,
    /// `batch`.
    pub object: String,
    pub endpoint: String,
    pub model: Option<String>,
    /// Null unless the lines of the file cannot be used.
    pub errors: Option<LineErrors>,
    pub input_file_id: String,
    pub completion_window: String,
    pub status: String,
    /// Null where no line has such an answer.
    pub output_file_id: Option<String>,
    pub error_file_id: Option<String>,
    pub created_at: i64,
    pub in_progress_at: Option<i64>,
    pub expires_at: Option<i64>,
    pub finalizing_at: Option<i64>,
    pub completed_at: Option<i64>,
    pub failed_at: Option<i64>,
    pub expired_at: Option<i64>,
    pub cancelling_at: Option<i64>,
    pub cancelled_at: Option<i64>,
    pub request_counts: Counts,
    pub usage: BatchUsage,
    pub metadata: Option<Value>,
    /// Fields of the request that had no effect.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// How many requests a batch has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    pub total: u64,
    pub completed: u64,
    pub failed: u64,
}

/// Tokens of the requests that are completed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchUsage {
    pub input_tokens: u64,
    pub input_tokens_details: InputDetails,
    pub output_tokens: u64,
    pub output_tokens_details: OutputDetails,
    pub total_tokens: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputDetails {
    pub cached_tokens: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputDetails {
    pub reasoning_tokens: u64,
}

impl BatchUsage {
    pub fn new(input_tokens: u64, output_tokens: u64) -> Self {
        BatchUsage {
            input_tokens,
            input_tokens_details: InputDetails { cached_tokens: 0 },
            output_tokens,
            output_tokens_details: OutputDetails {
                reasoning_tokens: 0,
            },
            total_tokens: input_tokens.saturating_add(output_tokens),
        }
    }
}

/// What is wrong with the lines of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineErrors {
    /// `list`.
    pub object: String,
    pub data: Vec<BadLine>,
}

/// One line that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BadLine {
    pub code: String,
    pub message: String,
    pub param: Option<String>,
    /// From 1; null where it is the file as a whole.
    pub line: Option<u64>,
}

impl LineErrors {
    pub fn new(data: Vec<BadLine>) -> Self {
        LineErrors {
            object: "list".to_owned(),
            data,
        }
    }

    pub fn to_json(&self) -> String {
        super::render::json(self)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(change: impl FnOnce(&mut Value)) -> Result<BatchRequest, RequestError> {
        let mut body = json!({
            "input_file_id": "file-1", "endpoint": "/v1/completions", "completion_window": "24h"
        });
        change(&mut body);
        BatchRequest::parse(body.to_string().as_bytes()).map(|(request, _)| request)
    }

    #[test]
    fn a_request_is_read_and_its_mistakes_are_named() {
        let request = parse(|body| {
            body["metadata"] = json!({"a": "b"});
            body["output_expires_after"] = json!({"anchor": "created_at", "seconds": 3600});
        });
        let request = request.unwrap();
        assert_eq!((request.window_s, request.priority), (86_400, 0));
        assert_eq!(request.output_kept_s, Some(3_600));
        assert_eq!(parse(|_| {}).unwrap().output_kept_s, None);
        assert_eq!(request.metadata_text().as_deref(), Some(r#"{"a":"b"}"#));
        let long = "x".repeat(513);
        for (field, value) in [
            ("input_file_id", json!(null)),
            ("endpoint", json!("/v1/embeddings")),
            ("completion_window", json!("24")),
            ("completion_window", json!("0h")),
            ("completion_window", json!("h")),
            ("completion_window", json!("+1h")),
            ("completion_window", json!("9999999d")),
            ("completion_window", json!("1\u{e9}")),
            ("metadata", json!({"a": 1})),
            ("metadata", json!({"a": long})),
            ("priority", json!(2000)),
        ] {
            let error = parse(|body| body[field] = value.clone()).unwrap_err();
            assert_eq!(error.param.as_deref(), Some(field), "{value}");
        }
        for (value, param) in [
            (json!(3600), ""),
            (json!({"anchor": "now", "seconds": 3600}), ".anchor"),
            (json!({"anchor": "created_at"}), ".seconds"),
            (json!({"anchor": "created_at", "seconds": 3599}), ".seconds"),
            (
                json!({"anchor": "created_at", "seconds": 2592001}),
                ".seconds",
            ),
        ] {
            let error = parse(|body| body["output_expires_after"] = value).unwrap_err();
            let expected = format!("output_expires_after{param}");
            assert_eq!(error.param, Some(expected));
        }
    }
}
