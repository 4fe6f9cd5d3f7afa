//! `woollyctl cache verify | prune | unpack`, and a conversion that is broken off.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::Read;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::support::cli::{PIPE, ROOM, Said, WOOLLYCTL, command, full_pipe, interrupt, say};
use super::support::folder::Folder;
use super::support::gguf_file::{self, tensor};
use super::support::models::{file_name, fixture};

/// A cache directory with the file of the tiny model in it.
struct Cache {
    root: tempfile::TempDir,
    file: PathBuf,
}

impl Cache {
    fn warm() -> Self {
        Self::of(&model())
    }

    fn of(model: &str) -> Self {
        let mut cache = Cache {
            root: tempfile::tempdir().unwrap(),
            file: PathBuf::new(),
        };
        cache.call(&["warm", model]).ends_with(0);
        let names = cache.names();
        let name = names.iter().find(|name| name.ends_with(".safetensors"));
        cache.file = cache.path(name.unwrap());
        cache
    }

    /// Of the tiny model in BF16.
    fn narrow() -> Self {
        let mut cache = Cache {
            root: tempfile::tempdir().unwrap(),
            file: PathBuf::new(),
        };
        let warm = ["warm", &model(), "--weights", "bf16"];
        cache.call(&warm).ends_with(0);
        let names = cache.names();
        let name = names.iter().find(|name| name.ends_with(".safetensors"));
        cache.file = cache.path(name.unwrap());
        cache
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn names(&self) -> Vec<String> {
        let files = fs::read_dir(self.root.path()).unwrap();
        let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }

    fn name(&self) -> &str {
        self.file.file_name().unwrap().to_str().unwrap()
    }

    fn call(&self, arguments: &[&str]) -> Said {
        let dir = ["--dir", self.root.path().to_str().unwrap()];
        say(command(WOOLLYCTL, &[&["cache"], arguments, &dir].concat()))
    }

    /// Changes the last byte, which belongs to a value.
    fn damage(&self) {
        fs::set_permissions(&self.file, Permissions::from_mode(0o600)).unwrap();
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&self.file)
            .unwrap();
        let last = file.metadata().unwrap().len() - 1;
        let mut byte = [0];
        file.read_exact_at(&mut byte, last).unwrap();
        file.write_all_at(&[!byte[0]], last).unwrap();
        drop(file);
        fs::set_permissions(&self.file, Permissions::from_mode(0o400)).unwrap();
    }
}

fn model() -> String {
    fixture("llama-gqa.gguf").to_str().unwrap().to_owned()
}

