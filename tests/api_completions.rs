//! `/v1/completions`, `/v1/chat/completions` and the small endpoints, on a real daemon.

use serde_json::{Value, json};

use crate::support::daemon::{Home, LONG, TINY};

/// Asking again is all one can do to see an attached job start; so many times is a long time.
const POLLS: usize = 20_000;

fn greedy(prompt: &str) -> Value {
    json!({"prompt": prompt, "max_tokens": 12, "temperature": 0, "ignore_eos": true})
}

#[test]
fn the_same_request_has_the_same_answer() {
    let home = Home::new(TINY);
    let daemon = home.start();
    let client = daemon.client();
    let answer = client.post("/v1/completions", &greedy("Hello")).expect(200);
    assert_eq!(answer["object"], "text_completion");
    assert_eq!(answer["usage"]["completion_tokens"], 12);
    let again = client.post("/v1/completions", &greedy("Hello")).expect(200);
    assert_eq!(answer["choices"], again["choices"]);
    let other = client
        .post("/v1/completions", &greedy("Goodbye"))
        .expect(200);
    assert_ne!(answer["choices"], other["choices"]);
}

#[test]
fn a_text_is_scored_with_the_log_probabilities_of_its_making() {
    let home = Home::new(TINY);
    let daemon = home.start();
    let client = daemon.client();
    let mut request = greedy("Hello");
    request["logprobs"] = 2.into();
    request["return_token_ids"] = true.into();
    let made = client.post("/v1/completions", &request).expect(200)["choices"][0].clone();
    let hello = client
        .post("/tokenize", &json!({"content": "Hello"}))
        .expect(200);
    let ids = |value: &Value| value.as_array().unwrap().clone();
    let prompt = ids(&hello["tokens"]);
    let whole = [prompt.clone(), ids(&made["token_ids"])].concat();
    let request = json!({"prompt": whole, "max_tokens": 0, "echo": true, "logprobs": 2});
    let answer = client.post("/v1/completions", &request).expect(200);
    assert_eq!(answer["usage"]["completion_tokens"], 0);
    let scored = &answer["choices"][0]["logprobs"];
    for list in ["tokens", "token_logprobs", "top_logprobs"] {
        let (all, tail) = (ids(&scored[list]), ids(&made["logprobs"][list]));
        assert_eq!(all.len(), whole.len(), "{list}");
        assert_eq!(all[prompt.len()..], tail, "{list}");
    }
    assert_eq!(scored["token_logprobs"][0], Value::Null);
    assert!(scored["token_logprobs"][1].is_f64());
    let streamed = json!({"prompt": "a", "echo": true, "logprobs": 1, "stream": true});
    client.post("/v1/completions", &streamed).expect(400);
}

#[test]
fn a_stream_has_the_text_of_the_answer() {
    let home = Home::new(TINY);
    let daemon = home.start();
    let client = daemon.client();
    let mut request = greedy("Hello");
    let text = client.post("/v1/completions", &request).expect(200)["choices"][0]["text"].clone();
    request["stream"] = true.into();
    let mut events: Vec<String> = client
        .stream("POST", "/v1/completions", request.to_string().as_bytes())
        .collect();
    assert_eq!(events.pop().as_deref(), Some("[DONE]"));
    let chunks: Vec<Value> = events
        .iter()
        .map(|event| serde_json::from_str(event).unwrap())
        .collect();
    let streamed: String = chunks
        .iter()
        .filter_map(|chunk| chunk["choices"][0]["text"].as_str())
        .collect();
    assert_eq!(Value::from(streamed), text);
    assert_eq!(
        chunks.last().unwrap()["choices"][0]["finish_reason"],
        "length"
    );
}

#[test]
fn a_conversation_is_answered_plain_and_as_a_stream() {
    let home = Home::new(TINY);
    let daemon = home.start();
    let client = daemon.client();
    let mut request = json!({
        "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 8, "temperature": 0, "ignore_eos": true,
    });
    let answer = client.post("/v1/chat/completions", &request).expect(200);
    assert_eq!(answer["object"], "chat.completion");
    let content = answer["choices"][0]["message"]["content"].as_str().unwrap();
    request["stream"] = true.into();
    let events = client.stream(
        "POST",
        "/v1/chat/completions",
        request.to_string().as_bytes(),
    );
    let streamed: String = events
        .take_while(|event| event != "[DONE]")
        .filter_map(|event| {
            let chunk: Value = serde_json::from_str(&event).unwrap();
            chunk["choices"][0]["delta"]["content"]
                .as_str()
                .map(str::to_owned)
        })
        .collect();
    assert_eq!(streamed, content);
}

