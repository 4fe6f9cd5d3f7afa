//! Jobs, batch lines, tokenizing, models and health: the bodies around a request.

use proptest::prelude::*;
use serde_json::{Value, json};
use woolly::job::{Endpoint, ModelInfo, State, Usage};
use woolly::protocol::batch_line::{BatchLine, OutputLine};
use woolly::protocol::jobs::{JobError, Position};
use woolly::protocol::tokenize::{Tokens, detokenize, tokenize};
use woolly::protocol::{Health, HealthStatus, JobRequest, JobView, ModelList, RequestError};

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
fn a_job_may_have_times() {
    let mut body = json!({"endpoint": "/v1/completions", "body": {"prompt": "a"}, "not_before": 5, "deadline": 6.0});
    let request = job(&body).unwrap().0;
    assert_eq!((request.not_before, request.deadline), (Some(5), Some(6)));
    body["deadline"] = 5.into();
    let error = job(&body).unwrap_err();
    assert_eq!(error.param.as_deref(), Some("deadline"), "{error}");
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
        ("deadline", json!(-5), "deadline"),
        ("deadline", json!("tomorrow"), "deadline"),
        ("deadline", json!(i64::MAX), "deadline"),
        ("not_before", json!(5.5), "not_before"),
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
        estimated_start_at: Some(6),
        estimated_finish_at: None,
        not_before: Some(5),
        deadline: None,
        attempts: 0,
        usage: Some(Usage::new(1, 2)),
        result: Some(json!({"id": "chatcmpl-4"})),
        error: Some(JobError {
            message: "m".to_owned(),
            code: "failed".to_owned(),
        }),
        metadata: None,
        batch_id: Some("batch_3".to_owned()),
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

#[test]
fn batch_lines_say_what_to_run() {
    let line = json!({
        "custom_id": "r1", "method": "POST", "url": "/v1/chat/completions",
        "body": {"messages": [], "stream": false},
    });
    let read = BatchLine::openai(&line.to_string()).unwrap();
    assert_eq!(read.custom_id, "r1");
    let request = read.request.unwrap();
    assert_eq!(request.endpoint, Endpoint::ChatCompletions);
    assert_eq!(request.body_text(), br#"{"messages":[],"stream":false}"#);
    assert_eq!(
        BatchLine::prompt(7, request.clone()),
        BatchLine {
            custom_id: "line-7".to_owned(),
            request: Ok(request)
        }
    );
}

#[test]
fn batch_lines_without_an_id_make_the_file_unusable() {
    for (text, field) in [
        ("nonsense", None),
        ("[]", None),
        ("{}", Some("custom_id")),
        (r#"{"prompt": "a"}"#, Some("custom_id")),
        (r#"{"custom_id": "", "method": "POST"}"#, Some("custom_id")),
        (r#"{"custom_id": 5, "method": "POST"}"#, Some("custom_id")),
    ] {
        let error = BatchLine::openai(text).unwrap_err();
        assert_eq!(error.param.as_deref(), field, "{text}");
    }
}

#[test]
fn batch_lines_that_cannot_run_say_why() {
    let good = json!({
        "custom_id": "a", "method": "POST", "url": "/v1/completions", "body": {"prompt": "a"},
    });
    for (field, value, named) in [
        ("method", Value::Null, "method"),
        ("method", json!("GET"), "method"),
        ("url", Value::Null, "url"),
        ("url", json!("/v1/embeddings"), "url"),
        ("body", Value::Null, "body"),
        ("body", json!(5), "body"),
        (
            "body",
            json!({"prompt": "a", "stream": true}),
            "body.stream",
        ),
    ] {
        let mut line = good.clone();
        line[field] = value;
        let read = BatchLine::openai(&line.to_string()).unwrap();
        assert_eq!(read.custom_id, "a");
        let error = read.request.unwrap_err();
        assert_eq!(error.param.as_deref(), Some(named), "{line}");
    }
}

#[test]
fn output_lines_have_openais_shape() {
    let shape = |line: &OutputLine| -> Value {
        let text = line.to_json();
        assert!(!text.contains('\n'));
        assert_eq!(&serde_json::from_str::<OutputLine>(&text).unwrap(), line);
        serde_json::from_str(&text).unwrap()
    };
    let answered = OutputLine::answered("r1", "job_4", 200, json!({"id": "cmpl\n4"}));
    let expected = json!({
        "id": "batch_req_job_4", "custom_id": "r1",
        "response": {"status_code": 200, "request_id": "job_4", "body": {"id": "cmpl\n4"}},
        "error": null,
    });
    assert_eq!(shape(&answered), expected);
    let lost = OutputLine::unanswered("r2", "job_5", "batch_cancelled", "It was cancelled.");
    let expected = json!({
        "id": "batch_req_job_5", "custom_id": "r2", "response": null,
        "error": {"code": "batch_cancelled", "message": "It was cancelled."},
    });
    assert_eq!(shape(&lost), expected);
    let error = RequestError {
        message: "m".into(),
        param: Some("n".into()),
    };
    let body = json!({"error": {
        "message": "m", "type": "invalid_request_error", "code": null, "param": "n",
    }});
    let expected = json!({
        "id": "batch_req_k", "custom_id": "r3",
        "response": {"status_code": 400, "request_id": "k", "body": body}, "error": null,
    });
    assert_eq!(shape(&OutputLine::refused("r3", "k", error)), expected);
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
        paused: false,
        draining: true,
        open_batches: 2,
        model: None,
        jobs: [("queued".to_owned(), 3)].into(),
    };
    let expected = json!({"status": "warming", "reason": "converting", "progress_percent": 50, "paused": false, "draining": true, "open_batches": 2, "jobs": {"queued": 3}});
    assert_eq!(serde_json::to_value(&health).unwrap(), expected);
    assert_eq!(
        (HealthStatus::Ok.code(), HealthStatus::Draining.code()),
        (200, 503)
    );
}

proptest! {
    #[test]
    fn any_line_is_read_or_refused(text in any::<String>()) {
        let _ = BatchLine::openai(&text);
        let _ = JobRequest::parse(text.as_bytes());
    }

    #[test]
    fn a_request_is_read_as_it_was_written(text in any::<String>()) {
        let body = json!({"prompt": text}).as_object().unwrap().clone();
        let request = JobRequest::new(Endpoint::Completions, body);
        let read = JobRequest::parse(request.to_json().as_bytes());
        prop_assert_eq!(read, Ok((request, Vec::new())));
    }
}