/// Not the model of the cache file.
fn other_model(cache: &Cache) -> String {
    let path = cache.path("other.gguf");
    fs::write(&path, gguf_file::File::good().bytes()).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn sound_files_are_said_to_be_sound() {
    let cache = Cache::warm();
    let said = cache.call(&["verify"]).ends_with(0);
    let start = format!("{}: ok, 1.1", cache.name());
    assert!(
        said.out.starts_with(&start) && said.out.ends_with(" GB/s\n"),
        "{}",
        said.out
    );
    // By the beginning of the name, and by path.
    for subject in [&cache.name()[..5], cache.file.to_str().unwrap()] {
        let lines = cache
            .call(&["verify", "--json", subject])
            .ends_with(0)
            .json_lines();
        assert_eq!(
            (&lines[0]["status"], &lines[0]["problem"]),
            (&json!("ok"), &Value::Null)
        );
        assert_eq!(lines[0]["bytes"], fs::metadata(&cache.file).unwrap().len());
    }
    cache.call(&["verify", "zzz"]).ends_with(1);
    cache.call(&["verify", "--model", &model()]).ends_with(2);
}

#[test]
fn a_damaged_file_is_named_with_its_tensor_and_repaired_from_where_its_model_was() {
    let cache = Cache::warm();
    let sound = fs::read(&cache.file).unwrap();
    cache.damage();
    let said = cache.call(&["verify"]).ends_with(1);
    let expected = format!("{}: damaged, 1.1", cache.name());
    assert!(said.out.starts_with(&expected), "{}", said.out);
    assert!(said.out.contains("the values of tensor "), "{}", said.out);
    assert!(
        said.err.ends_with("1 of 1 cache files are not sound\n"),
        "{}",
        said.err
    );
    assert!(cache.file.exists(), "only --repair changes anything");

    let lines = cache
        .call(&["verify", "--repair", "--json"])
        .ends_with(0)
        .json_lines();
    assert_eq!(lines[0]["status"], "damaged");
    assert_eq!(lines[0]["damaged_tensors"].as_array().unwrap().len(), 1);
    assert_eq!(lines[0]["repair"]["model"], model());
    assert_eq!(fs::read(&cache.file).unwrap(), sound);
    cache.call(&["verify"]).ends_with(0);
    let listed = cache.call(&["list", "--json"]).ends_with(0).json_lines();
    let states: Vec<&Value> = listed.iter().map(|item| &item["state"]).collect();
    assert_eq!(states, ["ready", "quarantined"]);
}

#[test]
fn a_model_of_several_files_is_known_again_and_its_cache_file_goes_with_it() {
    let folder = Folder::tiny();
    let model = folder.path().to_str().unwrap().to_owned();
    let cache = Cache::of(&model);
    let sound = fs::read(&cache.file).unwrap();
    cache.damage();
    let lines = cache
        .call(&["verify", "--repair", "--json"])
        .ends_with(0)
        .json_lines();
    assert_eq!(lines[0]["repair"]["model"], model);
    assert_eq!(fs::read(&cache.file).unwrap(), sound);

    let removed = || {
        let lines = cache
            .call(&["prune", "--dry-run", "--json"])
            .ends_with(0)
            .json_lines();
        let of_file = |line: &&Value| line["file"] == cache.file.to_str().unwrap();
        let line = lines.iter().find(of_file);
        line.map(|line| line["reason"].as_str().unwrap().to_owned())
    };
    assert_eq!(removed(), None);
    fs::remove_dir_all(&model).unwrap();
    let gone = "the model it was made from is gone";
    assert_eq!(removed().as_deref(), Some(gone));
}

#[test]
fn a_file_whose_model_is_not_known_is_set_aside() {
    let cache = Cache::warm();
    cache.damage();
    let other = other_model(&cache);
    let said = cache
        .call(&["verify", "--repair", "--model", &other])
        .ends_with(1);
    assert!(
        said.out.contains("the next start converts it again"),
        "{}",
        said.out
    );
    let aside = format!("{}.bad", cache.name());
    let names = cache.names();
    assert!(
        names.contains(&aside) && !names.contains(&cache.name().to_owned()),
        "{names:?}"
    );

    // A file of which not even the header is left, and the right model.
    let short = cache.file.clone();
    fs::write(&short, "short").unwrap();
    let said = cache
        .call(&["verify", "--repair", "--model", &model()])
        .ends_with(0);
    assert!(said.out.contains(": refused, 5 B: "), "{}", said.out);
    assert!(
        said.out
            .ends_with(&format!("; converted again from {}\n", model())),
        "{}",
        said.out
    );
    cache.call(&["verify"]).ends_with(0);
}

#[test]
fn what_is_of_no_use_is_removed_and_what_is_mapped_stays() {
    let cache = Cache::warm();
    let aside = format!("{}.bad", file_name(1));
    let lock = format!("{:032x}.lock", 7);
    for name in [&file_name(0), &aside, &lock, ".building-4294967295-0"] {
        fs::write(cache.path(name), "12345").unwrap();
    }
    let foreign = ["Cargo.lock", "model.safetensors", "old.safetensors.bad"];
    for name in foreign {
        fs::write(cache.path(name), "not of the cache").unwrap();
    }
    let before = cache.names();
    let dry = cache.call(&["prune", "--dry-run"]).ends_with(0);
    assert_eq!(cache.names(), before);
    assert_eq!(dry.out.lines().count(), 5, "{}", dry.out);
    assert!(dry.out.contains("would give 20 B of room"), "{}", dry.out);

    let user = File::open(cache.path(&aside)).unwrap();
    user.lock_shared().unwrap();
    let lines = cache.call(&["prune", "--json"]).ends_with(0).json_lines();
    assert_eq!(lines.len(), 4);
    assert_eq!(
        lines[3],
        json!({"files": 3, "freed_bytes": 15, "dry_run": false})
    );
    drop(user);
    let said = cache.call(&["prune"]).ends_with(0);
    assert!(
        said.out
            .contains(&format!("{aside}: 5 B, it was set aside as damaged\n")),
        "{}",
        said.out
    );
    let rest = cache.names();
    let record = rest.iter().filter(|name| name.ends_with(".source")).count();
    assert_eq!((rest.len(), record), (5, 1), "{rest:?}");
    for name in foreign {
        assert!(cache.path(name).exists(), "{name}");
    }
}

#[test]
fn the_limit_is_that_of_the_command_line_or_of_the_configuration() {
    let cache = Cache::warm();
    cache.call(&["prune", "--max-bytes", "2MiB"]).ends_with(0);
    cache.call(&["prune", "--older-than", "1h"]).ends_with(0);
    assert!(cache.file.exists());
    for wrong in [["--max-bytes", "2MB"], ["--older-than", "soon"]] {
        cache.call(&[&["prune"], &wrong[..]].concat()).ends_with(2);
    }
    let config = cache.path("woolly.toml");
    fs::write(&config, "[cache]\ndir = \".\"\nmax_bytes = \"1MiB\"\n").unwrap();
    let arguments = ["cache", "prune", "--config", config.to_str().unwrap()];
    let said = say(command(WOOLLYCTL, &arguments)).ends_with(0);
    assert!(said.out.contains("the cache is too large"), "{}", said.out);
    assert!(!cache.file.exists());
    let said = cache.call(&["prune", "--all"]).ends_with(0);
    assert!(said.out.contains("everything goes"), "{}", said.out);
    assert_eq!(cache.names(), ["woolly.toml"]);
}

#[test]
fn an_output_that_is_there_is_replaced_only_by_force() {
    let cache = Cache::warm();
    let out = cache.path("out.gguf");
    let out = out.to_str().unwrap();
    fs::write(out, "older").unwrap();
    let unpack = |more: &[&str]| cache.call(&[&["unpack", "-o", out], more].concat());
    let said = unpack(&[&model()]).ends_with(1);
    assert!(said.err.contains("is there already"), "{}", said.err);
    // The metadata of a GGUF file come from its model, and from no other.
    let by_name = ["--force", "--format", "gguf", &cache.name()[..9]];
    unpack(&by_name).ends_with(2);
    let other = other_model(&cache);
    let said = unpack(&[&by_name[..], &["--model", &other]].concat()).ends_with(1);
    assert!(said.err.contains("the header's source is "), "{}", said.err);
    assert_eq!(fs::read(out).unwrap(), b"older");

    unpack(&[&by_name[..], &["--model", &model()]].concat()).ends_with(0);
    let from_name = fs::read(out).unwrap();
    let lines = unpack(&["--force", "--json", "--format", "gguf", &model()])
        .ends_with(0)
        .json_lines();
    assert_eq!(fs::read(out).unwrap(), from_name);
    assert_eq!(lines[0]["bytes"], from_name.len());
    // All tensors are F32 already, so only the order differs.
    assert_eq!(from_name.len(), fs::read(model()).unwrap().len());
}

#[test]
fn a_damaged_file_is_not_unpacked_and_leaves_no_output() {
    let cache = Cache::warm();
    cache.damage();
    let before = cache.names();
    let out = cache.path("out.safetensors");
    let said = cache
        .call(&["unpack", cache.name(), "-o", out.to_str().unwrap()])
        .ends_with(1);
    assert!(
        said.err.contains("do not match their checksum"),
        "{}",
        said.err
    );
    assert_eq!(cache.names(), before);
}

/// The first signal arrives while most of the work is still to be done: the program cannot go on, because
/// nobody reads what it says of its progress.
#[test]
fn a_conversion_that_is_broken_off_leaves_nothing() {
    let root = tempfile::tempdir().unwrap();
    let model = root.path().join("large.gguf");
    // 64 MiB in two tensors.
    let (rows, bytes) = (8192, 32 << 20);
    let tensors = vec![
        tensor(b"a.weight", &[1024, rows], 0, 0),
        tensor(b"b.weight", &[1024, rows], 0, bytes as u64),
    ];
    let large = gguf_file::File {
        data: 2 * bytes,
        ..gguf_file::File::with_tensors(tensors)
    };
    fs::write(&model, large.bytes()).unwrap();
    let dir = root.path().join("cache");
    let arguments = [
        "cache",
        "warm",
        model.to_str().unwrap(),
        "--dir",
        dir.to_str().unwrap(),
    ];
    let mut warming = command(WOOLLYCTL, &arguments);
    let (mut reader, writer) = full_pipe();
    let mut child = warming.stderr(writer).spawn().unwrap();
    // The command holds a writing end.
    drop(warming);
    while rustix::io::ioctl_fionread(&reader).unwrap() <= (PIPE - ROOM) as u64 {
        std::thread::yield_now();
    }
    interrupt(&child);
    let mut said = Vec::new();
    reader.read_to_end(&mut said).unwrap();
    let said = String::from_utf8_lossy(&said[PIPE - ROOM..]).into_owned();
    assert_eq!(child.wait().unwrap().code(), Some(1), "{said}");
    assert!(said.ends_with("woollyctl: interrupted\n"), "{said}");
    // It did not go on to the end first.
    assert!(!said.contains("converting large.gguf: 100%"), "{said}");
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 0);
}

