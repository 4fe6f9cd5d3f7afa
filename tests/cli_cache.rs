//! `woollyctl cache`: without a daemon, and with a configuration that has no `[model]`.

use std::path::Path;

use serde_json::json;

use super::support::cli::{Said, WOOLLY, WOOLLYCTL, command, say};
use super::support::folder::Folder;
use super::support::models::file_name;

fn cache(arguments: &[&str]) -> Said {
    say(command(WOOLLYCTL, &[&["cache"], arguments].concat()))
}

fn warm(model: &Path, dir: &Path) -> Said {
    cache(&[
        "warm",
        model.to_str().unwrap(),
        "--dir",
        dir.to_str().unwrap(),
    ])
}

#[test]
fn a_directory_that_is_not_there_holds_nothing_and_is_not_made() {
    let place = tempfile::tempdir().unwrap();
    let dir = place.path().join("none");
    let said = cache(&["list", "--dir", dir.to_str().unwrap()]).ends_with(0);
    assert_eq!(said.out.split_whitespace().next(), Some("FILE"));
    assert_eq!(
        cache(&["list", "--json", "--dir", dir.to_str().unwrap()])
            .ends_with(0)
            .out,
        ""
    );
    assert!(!dir.exists());
}

#[test]
fn the_directory_comes_from_a_configuration_without_a_model() {
    let place = tempfile::tempdir().unwrap();
    let config = place.path().join("woolly.toml");
    std::fs::write(&config, "[cache]\ndir = \"here\"\n").unwrap();
    std::fs::create_dir(place.path().join("here")).unwrap();
    std::fs::write(place.path().join("here").join(file_name(0)), "no tensors").unwrap();
    let listed = cache(&["list", "--json", "--config", config.to_str().unwrap()])
        .ends_with(0)
        .json_lines();
    assert_eq!(listed.len(), 1);
    assert_eq!(
        (&listed[0]["bytes"], &listed[0]["valid"]),
        (&json!(10), &json!(false))
    );

    std::fs::write(&config, "[cache]\ndirr = \"here\"\n").unwrap();
    let said = cache(&["list", "--config", config.to_str().unwrap()]).ends_with(1);
    assert!(
        said.err.contains("dirr") && said.err.contains("dir"),
        "{}",
        said.err
    );
}

#[test]
fn a_model_that_is_missing_foreign_or_cut_short_is_one_sentence_and_leaves_nothing() {
    let place = tempfile::tempdir().unwrap();
    let dir = place.path().join("cache");
    let missing = place.path().join("missing.gguf");
    let foreign = place.path().join("foreign.gguf");
    std::fs::write(&foreign, "#!/bin/sh\nexit 0\n".repeat(9)).unwrap();
    let cut = place.path().join("cut.gguf");
    std::fs::write(&cut, b"GGUF\x03\0\0\0").unwrap();
    for model in [&missing, &foreign, &cut, &place.path().to_path_buf()] {
        let said = warm(model, &dir).ends_with(1);
        assert_eq!(said.err.lines().count(), 1, "{}", said.err);
        assert!(said.err.contains(model.to_str().unwrap()), "{}", said.err);
        let left = std::fs::read_dir(&dir).map_or(0, |files| {
            let tensors = |name: &std::ffi::OsStr| {
                Path::new(name).extension() == Some("safetensors".as_ref())
            };
            files
                .filter(|file| tensors(&file.as_ref().unwrap().file_name()))
                .count()
        });
        assert_eq!(left, 0);
    }
}

#[test]
fn a_folder_is_warmed_and_run_like_a_file() {
    let folder = Folder::tiny();
    let first = warm(&folder.path(), &folder.cache()).ends_with(0);
    assert!(first.out.contains("is written"), "{}", first.out);
    let second = warm(&folder.path(), &folder.cache()).ends_with(0);
    assert!(second.out.contains("was already there"), "{}", second.out);

    let config = folder.outside().join("woolly.toml");
    std::fs::write(&config, "[cache]\ndir = \"cache\"\n").unwrap();
    let paths = [folder.path(), config];
    let [model, config] = paths.each_ref().map(|path| path.to_str().unwrap());
    let run = [
        "run", "--config", config, "--prompt", "the", "--json", "--model", model,
    ];
    let answer = say(command(WOOLLY, &run)).ends_with(0).json_lines();
    assert_eq!(answer[0]["model"], json!("tiny-llama-1.5"), "{answer:?}");
}

#[test]
fn a_file_that_would_be_refused_is_listed_with_the_reason_below() {
    let dir = tempfile::tempdir().unwrap();
    let name = file_name(1);
    std::fs::write(dir.path().join(&name), "short").unwrap();
    // A model that somebody keeps there is none of the cache's.
    std::fs::write(dir.path().join("model.safetensors"), "short").unwrap();
    let said = cache(&["list", "--dir", dir.path().to_str().unwrap()]).ends_with(0);
    let lines: Vec<&str> = said.out.lines().collect();
    assert_eq!(lines.len(), 3, "{}", said.out);
    assert!(lines[1].contains("refused"), "{}", said.out);
    assert!(lines[2].contains(&format!("{name}: ")), "{}", said.out);
}

#[test]
fn the_second_warming_finds_the_first() {
    let Some(model) = std::env::var_os("WOOLLY_TEST_MODEL") else {
        eprintln!("skipped: WOOLLY_TEST_MODEL names no model");
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let first = warm(Path::new(&model), dir.path()).ends_with(0);
    assert!(first.out.contains("is written"), "{}", first.out);
    assert!(first.err.contains(": 50% ("), "{}", first.err);
    let second = warm(Path::new(&model), dir.path()).ends_with(0);
    assert!(second.out.contains("was already there"), "{}", second.out);
    let only_looked_at = |line: &str| line.starts_with("verifying ");
    assert!(second.err.lines().all(only_looked_at), "{}", second.err);
    let listed = cache(&["list", "--json", "--dir", dir.path().to_str().unwrap()])
        .ends_with(0)
        .json_lines();
    assert_eq!((listed.len(), &listed[0]["valid"]), (1, &json!(true)));
}
