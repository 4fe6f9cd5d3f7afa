//! A folder of safetensors is the model that its GGUF file is: same bits, same tokens, and every way to be
//! wrong has an error of its own.

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::{Value, json};
use woolly::config::{self, ModelSource, Verify};
use woolly::model::{self, LoadedModel};
use woolly::tensor::Elements;
use woolly::weights::gguf::Header;
use woolly::weights::{self, Loaded, folder};

use crate::reference::check_completions;
use crate::support::folder::{FIRST, Folder, GGUF, INDEX, Piece, SECOND, safetensors, with_header};
use crate::support::models::{fixture, reference};

fn open(folder: &Folder) -> Result<Loaded, weights::Error> {
    let source = ModelSource::at(folder.path());
    weights::open(&source, &folder.cache(), &())
}

fn load(folder: &Folder) -> Result<LoadedModel, model::Error> {
    let model = config::Model {
        name: None,
        source: ModelSource::at(folder.path()),
        context_length: None,
        chat_template: None,
        max_tokens_completion: 16,
        max_tokens_chat: 16,
    };
    let cache = config::Cache {
        dir: folder.cache(),
        max_bytes: None,
        verify: Verify::Full,
    };
    model::load(&model, Elements::default(), &cache, &())
}

/// Asserts that every tensor is the one of the GGUF file after `change` of its values.
#[track_caller]
fn assert_values(loaded: &Loaded, change: fn(f32) -> f32) {
    let root = tempfile::tempdir().unwrap();
    let source = ModelSource::Gguf(fixture("llama-gqa.gguf"));
    let gguf = weights::open(&source, root.path(), &()).unwrap();
    let names = |loaded: &Loaded| {
        let specs = loaded.store.specs();
        let mut names: Vec<String> = specs.into_iter().map(|spec| spec.name).collect();
        names.sort();
        names
    };
    assert_eq!(names(loaded), names(&gguf));
    for spec in gguf.store.specs() {
        let found = loaded.store.get(&spec.name).unwrap();
        assert_eq!(*found.spec(), spec);
        let expected = gguf.store.get(&spec.name).unwrap();
        for (i, (found, expected)) in found.f32().iter().zip(expected.f32()).enumerate() {
            if spec.name == "rope_freqs.weight" {
                // The file's were computed in double precision, those of the folder as the converter does.
                let distance = found.to_bits().abs_diff(expected.to_bits());
                assert!(distance <= 1, "{i}: {found} {expected}");
                continue;
            }
            let expected = change(*expected);
            assert_eq!(found.to_bits(), expected.to_bits(), "{} {i}", spec.name);
        }
    }
}

#[test]
fn a_folder_has_the_values_and_the_metadata_of_its_gguf_file() {
    let folder = Folder::tiny();
    let loaded = open(&folder).unwrap();
    assert_values(&loaded, |value| value);
    let gguf = Header::read(GGUF).unwrap().metadata;
    let llama = gguf.iter().filter(|(key, _)| key.starts_with("llama."));
    for (key, _) in llama.filter(|(key, _)| !key.contains("rope.freq") && !key.contains("rms")) {
        let (found, expected) = (loaded.metadata.unsigned(key), gguf.unsigned(key));
        assert_eq!(found.unwrap(), expected.unwrap(), "{key}");
    }
    for key in [
        "llama.rope.freq_base",
        "llama.attention.layer_norm_rms_epsilon",
    ] {
        let (found, expected) = (loaded.metadata.float(key), gguf.float(key));
        assert_eq!(found.unwrap(), expected.unwrap(), "{key}");
    }
    assert_values(&open(&Folder::single()).unwrap(), |value| value);
}

#[test]
fn a_folder_gives_the_reference_tokens() {
    let loaded = load(&Folder::tiny()).unwrap();
    check_completions(&loaded, &reference("llama-gqa.reference.json"), 1e-4);
    assert_eq!(loaded.info.end_tokens, [365, 368]);
    assert_eq!(loaded.info.name, "tiny-llama-1.5");
}

