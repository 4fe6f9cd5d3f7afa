//! Jobs, batch lines, tokenizing, models and health: the bodies around a request.

use proptest::prelude::*;
use serde_json::{Value, json};
use woolly::job::{Endpoint, ModelInfo, State, Usage};
use woolly::protocol::batch_line::{BatchLine, LineFormat, OutputLine};
use woolly::protocol::jobs::{JobError, Position};
use woolly::protocol::tokenize::{Tokens, detokenize, tokenize};
use woolly::protocol::{
    ErrorBody, Health, HealthStatus, JobRequest, JobView, ModelList, RequestError,
};

use crate::support::served_model::ServedModel;
use crate::support::vocabularies::tiny;

fn job(body: &Value) -> Result<(JobRequest, Vec<String>), RequestError> {
    JobRequest::parse(body.to_string().as_bytes())
}

#[test]
fn a_job_carries_a_request() {
    let body = json!({
        "endpoint": "/v1/completions", "body": {"prompt": "a", "seed": 5}, "priority": -3,
        "metadata": {"who": "me"}, "odd": 1,
    });
    let (request, warnings) = job(&body).unwrap();
    assert_eq!(
        (request.endpoint, request.priority),
        (Endpoint::Completions, -3)
    );
    assert_eq!(request.body_text(), br#"{"prompt":"a","seed":5}"#);
    assert_eq!(request.metadata_text().as_deref(), Some(r#"{"who":"me"}"#));
    assert_eq!(warnings, ["odd"]);
    let text = serde_json::to_vec(&request).unwrap();
    assert_eq!(JobRequest::parse(&text).unwrap(), (request, Vec::new()));
}

#[test]
fn bad_jobs_are_named_by_field() {
    let fine = json!({"endpoint": "/v1/completions", "body": {"prompt": "a"}});
    let cases = [
        ("endpoint", json!("/v1/embeddings"), "endpoint"),
        ("endpoint", json!(1), "endpoint"),
        ("endpoint", json!(null), "endpoint"),
        ("body", json!("text"), "body"),
        ("body", json!(null), "body"),
        ("body", json!({"prompt": 1}), "body.prompt"),
        ("body", json!({"prompt": "a", "n": 0}), "body.n"),
        ("priority", json!(1001), "priority"),
        ("priority", json!("high"), "priority"),
        ("metadata", json!([]), "metadata"),
        ("metadata", json!({"x": "y".repeat(20_000)}), "metadata"),
        ("deadline", json!(5), "deadline"),
        ("not_before", json!(5), "not_before"),
    ];
    for (field, value, param) in cases {
        let mut body = fine.clone();
        body[field] = value;
        let error = job(&body).unwrap_err();
        assert_eq!(error.param.as_deref(), Some(param), "{error}");
        assert!(error.message.contains(field), "{error}");
    }
}

#[test]
fn a_job_view_is_read_back_as_written() {
    let view = JobView {
        id: "job_4".to_owned(),
        object: "job".to_owned(),
        status: State::Queued,
        endpoint: Endpoint::ChatCompletions,
        priority: 0,
        position: Some(Position::from(3)),
        created_at: 1,
        started_at: None,
        finished_at: None,
        attempts: 0,
        usage: Some(Usage::new(1, 2)),
        result: Some(json!({"id": "chatcmpl-4"})),
        error: Some(JobError {
            message: "m".to_owned(),
            code: "failed".to_owned(),
        }),
        metadata: None,
        warnings: Vec::new(),
    };
    let text = serde_json::to_string(&view).unwrap();
    assert_eq!(serde_json::from_str::<JobView>(&text).unwrap(), view);
    let json: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json["status"], "queued");
    assert_eq!(
        (&json["position"], &json["started_at"]),
        (&json!(3), &Value::Null)
    );
    assert_eq!(
        serde_json::to_value(Position::from(1000)).unwrap(),
        json!(1000)
    );
    assert_eq!(
        serde_json::to_value(Position::from(1001)).unwrap(),
        json!(">1000")
    );
}

fn line(text: &str) -> Result<Option<BatchLine>, RequestError> {
    BatchLine::parse(text, 7, LineFormat::Json)
}

#[test]
fn batch_lines_are_read_in_three_forms() {
    let openai = json!({
        "custom_id": "r1", "method": "POST", "url": "/v1/chat/completions",
        "body": {"messages": [{"role": "user", "content": "a"}]},
    });
    let read = line(&openai.to_string()).unwrap().unwrap();
    assert_eq!(
        (read.custom_id.as_str(), read.endpoint),
        ("r1", Endpoint::ChatCompletions)
    );
    assert_eq!(read.check(), Ok(()));
    let read = line("{\"prompt\": \"a\", \"max_tokens\": 5}\r\n")
        .unwrap()
        .unwrap();
    assert_eq!(
        (read.custom_id.as_str(), read.endpoint),
        ("line-7", Endpoint::Completions)
    );
    assert_eq!(read.body_text(), br#"{"prompt":"a","max_tokens":5}"#);
    let read = line(r#"{"custom_id": "x", "messages": []}"#)
        .unwrap()
        .unwrap();
    assert_eq!(
        (read.custom_id.as_str(), read.endpoint),
        ("x", Endpoint::ChatCompletions)
    );
    assert!(read.check().is_err());
    let read = BatchLine::parse(" {\"no\": json \n", 3, LineFormat::Text)
        .unwrap()
        .unwrap();
    assert_eq!(
        (read.custom_id.as_str(), &read.body["prompt"]),
        ("line-3", &json!(" {\"no\": json "))
    );
    for format in [LineFormat::Json, LineFormat::Text] {
        assert_eq!(BatchLine::parse("  \r\n", 1, format), Ok(None));
    }
}

#[test]
fn bad_batch_lines_are_refused() {
    for (text, field) in [
        ("nonsense", None),
        ("[]", None),
        ("{}", None),
        (
            r#"{"url": "/v1/completions", "body": {}}"#,
            Some("custom_id"),
        ),
        (
            r#"{"custom_id": "", "url": "/v1/completions", "body": {}}"#,
            Some("custom_id"),
        ),
        (
            r#"{"custom_id": "a", "url": "/v1/embeddings", "body": {}}"#,
            Some("url"),
        ),
        (
            r#"{"custom_id": "a", "method": "GET", "url": "/v1/completions", "body": {}}"#,
            Some("method"),
        ),
        (
            r#"{"custom_id": "a", "url": "/v1/completions", "body": 5}"#,
            Some("body"),
        ),
        (r#"{"custom_id": 5, "prompt": "a"}"#, Some("custom_id")),
    ] {
        assert_eq!(line(text).unwrap_err().param.as_deref(), field, "{text}");
    }
}

#[test]
fn output_lines_have_openais_shape() {
    let answered = OutputLine::answered("r1", "job_4", 200, json!({"id": "cmpl-4"}));
    let expected = json!({
        "id": "batch_req_job_4", "custom_id": "r1",
        "response": {"status_code": 200, "request_id": "job_4", "body": {"id": "cmpl-4"}},
        "error": null,
    });
    assert_eq!(
        serde_json::from_str::<Value>(&answered.to_json()).unwrap(),
        expected
    );
    assert!(!answered.to_json().contains('\n'));
    let lost = OutputLine::not_run("r2", "job_5", "batch_cancelled", "The batch was cancelled.");
    let expected = json!({
        "id": "batch_req_job_5", "custom_id": "r2", "response": null,
        "error": {"code": "batch_cancelled", "message": "The batch was cancelled."},
    });
    assert_eq!(
        serde_json::from_str::<Value>(&lost.to_json()).unwrap(),
        expected
    );
    assert_eq!(
        serde_json::from_str::<OutputLine>(&lost.to_json()).unwrap(),
        lost
    );
    let error = ErrorBody::from(RequestError {
        message: "m".into(),
        param: Some("n".into()),
    });
    let refused = OutputLine::refused("r3", 400, &error);
    assert_eq!(refused.response.unwrap().body["error"]["param"], "n");
}

#[test]
fn text_becomes_tokens_and_tokens_text() {
    let model = ServedModel::new(tiny("llama-gqa"));
    let tokens = |body: Value| tokenize(&model.context(), body.to_string().as_bytes());
    assert_eq!(tokens(json!({"content": "Hi"})).unwrap().tokens, [72, 105]);
    let special = json!({"prompt": "H<|eot_id|>", "add_special": true});
    assert_eq!(tokens(special).unwrap().tokens, [364, 72, 368]);
    let plain = json!({"content": "<|eot_id|>", "parse_special": false});
    assert!(!tokens(plain).unwrap().tokens.contains(&368));
    let vllm = json!({"prompt": "H", "add_special_tokens": true});
    assert_eq!(tokens(vllm).unwrap().tokens, [364, 72]);
    assert_eq!(
        tokens(json!({})).unwrap_err().param.as_deref(),
        Some("content")
    );
    assert_eq!(
        tokens(json!({"content": 1})).unwrap_err().param.as_deref(),
        Some("content")
    );
    let text = |body: Value| detokenize(&model.context(), body.to_string().as_bytes());
    assert_eq!(
        text(json!({"tokens": [364, 72, 105]})).unwrap().content,
        "<|begin_of_text|>Hi"
    );
    for bad in [
        json!({"tokens": [369]}),
        json!({"tokens": [-1]}),
        json!({"tokens": 1}),
        json!({}),
    ] {
        assert_eq!(text(bad).unwrap_err().param.as_deref(), Some("tokens"));
    }
    let written = serde_json::to_string(&Tokens { tokens: vec![1] }).unwrap();
    assert_eq!(written, r#"{"tokens":[1]}"#);
}

#[test]
fn models_and_health_bodies() {
    let info = ModelInfo {
        name: "tiny".to_owned(),
        context: 512,
        vocab: 300,
        end_tokens: vec![257],
        fingerprint: "fp".to_owned(),
    };
    let list = serde_json::to_value(ModelList::new(Some(&info), 9)).unwrap();
    assert_eq!(list["object"], "list");
    assert_eq!(
        (&list["data"][0]["id"], &list["data"][0]["object"]),
        (&json!("tiny"), &json!("model"))
    );
    assert!(ModelList::new(None, 9).data.is_empty());
    let health = Health {
        status: HealthStatus::Warming,
        reason: Some("converting".to_owned()),
        progress_percent: Some(50),
        model: None,
        jobs: [("queued".to_owned(), 3)].into(),
    };
    let expected = json!({"status": "warming", "reason": "converting", "progress_percent": 50, "jobs": {"queued": 3}});
    assert_eq!(serde_json::to_value(&health).unwrap(), expected);
    assert_eq!(
        (HealthStatus::Ok.code(), HealthStatus::Draining.code()),
        (200, 503)
    );
}

proptest! {
    #[test]
    fn any_line_is_read_or_refused(text in any::<String>(), number: u64) {
        let _ = BatchLine::parse(&text, number, LineFormat::Json);
        if let Ok(Some(line)) = BatchLine::parse(&text, number, LineFormat::Text) {
            prop_assert_eq!(line.body["prompt"].as_str().unwrap(), text.trim_end_matches(['\r', '\n']));
        }
        let _ = JobRequest::parse(text.as_bytes());
    }
}