#[test]
fn a_directory_that_is_not_there_needs_no_care() {
    let place = tempfile::tempdir().unwrap();
    let dir = place.path().join("none");
    for verb in ["verify", "prune"] {
        let arguments = ["cache", verb, "--dir", dir.to_str().unwrap()];
        say(command(WOOLLYCTL, &arguments)).ends_with(0);
        assert!(!Path::new(&dir).exists());
    }
}

#[test]
fn what_is_no_cache_file_is_not_set_aside() {
    let cache = Cache::warm();
    let shard = cache.path("model-00001-of-00002.safetensors");
    fs::write(&shard, "not of the cache").unwrap();
    let said = cache
        .call(&["verify", "--repair", shard.to_str().unwrap()])
        .ends_with(1);
    assert!(
        said.err.contains("does not have the name of a cache file"),
        "{}",
        said.err
    );
    assert_eq!(fs::read(&shard).unwrap(), b"not of the cache");
}

#[test]
fn a_fifo_is_not_waited_for() {
    let cache = Cache::warm();
    let fifo = cache.path("fifo");
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, mode).unwrap();
    let out = cache.path("out.safetensors");
    let said = cache
        .call(&[
            "unpack",
            fifo.to_str().unwrap(),
            "-o",
            out.to_str().unwrap(),
        ])
        .ends_with(1);
    assert!(said.err.contains("regular file"), "{}", said.err);
    assert!(!out.exists());
}

