//! The configuration file: what it means, what is refused and in which words.

use std::path::Path;

use proptest::prelude::*;
use woolly::config::{
    Config, IsaChoice, LogFormat, ModelSource, Preset, Synthetic, SyntheticNorm, Verify,
};
use woolly::tensor::{Element, Elements};

const BASE: &str = "/etc/woolly";
const COMMENTED: &str = include_str!("../config/woolly.toml");

fn read(text: &str) -> Config {
    Config::from_toml(text, Path::new(BASE)).unwrap()
}

/// The sentence with which `text` is refused.
fn refusal(text: &str) -> String {
    Config::from_toml(text, Path::new(BASE))
        .unwrap_err()
        .to_string()
}

/// The commented file with its default lines switched on, cut into the text before and after `[synthetic]`
/// and that table itself.
fn shipped_defaults() -> (String, String) {
    let (mut rest, mut synthetic, mut in_synthetic) = (String::new(), String::new(), false);
    for line in COMMENTED.lines() {
        let Some(line) = line
            .strip_prefix('#')
            .filter(|line| line.starts_with(|c: char| c != ' '))
        else {
            continue;
        };
        if line.starts_with('[') {
            in_synthetic = line == "[synthetic]";
        }
        let part = if in_synthetic {
            &mut synthetic
        } else {
            &mut rest
        };
        part.push_str(line);
        part.push('\n');
    }
    (rest, synthetic)
}

#[test]
fn the_shipped_file_as_it_is_changes_nothing() {
    assert_eq!(read(COMMENTED), read(""));
}

#[test]
fn the_shipped_file_shows_the_defaults_of_the_code() {
    let (rest, synthetic) = shipped_defaults();
    let with_path = rest.replace("[model]\n", "[model]\npath = \"m.gguf\"\n");
    assert_eq!(read(&with_path), read("[model]\npath = \"m.gguf\""));

    let source = "source = \"gguf\"";
    assert!(rest.contains(source));
    let with_synthetic = rest.replace(source, "source = \"synthetic\"") + &synthetic;
    assert_eq!(
        read(&with_synthetic),
        read("[model]\nsource = \"synthetic\"")
    );
}

#[test]
fn the_shipped_file_has_every_key() {
    let printed =
        read("[model]\nsource = \"synthetic\"\nname = \"n\"\ncontext_length = 9").to_toml();
    let keys = printed
        .lines()
        .filter_map(|line| line.split_once(" = "))
        .map(|(key, _)| key);
    for key in keys.chain(["path", "chat_template"]) {
        let shown = COMMENTED.lines().any(|line| {
            let line = line.trim_start_matches(['#', ' ']);
            line.starts_with(&format!("{key} = ")) || line.contains(&format!(" {key} = "))
        });
        assert!(shown, "config/woolly.toml does not show {key}");
    }
}

#[test]
fn what_is_printed_reads_back_to_the_same() {
    let text = r#"
        [daemon]
        socket = "run/w.sock"
        socket_mode = "0600"
        state_dir = "/var/lib/w"
        drain_timeout_s = 3
        admin_uids = [1000, 1001]
        [model]
        name = "tiny \"one\""
        source = "synthetic"
        context_length = 99
        chat_template = "{{ messages }}\nline"
        max_tokens = { chat = 7 }
        [synthetic]
        preset = "tiny"
        num_layers = 5
        tied = false
        [compute]
        weights = "bf16"
        kv = "bf16"
        isa = "portable"
        [workers]
        count = 1
        threads_per_worker = 1
        slots = 3
        kv_bytes = 1025
        [queue]
        max_jobs = 12
        retention = "90s"
        [log]
        level = "warn,woolly=debug"
        format = "json"
    "#;
    let config = read(text);
    assert_eq!(read(&config.to_toml()), config);
    assert_eq!(read(&read("").to_toml()), read(""));
}

#[test]
fn values_mean_what_they_say() {
    let config = read(
        "[daemon]\nsocket = \"w.sock\"\nsocket_mode = \"600\"\n[model]\npath = \"../m.gguf\"\nmax_tokens = 9\n\
         [queue]\nretention = \"2h\"\n[workers]\nkv_bytes = \"3MiB\"\n[compute]\nkv = \"bf16\"\nisa = \"avx2\"\n\
         [log]\nformat = \"json\"",
    );
    assert_eq!(config.daemon.socket, Path::new("/etc/woolly/w.sock"));
    assert_eq!(config.daemon.socket_mode, 0o600);
    let model = config.model.unwrap();
    assert_eq!(
        model.source,
        ModelSource::Gguf("/etc/woolly/../m.gguf".into())
    );
    assert_eq!((model.max_tokens_completion, model.max_tokens_chat), (9, 9));
    assert_eq!(config.queue.retention_s, 7200);
    assert_eq!(config.workers.kv_bytes, 3 << 20);
    assert_eq!(config.compute.isa, IsaChoice::Avx2);
    let expected = Elements {
        weights: Element::F32,
        kv: Element::Bf16,
    };
    assert_eq!(config.compute.elements, expected);
    assert_eq!(config.log.format, LogFormat::Json);
}