#[test]
fn half_precision_is_widened() {
    let half = |kind, convert: fn(f32) -> [u8; 2]| {
        let folder = Folder::tiny();
        for file in [FIRST, SECOND] {
            folder.edit_tensors(file, |pieces| {
                for piece in pieces {
                    let (values, _) = piece.bytes.as_chunks::<4>();
                    let values = values.iter().map(|bytes| f32::from_le_bytes(*bytes));
                    piece.bytes = values.flat_map(convert).collect();
                    piece.kind = kind;
                }
            });
        }
        open(&folder).unwrap()
    };
    let bf16 = half("BF16", |value| half::bf16::from_f32(value).to_le_bytes());
    assert_values(&bf16, |value| half::bf16::from_f32(value).to_f32());
    let f16 = half("F16", |value| half::f16::from_f32(value).to_le_bytes());
    assert_values(&f16, |value| half::f16::from_f32(value).to_f32());
}

#[test]
fn what_decides_the_values_names_the_cache_file_and_everything_the_model() {
    let folder = Folder::tiny();
    let first = open(&folder).unwrap();
    let file = |loaded: &Loaded| loaded.fingerprint.split('/').next().unwrap().to_owned();
    let fingerprint = load(&folder).unwrap().info.fingerprint;
    assert!(open(&folder).unwrap().report.from_cache);

    // Another tokenizer, another rotation: other answers from the same tensors.
    folder.edit("tokenizer.json", |json| {
        json["post_processor"] = Value::Null
    });
    let retokenized = open(&folder).unwrap();
    assert!(retokenized.report.from_cache);
    assert_ne!(retokenized.fingerprint, first.fingerprint);
    assert_ne!(load(&folder).unwrap().info.fingerprint, fingerprint);
    folder.edit("config.json", |json| json["rms_norm_eps"] = json!(0.1));
    let renormed = open(&folder).unwrap();
    assert_eq!(file(&renormed), file(&first));
    assert_ne!(renormed.fingerprint, retokenized.fingerprint);

    // One matrix less, the other in another layout.
    let tie = |tied| {
        folder.edit("config.json", |json| {
            json["tie_word_embeddings"] = json!(tied)
        })
    };
    tie(true);
    let tied = open(&folder).unwrap();
    assert!(!tied.report.from_cache);
    assert_ne!(file(&tied), file(&first));
    tie(false);

    // Other heads: other rows.
    folder.edit("config.json", |json| {
        json["num_attention_heads"] = json!(12);
        json["num_key_value_heads"] = json!(4);
    });
    let reheaded = open(&folder).unwrap();
    assert!(!reheaded.report.from_cache);
    assert_ne!(file(&reheaded), file(&first));
}

#[test]
fn a_tied_folder_has_no_output_matrix() {
    let folder = Folder::tiny();
    folder.edit("config.json", |json| {
        json["tie_word_embeddings"] = json!(true)
    });
    let tied = open(&folder).unwrap();
    assert!(tied.store.get("output.weight").is_err());
    let loaded = load(&folder).unwrap();
    assert_eq!(loaded.model.vocab(), 369);
    // What is computed anyway may lie there too.
    folder.edit_tensors(SECOND, |pieces| {
        pieces.retain(|piece| piece.name != "lm_head.weight");
        pieces.push(Piece {
            name: "model.layers.0.self_attn.rotary_emb.inv_freq".to_owned(),
            kind: "F64",
            shape: vec![1],
            bytes: vec![0; 8],
        });
    });
    folder.edit(INDEX, |json| {
        let map = json["weight_map"].as_object_mut().unwrap();
        map.remove("lm_head.weight");
        map.insert(
            "model.layers.0.self_attn.rotary_emb.inv_freq".into(),
            json!(SECOND),
        );
    });
    assert_eq!(open(&folder).unwrap().store.specs().len(), 30);
}

#[test]
fn the_template_comes_from_its_own_file_or_from_the_tokenizers() {
    let folder = Folder::tiny();
    let template = |folder: &Folder| {
        let metadata = open(folder).unwrap().metadata;
        metadata
            .string("tokenizer.chat_template")
            .unwrap()
            .map(str::to_owned)
    };
    assert_eq!(template(&folder), None);
    let set = |value| {
        folder.edit("tokenizer_config.json", |json| {
            json["chat_template"] = value
        })
    };
    set(json!([{"name": "tools", "template": "t"}, {"name": "default", "template": "d"}]));
    assert_eq!(template(&folder).as_deref(), Some("d"));
    set(json!("one"));
    assert_eq!(template(&folder).as_deref(), Some("one"));
    folder.write("chat_template.jinja", b"own");
    assert_eq!(template(&folder).as_deref(), Some("own"));
}