#[test]
fn tokens_go_there_and_back() {
    let home = Home::new(TINY);
    let daemon = home.start();
    let client = daemon.client();
    let tokens = client
        .post("/tokenize", &json!({"content": "aé"}))
        .expect(200)["tokens"]
        .clone();
    assert_eq!(tokens, json!([97, 195, 169]));
    let text = client
        .post("/detokenize", &json!({"tokens": tokens}))
        .expect(200);
    assert_eq!(text, json!({"content": "aé"}));
    let refused = client
        .post("/detokenize", &json!({"tokens": [320]}))
        .expect(400);
    assert_eq!(refused["error"]["param"], "tokens");
}

#[test]
fn the_daemon_tells_about_itself() {
    let home = Home::new(TINY);
    let daemon = home.start();
    let client = daemon.client();
    let health = client.get("/health").expect(200);
    assert_eq!(
        (&health["status"], &health["model"]),
        (&json!("ok"), &json!("tiny"))
    );
    let models = client.get("/v1/models").expect(200);
    assert_eq!(models["data"][0]["id"], "tiny");
    assert_eq!(models["data"][0]["vocab_size"], 320);
}

#[test]
fn bad_requests_are_refused_in_openais_shape() {
    let home = Home::new(&format!("{TINY}\n[api]\nmax_body_bytes = 2000\n"));
    let daemon = home.start();
    let client = daemon.client();
    let error = |path: &str, body: Value| client.post(path, &body).expect(400)["error"].clone();
    assert_eq!(
        error("/v1/completions", json!({"prompt": "x", "temperature": -1}))["param"],
        "temperature"
    );
    assert_eq!(
        error("/v1/completions", json!({"max_tokens": 3}))["param"],
        "prompt"
    );
    assert_eq!(
        error("/v1/chat/completions", json!({"messages": "x"}))["param"],
        "messages"
    );
    // A sequence that can never fit: the context of the model is 512.
    let long = json!({"prompt": "x".repeat(600), "max_tokens": 1});
    assert_eq!(
        error("/v1/completions", long)["type"],
        "invalid_request_error"
    );
    let broken = client.send("POST", "/v1/completions", &[], b"{\"prompt\": ");
    assert_eq!(broken.expect(400)["error"]["type"], "invalid_request_error");

    let missing = client.get("/v1/nothing").expect(404);
    assert_eq!(missing["error"]["code"], "not_found");
    let method = client.get("/v1/completions");
    assert_eq!(method.header("allow"), Some("POST"));
    assert_eq!(method.expect(405)["error"]["code"], "method_not_allowed");
    let large = client
        .post("/v1/completions", &json!({"prompt": "x".repeat(3000)}))
        .expect(413);
    assert_eq!(large["error"]["code"], "request_too_large");
}

#[test]
fn a_connection_that_goes_away_cancels_its_job() {
    let home = Home::new(LONG);
    let daemon = home.start();
    let client = daemon.client();
    for stream in [true, false] {
        let request = json!({
            "prompt": "x", "max_tokens": 30000, "temperature": 0, "ignore_eos": true, "stream": stream,
        });
        let connection = client.begin(
            "POST",
            "/v1/completions",
            &[],
            request.to_string().as_bytes(),
        );
        let running = std::iter::repeat_with(|| client.get("/v1/jobs?status=running").expect(200));
        let job = running
            .take(POLLS)
            .find_map(|jobs| jobs["data"][0]["id"].as_str().map(str::to_owned))
            .expect("the job never ran");
        // Its tokens are coming, and then nobody wants them any more.
        let mut events = client.stream("GET", &format!("/v1/jobs/{job}/events"), b"");
        events.next().unwrap();
        drop(connection);
        let last: Value = serde_json::from_str(&events.last().unwrap()).unwrap();
        assert_eq!(last["error"]["code"], "cancelled");
        let job = client.get(&format!("/v1/jobs/{job}"));
        assert!(
            job.status == 404 || job.json()["status"] == "cancelled",
            "stream = {stream}"
        );
    }
}
