//! `woollyctl model inspect`: real processes on small files.

use std::path::Path;

use serde_json::{Value, json};
use woolly::weights::dequant::TensorType;

use super::support::cli::{Said, WOOLLY, WOOLLYCTL, command, say};
use super::support::folder::Folder;
use super::support::gguf_file::{File, tensor};
use super::support::models::{SUPPORTED, fixture};
use super::support::tiny_llama::{TinyLlama, string, u32};

fn inspect(model: &Path, flags: &[&str]) -> Said {
    let arguments = [&["model", "inspect", model.to_str().unwrap()], flags].concat();
    say(command(WOOLLYCTL, &arguments))
}

fn object(said: Said, code: i32) -> Value {
    said.ends_with(code).json_lines().remove(0)
}

#[test]
fn sizes_memory_and_tokenizer_of_a_model_with_windows() {
    let found = object(inspect(&fixture("gemma3.gguf"), &["--json"]), 0);
    assert_eq!(found["architecture"], "gemma3");
    assert_eq!(
        found["sizes"],
        json!({
            "layers": 7, "hidden": 64, "heads": 4, "kv_heads": 1, "head_dim": 32, "feed_forward": 96,
            "vocabulary": 410, "context": 1024, "experts": null, "window": { "positions": 32, "layers": 6 },
        })
    );
    // Keys and values: 7 layers of one head of 32, in 4 and in 2 bytes.
    let kv = |element: &str| found["memory"][element]["kv_per_token"].clone();
    assert_eq!((kv("f32"), kv("bf16")), (json!(1792), json!(896)));
    // The six keep four blocks of 16 positions: two for the window, and one where a token may begin another.
    assert_eq!(
        found["memory"]["f32"]["kv_of_context"],
        256 * 1024 + 6 * 256 * 64
    );
    assert_eq!(found["tokenizer"]["model"], "llama");
    assert_eq!(found["tokenizer"]["bos"], "<bos>");
    assert_eq!(found["tokenizer"]["adds_bos"], true);
    assert_eq!(
        (&found["runs"], &found["problem"]),
        (&json!(true), &Value::Null)
    );
    let file = std::fs::metadata(fixture("gemma3.gguf")).unwrap().len();
    assert_eq!(found["bytes"], file);
    assert_eq!(found["parameters"], 300_928);
    let all = json!({ "type": "F32", "tensors": 93, "parameters": 300_928, "bytes": 4 * 300_928 });
    assert_eq!(found["types"], json!([all]));
    // Panels of 16 rows: the embedding's 410 rows become 416.
    assert_eq!(found["memory"]["f32"]["weights"], 4 * (300_928 + 6 * 64));
    let tensors = found["tensors"].as_array().unwrap();
    let embedding = tensors
        .iter()
        .find(|tensor| tensor["name"] == "token_embd.weight");
    assert_eq!(
        embedding.unwrap(),
        &json!({ "name": "token_embd.weight", "dimensions": [64, 410], "type": "F32", "bytes": 256 * 410 })
    );
}

#[test]
fn people_read_lines_and_tables() {
    let said = inspect(&fixture("llama-gqa.gguf"), &["--tensors"]).ends_with(0);
    let has = |line: &[&str]| {
        let mut lines = said.out.lines();
        lines.any(|found| found.split_whitespace().eq(line.iter().copied()))
    };
    assert!(has(&["sizes.kv_heads", "2"]), "{}", said.out);
    assert!(
        has(&["memory.f32.kv_per_token", "768", "B"]),
        "{}",
        said.out
    );
    assert!(has(&["tokenizer.pre", "llama-bpe"]), "{}", said.out);
    assert_eq!(said.out.lines().last(), Some("runs: yes"));
    assert!(
        has(&["blk.2.attn_k.weight", "96", "x", "32", "F32"]),
        "{}",
        said.out
    );
    let plain = inspect(&fixture("llama-gqa.gguf"), &[]).ends_with(0);
    assert!(!plain.out.contains("blk.2"), "{}", plain.out);
}

#[test]
fn a_folder_and_a_mixture_are_models_too() {
    let folder = Folder::tiny();
    let folder = object(inspect(&folder.path(), &["--json"]), 0);
    assert_eq!(folder["sizes"]["kv_heads"], 2);
    assert_eq!(folder["tokenizer"]["entries"], 369);
    let mixture = object(inspect(&fixture("tiny/qwen3moe.gguf"), &["--json"]), 0);
    assert!(
        mixture["sizes"]["experts"]["count"].as_u64().unwrap() > 1,
        "{mixture}"
    );
}