/// The refusal of a folder after `change`; nothing may have been converted.
fn refusal(change: impl FnOnce(&Folder)) -> folder::Error {
    let folder = Folder::tiny();
    change(&folder);
    let error = match open(&folder) {
        Err(weights::Error::Folder { path, source }) => {
            assert_eq!(path, folder.path());
            source
        }
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("accepted"),
    };
    assert!(!folder.cache().exists(), "{error}");
    error
}

macro_rules! assert_refused {
    ($change:expr, $pattern:pat $(if $condition:expr)?) => {
        let error = refusal($change);
        assert!(matches!(&error, $pattern $(if $condition)?), "{error}: {error:?}");
    };
}

fn config(change: impl FnOnce(&mut Value)) -> impl FnOnce(&Folder) {
    move |folder| folder.edit("config.json", change)
}

fn index(change: impl FnOnce(&mut serde_json::Map<String, Value>)) -> impl FnOnce(&Folder) {
    move |folder| {
        folder.edit(INDEX, |json| {
            change(json["weight_map"].as_object_mut().unwrap())
        })
    }
}

#[test]
fn every_trouble_with_the_description_has_its_error() {
    use folder::Error as E;
    assert_refused!(|f| f.remove("config.json"), E::MissingFile("config.json"));
    assert_refused!(
        |f| f.remove("tokenizer.json"),
        E::MissingFile("tokenizer.json")
    );
    for text in ["{", "[]", "{\"architectures\": NaN}", "\u{0}"] {
        assert_refused!(
            |f| f.write("config.json", text.as_bytes()),
            E::Json {
                file: "config.json",
                ..
            }
        );
    }
    assert_refused!(
        |f| f.write("config.json", b"\xff{}"),
        E::NotUtf8 {
            file: "config.json"
        }
    );
    assert_refused!(|f| f.write("config.json", b""), E::Read { file, .. } if file == "config.json");
    for key in [
        "architectures",
        "hidden_size",
        "intermediate_size",
        "max_position_embeddings",
        "num_attention_heads",
        "num_hidden_layers",
        "rms_norm_eps",
        "vocab_size",
    ] {
        let without = |json: &mut Value| drop(json.as_object_mut().unwrap().remove(key));
        assert_refused!(config(without), E::MissingKey { key: found, .. } if *found == key);
        let null = |json: &mut Value| json[key] = Value::Null;
        assert_refused!(config(null), E::MissingKey { key: found, .. } if *found == key);
        let wrong = |json: &mut Value| json[key] = json!({"x": 1});
        assert_refused!(config(wrong), E::Value { key: found, .. } if *found == key);
    }
    for size in [json!(0), json!(-1), json!(1.5), json!("6"), json!(u64::MAX)] {
        let change = |json: &mut Value| json["num_key_value_heads"] = size;
        assert_refused!(
            config(change),
            E::Value {
                key: "num_key_value_heads",
                ..
            }
        );
    }
    let gpt = |json: &mut Value| json["architectures"] = json!(["GPT2LMHeadModel"]);
    let error = refusal(config(gpt)).to_string();
    assert_eq!(
        error,
        "architecture \"GPT2LMHeadModel\" is not supported in a folder; supported: LlamaForCausalLM, \
         LLaMAForCausalLM, MistralForCausalLM"
    );
    let gelu = |json: &mut Value| json["hidden_act"] = json!("gelu");
    assert_refused!(
        config(gelu),
        E::Value {
            key: "hidden_act",
            ..
        }
    );
    let awq = |json: &mut Value| json["quantization_config"] = json!({"quant_method": "awq"});
    assert_refused!(config(awq), E::Quantized { method } if method == "awq");
    for scaling in [
        json!(7),
        json!({"rope_type": 7}),
        json!({"rope_type": "llama3", "factor": 0}),
    ] {
        let change = |json: &mut Value| json["rope_scaling"] = scaling;
        assert_refused!(
            config(change),
            E::Value {
                key: "rope_scaling",
                ..
            }
        );
    }
    assert_refused!(
        |f| f.edit("tokenizer_config.json", |json| json["chat_template"] =
            json!([1])),
        E::Value {
            key: "chat_template",
            ..
        }
    );
    assert_refused!(
        |f| f.edit("generation_config.json", |json| json["eos_token_id"] =
            json!([-1])),
        E::Value {
            key: "eos_token_id",
            ..
        }
    );
}