#[test]
fn a_folder_is_one_of_safetensors_by_its_path_or_by_the_word() {
    let base = tempfile::tempdir().unwrap();
    std::fs::create_dir(base.path().join("model")).unwrap();
    let source = |text: &str| {
        let config = Config::from_toml(&format!("[model]\n{text}"), base.path()).unwrap();
        let again = Config::from_toml(&config.to_toml(), Path::new(BASE)).unwrap();
        assert_eq!(again, config);
        config.model.unwrap().source
    };
    let folder = ModelSource::Safetensors(base.path().join("model"));
    assert_eq!(source("path = \"model\""), folder);
    assert_eq!(source("source = \"gguf\"\npath = \"model\""), folder);
    let missing = base.path().join("none");
    let said = source("source = \"safetensors\"\npath = \"none\"");
    assert_eq!(said, ModelSource::Safetensors(missing.clone()));
    assert_eq!(source("path = \"none\""), ModelSource::Gguf(missing));
    assert!(refusal("[model]\nsource = \"safetensors\"").contains("model.path is missing"));
}

#[test]
fn defaults_are_one_worker_with_all_cpus() {
    let cpus = std::thread::available_parallelism().unwrap().get();
    let config = read("");
    assert_eq!(
        (config.workers.count, config.workers.threads_per_worker),
        (1, cpus)
    );
    assert_eq!(config.model, None);
    let chat_only = read("[model]\npath = \"m\"\nmax_tokens = { chat = 5 }")
        .model
        .unwrap();
    assert_eq!(
        (chat_only.max_tokens_completion, chat_only.max_tokens_chat),
        (16, 5)
    );
}

#[test]
fn a_preset_is_overridden_key_by_key() {
    let synthetic =
        |text: &str| match read(&format!("[model]\nsource = \"synthetic\"\n{text}")).model {
            Some(model) => match model.source {
                ModelSource::Synthetic(synthetic) => synthetic,
                ModelSource::Gguf(_) | ModelSource::Safetensors(_) => panic!("not synthetic"),
            },
            None => panic!("no model"),
        };
    let full = Preset::M135.sizes();
    assert_eq!(
        (
            full.vocab_size,
            full.hidden_size,
            full.num_layers,
            full.num_heads,
            full.num_kv_heads
        ),
        (49152, 576, 30, 9, 3)
    );
    assert_eq!(
        (
            full.context_length,
            full.intermediate_size,
            full.tied,
            full.seed
        ),
        (8192, 1536, true, 42)
    );
    assert_eq!(synthetic(""), full);
    assert_eq!(
        synthetic("[synthetic]\npreset = \"tiny\""),
        Preset::Tiny.sizes()
    );
    assert_eq!(
        synthetic("[synthetic]\nnum_layers = 2\nseed = 7"),
        Synthetic {
            num_layers: 2,
            seed: 7,
            ..full.clone()
        }
    );
    assert_eq!(
        synthetic("[synthetic]\nnum_heads = 4\nhidden_size = 64"),
        Synthetic {
            num_heads: 4,
            num_kv_heads: 4,
            hidden_size: 64,
            ..full
        }
    );
    assert_eq!(
        synthetic("[synthetic]\npreset = \"1b\"\nnorm = \"layer\"\ntied = true"),
        Synthetic {
            norm: SyntheticNorm::Layer,
            tied: true,
            ..Preset::B1.sizes()
        }
    );
}

#[test]
fn presets_have_the_sizes_of_the_models_they_are_named_after() {
    let parameters = |preset: Preset| {
        let s = preset.sizes();
        let kv = s.hidden_size / s.num_heads * s.num_kv_heads;
        let layer = 2 * s.hidden_size * (s.hidden_size + kv)
            + 3 * s.hidden_size * s.intermediate_size
            + 2 * s.hidden_size;
        let tables = if s.tied { 1 } else { 2 };
        tables * s.vocab_size * s.hidden_size + s.num_layers * layer + s.hidden_size
    };
    // As the models' own cards count them.
    assert_eq!(parameters(Preset::M135), 134_515_008);
    assert_eq!(parameters(Preset::B1), 1_100_048_384);
    assert_eq!(parameters(Preset::Llama7b), 6_738_415_616);
    let (base, epsilon) = (Preset::Llama7b.rope_base(), Preset::Llama7b.norm_epsilon());
    assert_eq!((base, epsilon), (10_000.0, 1e-5));
    assert_eq!(Preset::M135.rope_base(), 100_000.0);
    for name in ["tiny", "135m", "1b", "llama-7b"] {
        assert_eq!(Preset::by_name(name).map(Preset::name), Some(name));
    }
}