#[test]
fn a_cache_in_bf16_is_cared_for_like_any_other() {
    let cache = Cache::narrow();
    assert!(
        cache.name().contains("-bf16-panels16-v1."),
        "{}",
        cache.name()
    );
    let sound = fs::read(&cache.file).unwrap();
    let wide = Cache::warm();
    let bytes = fs::metadata(&wide.file).unwrap().len();
    assert!((sound.len() as u64) < bytes * 6 / 10);
    cache.damage();
    cache.call(&["verify"]).ends_with(1);
    cache.call(&["verify", "--repair"]).ends_with(0);
    assert_eq!(fs::read(&cache.file).unwrap(), sound);
    // Both number types of one model live side by side.
    cache.call(&["warm", &model()]).ends_with(0);
    let files = cache.names().into_iter();
    let files: Vec<_> = files
        .filter(|name| name.ends_with(".safetensors"))
        .collect();
    assert_eq!(files.len(), 2, "{files:?}");
    let rows = cache.path("rows.gguf");
    let unpack = [
        "unpack",
        cache.name(),
        "-o",
        rows.to_str().unwrap(),
        "--format",
        "gguf",
    ];
    let model = model();
    cache
        .call(&[&unpack[..], &["--model", &model]].concat())
        .ends_with(0);
    let said = cache.call(&["warm", "somewhere.gguf", "--weights", "f16"]);
    said.ends_with(2);
}
