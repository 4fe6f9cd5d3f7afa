//! The JSON that goes over the socket: OpenAI's shapes and the job object around them.
//!
//! Requests are built and answers are read here and nowhere else. Jobs are submitted as `protocol`'s
//! [`JobRequest`]. Answers are not read into its types, which want every field: reading is forgiving, a field
//! that is missing or has another type reads as absent, since the daemon may be newer than this client. For
//! the same reason the fields of a request go out as they were asked for, and the daemon judges them.

use serde_json::{Map, Value, json};

use crate::job::{Endpoint, JobId, State};
use crate::protocol::JobRequest;

use super::sampling::Sampling;

/// The path that jobs are submitted to and listed at.
pub(super) const JOBS: &str = "/v1/jobs";

/// The name of the event that voids what a stream gave before.
pub(super) const RESTARTED: &str = "restarted";

/// The name of the event that comes instead of what a stream cannot give any more.
pub(super) const GONE: &str = "gone";

/// The code of errors of a daemon whose store has failed.
pub(super) const STORE: &str = "store";

/// The code of a refusal of connections, because this user has so many.
pub(super) const CONNECTIONS: &str = "connections";

pub(super) fn job_path(id: JobId) -> String {
    format!("{JOBS}/{id}")
}

pub(super) fn events_path(id: JobId) -> String {
    format!("{JOBS}/{id}/events")
}

pub(super) fn cancel_path(id: JobId) -> String {
    format!("{JOBS}/{id}/cancel")
}

/// All jobs, or those older than one.
pub(super) fn cancel_all_path(before: Option<&str>) -> String {
    match before {
        Some(id) => format!("{JOBS}/cancel?before={id}"),
        None => format!("{JOBS}/cancel"),
    }
}

/// The request for one prompt. With `sampling.chat` it is a conversation of one user message.
pub(super) fn request(prompt: &str, sampling: &Sampling) -> JobRequest {
    let mut body = Map::new();
    let endpoint = if sampling.chat {
        let system = sampling
            .system
            .iter()
            .map(|text| json!({"role": "system", "content": text}));
        let user = std::iter::once(json!({"role": "user", "content": prompt}));
        body.insert("messages".into(), system.chain(user).collect());
        Endpoint::ChatCompletions
    } else {
        body.insert("prompt".into(), prompt.into());
        Endpoint::Completions
    };
    let mut set = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            body.insert(name.into(), value);
        }
    };
    set("max_tokens", sampling.max_tokens.map(Value::from));
    set("temperature", sampling.temperature.map(Value::from));
    set("top_p", sampling.top_p.map(Value::from));
    set("top_k", sampling.top_k.map(Value::from));
    set("seed", sampling.seed.map(Value::from));
    set(
        "stop",
        (!sampling.stop.is_empty()).then(|| json!(sampling.stop)),
    );
    set(
        "ignore_eos",
        sampling.ignore_eos.then_some(Value::Bool(true)),
    );
    JobRequest::new(endpoint, body)
}

/// A job object as the daemon shows it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Job {
    pub(super) id: JobId,
    pub(super) state: State,
    /// Everything as received, for `--json`.
    pub(super) raw: Value,
}

impl Job {
    /// `None` when the object is no job.
    pub(super) fn read(raw: Value) -> Option<Self> {
        let id = raw.get("id")?.as_str()?.parse().ok()?;
        let state = State::parse(raw.get("status")?.as_str()?)?;
        Some(Job { id, state, raw })
    }

    /// The texts of the result in the order of its choices; empty without a result.
    pub(super) fn texts(&self) -> Vec<&str> {
        let choices = self
            .raw
            .pointer("/result/choices")
            .and_then(Value::as_array);
        choices
            .into_iter()
            .flatten()
            .map(|choice| text_of(choice, "message").unwrap_or(""))
            .collect()
    }

    /// Tokens read and written.
    pub(super) fn usage(&self) -> (u64, u64) {
        let usage = self.raw.get("usage").filter(|usage| usage.is_object());
        let usage = usage.or_else(|| self.raw.pointer("/result/usage"));
        let count = |name| {
            usage
                .and_then(|u| u.get(name))
                .and_then(Value::as_u64)
                .unwrap_or(0)
        };
        (count("prompt_tokens"), count("completion_tokens"))
    }

    /// The sentence that goes with a state that is not `completed`.
    pub(super) fn problem(&self) -> String {
        match self.raw.get("error").and_then(error_text) {
            Some(reason) if self.state == State::Failed => format!("{} failed: {reason}", self.id),
            _ if self.state == State::Expired => format!("{} has expired", self.id),
            _ => format!("{} was {}", self.id, self.state.as_str()),
        }
    }
}

/// The text pieces of one stream chunk: (choice, text).
pub(super) fn chunk_texts(chunk: &Value) -> impl Iterator<Item = (usize, &str)> {
    chunk_choices(chunk)
        .filter_map(|(index, choice)| text_of(choice, "delta").map(|text| (index, text)))
}