/// What can be known is told, and the reason is the one that loading gives.
#[test]
fn a_model_that_does_not_run_says_why() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("model.gguf");
    let good = || TinyLlama::new(TensorType::F32);
    let refused = |model: TinyLlama| {
        std::fs::write(&path, model.bytes()).unwrap();
        let said = inspect(&path, &["--json"]).ends_with(1);
        assert!(said.err.contains(path.to_str().unwrap()), "{}", said.err);
        said.json_lines().remove(0)
    };
    let found = refused(good().set("general.architecture", string("mamba")));
    assert_eq!(
        (&found["architecture"], &found["runs"]),
        (&json!("mamba"), &json!(false))
    );
    let problem = found["problem"].as_str().unwrap();
    assert!(
        problem.contains("\"mamba\"") && problem.contains(SUPPORTED),
        "{problem}"
    );
    assert!(found["tokenizer"]["entries"].as_u64().unwrap() > 0);
    assert!(found["sizes"].is_null() && found["parameters"].as_u64().unwrap() > 0);

    let found = refused(good().without_tensor("output_norm.weight"));
    let problem = found["problem"].as_str().unwrap();
    assert!(problem.contains("output_norm.weight"), "{problem}");
    assert!(found["sizes"]["layers"].as_u64().unwrap() > 0 && found["memory"] == json!({}));

    let found = refused(good().set("tokenizer.ggml.bos_token_id", u32(1 << 30)));
    let problem = found["problem"].as_str().unwrap();
    assert!(problem.contains("bos_token_id"), "{problem}");
    assert!(found["memory"]["f32"]["weights"].as_u64().unwrap() > 0);
    assert!(found["tokenizer"].get("entries").is_none());
}

/// What is wrong first when it is loaded is what is told.
#[test]
fn of_several_problems_it_names_the_one_that_loading_names() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("model.gguf");
    let model = TinyLlama::new(TensorType::F32)
        .set("tokenizer.ggml.pre", string("nonsense"))
        .set("tokenizer.chat_template", string("{% if %}"))
        .without_tensor("output_norm.weight");
    std::fs::write(&path, model.bytes()).unwrap();
    let inspected = inspect(&path, &[]).ends_with(1);
    let arguments = ["--model", path.to_str().unwrap(), "--prompt", "x"];
    let ran = say(command(WOOLLY, &[&["run"], &arguments[..]].concat())).ends_with(1);
    let sentence = |said: &Said| said.err.trim().split_once(": ").unwrap().1.to_owned();
    assert_eq!(sentence(&inspected), sentence(&ran));
    let last = inspected.out.lines().last().unwrap();
    assert_eq!(last, format!("runs: no: {}", sentence(&ran)));
    assert!(
        inspected.out.contains("chat_template.problem"),
        "{}",
        inspected.out
    );
}

/// Tensors with the names of experts that are none.
#[test]
fn odd_stacks_are_looked_at_and_unpacked_as_they_are() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("model.gguf");
    let names = |names: &'static [&'static str]| {
        let tensors = names.iter().enumerate();
        let all =
            tensors.map(|(number, name)| tensor(name.as_bytes(), &[8], 0, 32 * number as u64));
        let mut file = File::good();
        file.tensors = all.collect();
        file.data = 32 * names.len();
        file.bytes()
    };
    for tensors in [
        &["x_exps.weight", "x_exps.weight.0"][..],
        &["x_exps.weight.0", "x_exps.weight.1"],
        &["x_exps.weight.1", "x_exps.weight.0", "x_exps.weight.3"],
    ] {
        std::fs::write(&path, names(tensors)).unwrap();
        let found = object(inspect(&path, &["--json"]), 1);
        let listed = found["tensors"].as_array().unwrap().iter();
        let listed: Vec<&str> = listed
            .map(|tensor| tensor["name"].as_str().unwrap())
            .collect();
        assert_eq!(listed, tensors);
        let out = place.path().join("plain.safetensors");
        let arguments = [
            "cache",
            "unpack",
            path.to_str().unwrap(),
            "-o",
            out.to_str().unwrap(),
        ];
        let dir = place.path().join("cache");
        let more = ["--dir", dir.to_str().unwrap(), "--format", "safetensors"];
        say(command(WOOLLYCTL, &[&arguments[..], &more].concat())).ends_with(0);
        std::fs::remove_file(&out).unwrap();
    }
}

#[test]
fn text_of_a_file_writes_no_lines_of_its_own() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("model.gguf");
    let name = "x\nruns: no\x1b[31m";
    let model = TinyLlama::new(TensorType::F32).set("general.name", string(name));
    std::fs::write(&path, model.bytes()).unwrap();
    let said = inspect(&path, &[]).ends_with(0);
    assert!(said.out.contains("x\\nruns: no\\u{1b}[31m"), "{}", said.out);
    assert!(!said.out.contains('\x1b'));
    let object = object(inspect(&path, &["--json"]), 0);
    assert_eq!(object["name"], name);
}

#[test]
fn what_is_no_model_is_refused() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("notes.txt");
    std::fs::write(&path, "some notes").unwrap();
    for path in [path, place.path().join("nothing.gguf")] {
        let said = inspect(&path, &[]).ends_with(1);
        assert!(said.err.contains(path.to_str().unwrap()), "{}", said.err);
        assert_eq!(said.out, "");
    }
}