#[test]
fn unknown_keys_name_the_nearest_known_one_and_the_line() {
    let cases = [
        (
            "[workers]\nslot = 3",
            "line 2: unknown key workers.slot; the nearest known key is workers.slots",
        ),
        (
            "\n[worker]\ncount = 1",
            "line 2: unknown key worker; the nearest known key is [workers]",
        ),
        (
            "socket = \"s\"",
            "line 1: unknown key socket; the nearest known key is daemon.socket",
        ),
        (
            "[model]\npath = \"m\"\nmax_tokens = { completion = 1 }",
            "line 3: unknown key model.max_tokens.completion; the nearest known key is \
             model.max_tokens.completions",
        ),
        (
            "[daemon]\n\n\ndrain_timeout = 3",
            "line 4: unknown key daemon.drain_timeout; the nearest known key is daemon.drain_timeout_s",
        ),
    ];
    for (text, sentence) in cases {
        assert_eq!(refusal(text), sentence);
    }
    // Keys that are planned but have no effect are not accepted silently.
    assert!(refusal("[api]\ntcp = \"x\"").contains("unknown key"));
}

#[test]
fn bad_values_name_the_key_what_was_given_and_what_was_expected() {
    let model = "[model]\nsource = \"synthetic\"\n[synthetic]\n";
    let cases = [
        (
            "workers = 3".to_owned(),
            "line 1: workers is 3; expected a table",
        ),
        (
            "[log]\nformat = \"xml\"".to_owned(),
            "line 2: log.format is \"xml\"; expected \"text\" or \"json\"",
        ),
        (
            "[log]\nformat = 7".to_owned(),
            "line 2: log.format is 7; expected \"text\" or \"json\"",
        ),
        (
            "[workers]\nslots = -1".to_owned(),
            "line 2: workers.slots is -1; expected a whole number from 1 to 1024",
        ),
        (
            "[workers]\nslots = 0".to_owned(),
            "line 2: workers.slots is 0; expected a whole number from 1 to 1024",
        ),
        (
            "[workers]\nkv_bytes = \"1GB\"".to_owned(),
            "line 2: workers.kv_bytes is \"1GB\"; expected a number of bytes, or a text such as \"512MiB\" or \"2GiB\"",
        ),
        (
            "[queue]\nmax_jobs = 1.5".to_owned(),
            "line 2: queue.max_jobs is 1.5; expected a whole number from 1 up",
        ),
        (
            "[daemon]\nadmin_uids = [0, \"ann\"]".to_owned(),
            "line 2: daemon.admin_uids is [0, \"ann\"]; expected a list of user ids",
        ),
        (
            "[daemon]\nadmin_uids = [65534]".to_owned(),
            "line 2: daemon.admin_uids is [65534]; expected user ids without 65534, which stands for every unknown user",
        ),
        (
            "[compute]\nweights = \"f16\"".to_owned(),
            "line 2: compute.weights is \"f16\"; expected \"f32\" or \"bf16\"",
        ),
        (
            "[model]\npath = \"m\"\nmax_tokens = \"many\"".to_owned(),
            "line 3: model.max_tokens is \"many\"; expected a whole number from 0 up, or { completions = N, chat = N }",
        ),
        (
            "[model]\nname = \"x\"".to_owned(),
            "model.path is missing; expected the path of a GGUF file or a model folder",
        ),
        (
            "[model]\nsource = \"onnx\"".to_owned(),
            "line 2: model.source is \"onnx\"; expected \"gguf\", \"safetensors\" or \"synthetic\"",
        ),
        (
            format!("{model}vocab_size = 257"),
            "line 4: synthetic.vocab_size is 257; expected a whole number from 258 to 4194304",
        ),
        (
            format!("{model}num_heads = 7"),
            "line 4: synthetic.num_heads is 7; expected hidden_size to be a multiple of twice num_heads (here 576 and 7)",
        ),
        (
            format!("{model}num_kv_heads = 2"),
            "line 4: synthetic.num_kv_heads is 2; expected num_kv_heads to divide num_heads (here 2 and 9)",
        ),
        (
            format!("{model}preset = \"7b\""),
            "line 4: synthetic.preset is \"7b\"; expected \"tiny\", \"135m\", \"1b\" or \"llama-7b\"",
        ),
        (
            format!("{model}norm = \"batch\""),
            "line 4: synthetic.norm is \"batch\"; expected \"rms\" or \"layer\"",
        ),
    ];
    for (text, sentence) in cases {
        assert_eq!(refusal(&text), sentence);
    }
}