/// The choices of which this chunk is the last.
pub(super) fn chunk_ends(chunk: &Value) -> impl Iterator<Item = usize> {
    chunk_choices(chunk)
        .filter(|(_, choice)| choice.get("finish_reason").is_some_and(Value::is_string))
        .map(|(index, _)| index)
}

fn chunk_choices(chunk: &Value) -> impl Iterator<Item = (usize, &Value)> {
    let choices = chunk.get("choices").and_then(Value::as_array);
    choices.into_iter().flatten().filter_map(|choice| {
        let index = choice.get("index").and_then(Value::as_u64).unwrap_or(0);
        Some((usize::try_from(index).ok()?, choice))
    })
}

/// Completions carry `text`; chat carries `message.content`, or `delta.content` in a stream.
fn text_of<'a>(choice: &'a Value, chat_field: &str) -> Option<&'a str> {
    let text = choice
        .get("text")
        .or_else(|| choice.get(chat_field)?.get("content"));
    text.and_then(Value::as_str)
}

/// The sentence of an error body, `{"error": {"message", "param"}}`.
pub(super) fn error_message(body: &Value) -> Option<String> {
    match body.get("error") {
        Some(error) => {
            error_text(error).map(|text| match error.get("param").and_then(Value::as_str) {
                Some(param) if !text.contains(param) => format!("{text} ({param})"),
                _ => text,
            })
        }
        None => body
            .as_str()
            .map(|text| text.trim().to_owned())
            .filter(|text| !text.is_empty()),
    }
}

/// What an error body calls its error.
pub(super) fn error_code(body: &Value) -> Option<&str> {
    body.get("error")?.get("code")?.as_str()
}

/// An error is a sentence or an object with one.
fn error_text(error: &Value) -> Option<String> {
    error
        .as_str()
        .or_else(|| error.get("message")?.as_str())
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_asked_for_is_in_the_request() {
        assert_eq!(
            request("Hi", &Sampling::default()).to_json(),
            r#"{"endpoint":"/v1/completions","body":{"prompt":"Hi"}}"#
        );
        let sampling = Sampling {
            chat: true,
            system: Some("Be kind.".into()),
            max_tokens: Some(3),
            temperature: Some(0.5),
            stop: vec!["\n".into()],
            ignore_eos: true,
            ..Sampling::default()
        };
        let request = request("Hi", &sampling);
        assert_eq!(request.endpoint, Endpoint::ChatCompletions);
        let expected = json!({
            "messages": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}],
            "max_tokens": 3, "temperature": 0.5, "stop": ["\n"], "ignore_eos": true,
        });
        assert_eq!(Value::Object(request.body), expected);
    }

    #[test]
    fn texts_come_from_completions_and_chats() {
        let job = |result| {
            Job::read(json!({"id": "job_4", "status": "completed", "result": result})).unwrap()
        };
        assert_eq!(
            job(json!({"choices": [{"text": "a"}, {"text": "b"}]})).texts(),
            ["a", "b"]
        );
        assert_eq!(
            job(json!({"choices": [{"message": {"content": "c"}}]})).texts(),
            ["c"]
        );
        assert!(job(Value::Null).texts().is_empty());
        let chunk = json!({"choices": [{"index": 2, "delta": {"content": "x"}}, {"index": 0, "delta": {}}]});
        assert_eq!(chunk_texts(&chunk).collect::<Vec<_>>(), [(2, "x")]);
        let chunk =
            json!({"choices": [{"index": 1, "finish_reason": "stop"}, {"finish_reason": null}]});
        assert_eq!(chunk_ends(&chunk).collect::<Vec<_>>(), [1]);
    }

    #[test]
    fn a_job_without_a_result_says_what_became_of_it() {
        let problem =
            |status| Job::read(json!({"id": "job_7", "status": status})).map(|job| job.problem());
        assert_eq!(problem("expired").unwrap(), "job_7 has expired");
        assert_eq!(problem("cancelled").unwrap(), "job_7 was cancelled");
    }

    #[test]
    fn an_object_with_an_unknown_state_or_id_is_no_job() {
        assert_eq!(
            Job::read(json!({"id": "job_4", "status": "dreaming"})),
            None
        );
        assert_eq!(Job::read(json!({"id": "4", "status": "queued"})), None);
        assert_eq!(Job::read(json!([])), None);
    }

    #[test]
    fn errors_name_the_field_once() {
        let body = json!({"error": {"message": "must be positive", "param": "top_k"}});
        assert_eq!(error_message(&body).unwrap(), "must be positive (top_k)");
        let body = json!({"error": {"message": "top_k must be positive", "param": "top_k"}});
        assert_eq!(error_message(&body).unwrap(), "top_k must be positive");
        assert_eq!(error_message(&json!("plain text\n")).unwrap(), "plain text");
        assert_eq!(error_message(&json!({"fine": true})), None);
    }
}