#[test]
fn what_is_no_folder_of_files_has_its_error() {
    use folder::Error as E;
    assert_refused!(
        |f| fs::File::create(f.path().join("tokenizer.json"))
            .unwrap()
            .set_len(1 << 30)
            .unwrap(),
        E::TooLarge {
            file: "tokenizer.json",
            bytes: 0x4000_0000,
            ..
        }
    );
    for file in ["config.json", "tokenizer.json", FIRST] {
        let looped = |f: &Folder| {
            f.remove(file);
            symlink(file, f.path().join(file)).unwrap();
        };
        assert_refused!(looped, E::Read { file: found, .. } if found == file);
        let directory = |f: &Folder| {
            f.remove(file);
            fs::create_dir(f.path().join(file)).unwrap();
        };
        assert_refused!(directory, E::Read { file: found, .. } if found == file);
    }
    let folder = Folder::tiny();
    let source = ModelSource::Safetensors(folder.path().join("config.json"));
    let error = weights::open(&source, &folder.cache(), &()).err().unwrap();
    assert!(
        error
            .to_string()
            .ends_with("config.json: it is not a folder"),
        "{error}"
    );
    let source = ModelSource::Safetensors(folder.path().join("nothing"));
    let error = weights::open(&source, &folder.cache(), &()).err().unwrap();
    assert!(error.to_string().contains("No such file"), "{error}");
}

#[test]
fn links_into_a_download_cache_are_followed() {
    let folder = Folder::tiny();
    for file in ["config.json", FIRST] {
        let blob = folder.outside().join(format!("blob-{file}"));
        fs::rename(folder.path().join(file), &blob).unwrap();
        symlink(blob, folder.path().join(file)).unwrap();
    }
    open(&folder).unwrap();
}

#[test]
fn every_trouble_with_the_shards_has_its_error() {
    use folder::Error as E;
    assert_refused!(|f| f.remove(INDEX), E::NoWeights);
    assert_refused!(|f| f.remove(SECOND), E::MissingShard { file } if file == SECOND);
    assert_refused!(
        |f| f.write(INDEX, b"{\"weight_map\": 1}"),
        E::Json { file: INDEX, .. }
    );
    for name in [
        "../x.safetensors",
        "/etc/x.safetensors",
        "a/../x.safetensors",
        "weights.bin",
        "",
    ] {
        let outside = |map: &mut serde_json::Map<String, Value>| {
            map.insert("lm_head.weight".into(), json!(name));
        };
        assert_refused!(index(outside), E::ShardName { name: found } if found == name);
    }
    let elsewhere = |map: &mut serde_json::Map<String, Value>| {
        map.insert("lm_head.weight".into(), json!(FIRST));
    };
    assert_refused!(index(elsewhere), E::NotInShard { name, file } if name == "lm_head.weight" && file == FIRST);
    let forgotten = |map: &mut serde_json::Map<String, Value>| {
        map.remove("lm_head.weight");
    };
    assert_refused!(index(forgotten), E::NotInIndex { name, file } if name == "lm_head.weight" && file == SECOND);
    let twice = |f: &Folder| {
        let norm = f
            .all()
            .into_iter()
            .find(|piece| piece.name == "model.norm.weight")
            .unwrap();
        f.edit_tensors(FIRST, |pieces| pieces.push(norm));
    };
    assert_refused!(
        twice,
        E::DuplicateTensor { name, first, second }
            if name == "model.norm.weight" && first == FIRST && second == SECOND
    );
    assert_refused!(|f| f.write(FIRST, b"PK\x03\x04"), E::Header { file, .. } if file == FIRST);

    // What the architecture needs, in one file so that no index has to agree.
    let single = |change: fn(&mut Vec<Piece>)| {
        move |f: &Folder| {
            let mut pieces = f.all();
            change(&mut pieces);
            f.write("model.safetensors", &safetensors(&pieces));
        }
    };
    assert_refused!(
        single(|pieces| pieces.retain(|piece| piece.name != "model.layers.1.mlp.up_proj.weight")),
        E::MissingTensor { name } if name == "model.layers.1.mlp.up_proj.weight"
    );
    assert_refused!(
        single(|pieces| pieces[0].name = "model.layers.01.mlp.up_proj.weight".to_owned()),
        E::MissingTensor { .. }
    );
    for name in [
        "model.layers.0.self_attn.q_proj.bias",
        "model.layers.3.mlp.up_proj.weight",
    ] {
        let more = |f: &Folder| {
            let mut pieces = f.all();
            pieces.push(Piece {
                name: name.to_owned(),
                ..pieces[0].clone()
            });
            f.write("model.safetensors", &safetensors(&pieces));
        };
        assert_refused!(more, E::UnknownTensor { name: found, .. } if found == name);
    }
    for kind in ["F64", "I32", "F8_E4M3"] {
        let other = |f: &Folder| {
            let mut pieces = f.all();
            let norm = pieces
                .iter_mut()
                .find(|piece| piece.name == "model.norm.weight")
                .unwrap();
            norm.kind = kind;
            norm.bytes = vec![
                0;
                96 * if kind == "F64" {
                    8
                } else if kind == "I32" {
                    4
                } else {
                    1
                }
            ];
            f.write("model.safetensors", &safetensors(&pieces));
        };
        assert_refused!(other, E::TensorType { name, found } if name == "model.norm.weight" && found == kind);
    }
    let heads = |json: &mut Value| json["num_attention_heads"] = json!(5);
    assert_refused!(
        config(heads),
        E::Heads {
            heads: 5,
            rows: 95,
            ..
        }
    );
    let odd = |json: &mut Value| json["head_dim"] = json!(32);
    assert_refused!(
        config(odd),
        E::Heads {
            heads: 6,
            rows: 192,
            ..
        }
    );
    let more = |json: &mut Value| json["num_hidden_layers"] = json!(4_000_000_000_u64);
    assert_refused!(config(more), E::MissingTensor { name } if name == "model.layers.3.input_layernorm.weight");
}