#[test]
fn more_threads_than_cpus_are_refused() {
    let cpus = std::thread::available_parallelism().unwrap().get();
    let sentence = refusal(&format!("[workers]\ncount = {}", cpus + 1));
    assert_eq!(
        sentence,
        format!(
            "line 2: workers.count is {}; expected a whole number from 1 to {cpus} (this process may use {cpus} CPUs)",
            cpus + 1
        )
    );
    let sentence = refusal(&format!(
        "[workers]\ncount = {cpus}\nthreads_per_worker = 2"
    ));
    assert!(
        sentence.starts_with("line 3: workers.threads_per_worker is 2; expected"),
        "{sentence}"
    );
}

#[test]
fn keys_without_effect_are_refused() {
    assert_eq!(
        refusal("[synthetic]\nseed = 1"),
        "line 1: synthetic has no effect without a [model] with source = \"synthetic\""
    );
    assert_eq!(
        refusal("[model]\npath = \"m\"\n[synthetic]\nseed = 1"),
        "line 3: synthetic has no effect unless model.source is \"synthetic\""
    );
    assert_eq!(
        refusal("[model]\nsource = \"synthetic\"\npath = \"m\""),
        "line 3: model.path has no effect while model.source is \"synthetic\""
    );
}

#[test]
fn a_file_names_itself_in_errors() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("w.toml");
    let missing = Config::load(Some(&file)).unwrap_err().to_string();
    assert_eq!(
        missing,
        format!(
            "cannot read the configuration {}: there is no such file",
            file.display()
        )
    );

    std::fs::write(&file, "[log]\nlevel = \"inof\"\n").unwrap();
    let sentence = Config::load(Some(&file)).unwrap_err().to_string();
    assert!(
        sentence.starts_with(&format!(
            "{}:2: log.level is \"inof\"; expected ",
            file.display()
        )),
        "{sentence}"
    );

    std::fs::write(&file, "[log\n").unwrap();
    let sentence = Config::load(Some(&file)).unwrap_err().to_string();
    assert!(
        sentence.starts_with(&format!("{}:1: ", file.display())),
        "{sentence}"
    );
    assert_eq!(sentence.lines().count(), 1);

    std::fs::write(&file, "[cache]\ndir = \"here\"\n").unwrap();
    assert_eq!(
        Config::load(Some(&file)).unwrap().cache.dir,
        directory.path().join("here")
    );
}

#[test]
fn the_cache_is_limited_and_verified_as_written() {
    let cache = |text: &str| Config::from_toml(text, Path::new(BASE)).unwrap().cache;
    let by_default = cache("");
    assert_eq!(by_default.max_bytes, None);
    assert_eq!(by_default.verify, Verify::Background);
    let written = cache("[cache]\nmax_bytes = \"3GiB\"\nverify = \"header\"");
    assert_eq!(written.max_bytes, Some(3 << 30));
    assert_eq!(written.verify, Verify::Header);
    assert_eq!(
        refusal("[cache]\nverify = \"never\""),
        r#"line 2: cache.verify is "never"; expected "background", "full" or "header""#
    );
    assert!(refusal("[cache]\nmax_bytes = 0").starts_with("line 2: cache.max_bytes is 0; "));
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text: String) {
        let _ = Config::from_toml(&text, Path::new(BASE));
    }

    #[test]
    fn no_value_makes_it_panic(
        table in "(daemon|model|synthetic|cache|compute|workers|queue|api|log)",
        key in "(socket|path|max_tokens|num_heads|hidden_size|count|slots|kv_bytes|retention|level|dir|verify|max_bytes)",
        value in r#"(-?[0-9]{1,20}|"[^"\\\n]{0,5}"|\[[0-9]?\]|\{ ?chat ?= ?[0-9a-z]{1,3} ?\}|true|1979-05-27)"#,
    ) {
        if let Ok(config) = Config::from_toml(&format!("[{table}]\n{key} = {value}"), Path::new(BASE)) {
            prop_assert_eq!(Config::from_toml(&config.to_toml(), Path::new(BASE)), Ok(config));
        }
    }
}