#[test]
fn what_the_model_does_not_compute_is_refused_before_the_conversion() {
    for (change, problem) in [
        (
            ("sliding_window", json!(4096)),
            "model metadata: llama.attention.sliding_window is 4096: sliding windows are not supported in this architecture",
        ),
        (
            ("rope_scaling", json!({"type": "dynamic", "factor": 4.0})),
            "model metadata: llama.rope.scaling.type is \"dynamic\", which is not supported (supported: none, linear, yarn, longrope)",
        ),
    ] {
        let folder = Folder::tiny();
        folder.edit("config.json", |json| json[change.0] = change.1);
        let error = load(&folder).err().unwrap().to_string();
        let path = folder.path();
        assert_eq!(error, format!("model file {}: {problem}", path.display()));
        assert!(!folder.cache().exists());
    }
    let folder = Folder::tiny();
    folder.write("tokenizer.json", b"#!/bin/sh");
    let error = load(&folder).err().unwrap().to_string();
    assert!(
        error.contains("tokenizer.json: expected value at line 1"),
        "{error}"
    );
}

#[test]
fn newer_configurations_say_the_same_in_other_words() {
    let folder = Folder::tiny();
    folder.edit("config.json", |json| {
        json["architectures"] = json!(["MistralForCausalLM"]);
        json["rope_parameters"] = json["rope_scaling"].take();
        json["rope_parameters"]["rope_theta"] = json["rope_theta"].take();
        json["sliding_window"] = Value::Null;
        json["head_dim"] = json!(16);
    });
    let loaded = open(&folder).unwrap();
    assert_values(&loaded, |value| value);
    let base = loaded.metadata.float("llama.rope.freq_base").unwrap();
    assert_eq!(base, Some(500_000.0));
    let length = loaded
        .metadata
        .unsigned("llama.attention.key_length")
        .unwrap();
    assert_eq!(length, Some(16));
}

#[test]
fn a_shard_that_is_no_safetensors_file_is_named() {
    let folder = Folder::tiny();
    folder.write(SECOND, &with_header("{}", b""));
    let error = open(&folder).err().unwrap().to_string();
    let path = folder.path();
    assert_eq!(
        error,
        format!(
            "model folder {}: {SECOND}: it has no tensors",
            path.display()
        )
    );
}
