//! Synthetic weights: the same bits for any thread count and any storage, sane statistics, and the
//! metadata that the rest of the program asks for.

use std::path::Path;

use woolly::compute::Panels;
use woolly::config::{Cache, ModelSource, Preset, Synthetic, SyntheticNorm, Verify};
use woolly::tensor::{Element, Layout, TensorSpec, narrow as narrow_value, widen};
use woolly::weights::{self, Loaded};

fn sizes() -> Synthetic {
    Synthetic {
        preset: Preset::Tiny,
        vocab_size: 300,
        hidden_size: 48,
        num_layers: 2,
        num_heads: 6,
        num_kv_heads: 2,
        context_length: 128,
        intermediate_size: 72,
        tied: true,
        norm: SyntheticNorm::Rms,
        seed: 42,
        persist: false,
    }
}

fn open(sizes: Synthetic, cache: &Path) -> Loaded {
    weights::open(&ModelSource::Synthetic(sizes), cache, &()).unwrap()
}

/// In memory: nothing is written anywhere.
fn in_memory(sizes: Synthetic) -> Loaded {
    open(sizes, Path::new("/nonexistent"))
}

fn bits(loaded: &Loaded) -> Vec<(TensorSpec, Vec<u32>)> {
    let mut specs = loaded.store.specs();
    specs.sort_by(|a, b| a.name.cmp(&b.name));
    let values = |name: &str| {
        let tensor = loaded.store.get(name).unwrap();
        tensor.f32().iter().map(|value| value.to_bits()).collect()
    };
    specs
        .into_iter()
        .map(|spec| (spec.clone(), values(&spec.name)))
        .collect()
}

#[test]
fn thread_counts_do_not_change_a_bit() {
    // Large enough for many strips.
    let large = Synthetic {
        vocab_size: 5_000,
        hidden_size: 480,
        ..sizes()
    };
    let with_threads = |threads| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(|| bits(&in_memory(large.clone())))
    };
    let one = with_threads(1);
    for threads in [2, 3, 7] {
        assert!(with_threads(threads) == one, "{threads} threads");
    }
}

#[test]
fn a_persistent_model_has_the_same_bits_and_is_found_again() {
    let cache = tempfile::tempdir().unwrap();
    let memory = in_memory(sizes());
    let persistent = Synthetic {
        persist: true,
        ..sizes()
    };
    for from_cache in [false, true] {
        let file = open(persistent.clone(), cache.path());
        assert_eq!(file.report.from_cache, from_cache);
        assert_eq!(file.fingerprint, memory.fingerprint);
        assert!(bits(&file) == bits(&memory));
    }
}

#[test]
fn values_stay_the_same_for_ever() {
    let loaded = in_memory(sizes());
    let first = |name: &str| loaded.store.get(name).unwrap().f32()[..2].to_vec();
    // The first two rows' first columns. These change only together with the fingerprint.
    assert_eq!(first("token_embd.weight"), EMBEDDING);
    assert_eq!(first("blk.1.ffn_down.weight"), DOWN);
    assert_eq!(first("output_norm.weight"), NORM);
}

const EMBEDDING: [f32; 2] = [-0.021484008, -0.092936];
const DOWN: [f32; 2] = [-0.14717644, 0.18705663];
const NORM: [f32; 2] = [0.9819205, 1.0142287];

#[test]
fn matrices_are_xavier_uniform_and_norms_are_near_one() {
    let loaded = in_memory(Synthetic {
        vocab_size: 4_096,
        hidden_size: 192,
        ..sizes()
    });
    for spec in loaded.store.specs() {
        let tensor = loaded.store.get(&spec.name).unwrap();
        let (center, limit) = match spec.layout {
            Layout::Vector => (1.0, 0.02),
            _ => (0.0, (6.0 / (spec.rows + spec.cols) as f64).sqrt()),
        };
        // Panel padding is the only zero.
        let values: Vec<f64> = tensor
            .f32()
            .iter()
            .filter(|&&value| value != 0.0)
            .map(|&value| f64::from(value) - center)
            .collect();
        assert_eq!(values.len(), spec.rows * spec.cols, "{}", spec.name);
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count;
        let variance = values.iter().map(|value| value * value).sum::<f64>() / count;
        let name = &spec.name;
        assert!(
            values.iter().all(|value| value.abs() <= limit * 1.000_001),
            "{name}: range"
        );
        // Six standard errors of a uniform distribution on [-limit, limit].
        assert!(
            mean.abs() < 6.0 * limit / (3.0 * count).sqrt(),
            "{name}: mean {mean}"
        );
        let expected = limit * limit / 3.0;
        let error = 6.0 * limit * limit * (4.0 / 45.0 / count).sqrt();
        assert!(
            (variance - expected).abs() < error,
            "{name}: variance {variance}"
        );
    }
}

#[test]
fn tensors_and_metadata_are_those_of_a_llama_file() {
    let tied = in_memory(sizes());
    assert!(tied.store.get("output.weight").is_err());
    tied.store
        .expect("token_embd.weight", Layout::Panels, 300, 48)
        .unwrap();
    tied.store
        .expect("blk.1.attn_k.weight", Layout::Panels, 16, 48)
        .unwrap();
    tied.store
        .expect("blk.0.ffn_down.weight", Layout::Panels, 48, 72)
        .unwrap();
    tied.store
        .expect("output_norm.weight", Layout::Vector, 1, 48)
        .unwrap();
    let metadata = &tied.metadata;
    assert_eq!(
        metadata.string("general.architecture").unwrap(),
        Some("llama")
    );
    assert_eq!(
        metadata.unsigned("llama.attention.head_count_kv").unwrap(),
        Some(2)
    );
    assert_eq!(
        metadata.unsigned("llama.rope.dimension_count").unwrap(),
        Some(8)
    );
    assert_eq!(
        metadata.string("tokenizer.ggml.model").unwrap(),
        Some("woolly-bytes")
    );
    assert_eq!(
        metadata.unsigned("tokenizer.ggml.eos_token_id").unwrap(),
        Some(257)
    );

    let untied = in_memory(Synthetic {
        tied: false,
        ..sizes()
    });
    untied
        .store
        .expect("token_embd.weight", Layout::Rows, 300, 48)
        .unwrap();
    untied
        .store
        .expect("output.weight", Layout::Panels, 300, 48)
        .unwrap();
    assert_ne!(tied.fingerprint, untied.fingerprint);
    assert_eq!(untied.report.parameters, tied.report.parameters + 300 * 48);
    for tensor in untied.store.specs() {
        let values = untied.store.get(&tensor.name).unwrap();
        assert_eq!(values.f32().as_ptr().addr() % 64, 0, "{}", tensor.name);
    }
}

#[test]
fn a_layer_norm_is_written_as_in_a_file_that_has_one() {
    let loaded = in_memory(Synthetic {
        norm: SyntheticNorm::Layer,
        ..sizes()
    });
    let metadata = &loaded.metadata;
    let epsilon = |kind| metadata.float(&format!("llama.attention.layer_norm_{kind}epsilon"));
    assert_eq!(
        (epsilon("").unwrap(), epsilon("rms_").unwrap()),
        (Some(1e-5), None)
    );
    for norm in ["blk.0.attn_norm", "blk.1.ffn_norm", "output_norm"] {
        let mean = |part: &str| {
            let tensor = loaded.store.get(&format!("{norm}.{part}")).unwrap();
            assert_eq!(
                (tensor.spec().layout, tensor.spec().cols),
                (Layout::Vector, 48)
            );
            tensor.f32().iter().sum::<f32>() / 48.0
        };
        assert!((mean("weight") - 1.0).abs() < 0.02, "{norm}");
        assert!(mean("bias").abs() < 0.02, "{norm}");
    }
    let rms = in_memory(sizes());
    assert_eq!(loaded.report.parameters, rms.report.parameters + 5 * 48);
    assert_ne!(loaded.fingerprint, rms.fingerprint);
}

#[test]
fn sizes_that_make_no_model_are_refused() {
    let refused = |sizes| {
        let source = ModelSource::Synthetic(sizes);
        let error = weights::open(&source, Path::new("/nonexistent"), &()).err();
        error.expect("refused").to_string()
    };
    let sentence = refused(Synthetic {
        vocab_size: 257,
        ..sizes()
    });
    assert_eq!(
        sentence,
        "synthetic weights: vocab_size is 257, expected at least 258"
    );
    assert!(
        refused(Synthetic {
            num_layers: 0,
            ..sizes()
        })
        .contains("at least 1")
    );
    assert!(
        refused(Synthetic {
            num_heads: 7,
            ..sizes()
        })
        .contains("must divide")
    );
    let huge = Synthetic {
        vocab_size: 1 << 40,
        hidden_size: 6 << 30,
        ..sizes()
    };
    assert!(refused(huge).contains("overflows"));
}

#[test]
fn bf16_weights_are_rounded_once_wherever_they_live() {
    let directory = tempfile::tempdir().unwrap();
    let settings = Cache {
        dir: directory.path().to_path_buf(),
        max_bytes: None,
        verify: Verify::Full,
    };
    // 73 columns in pairs leave one alone.
    let odd = Synthetic {
        intermediate_size: 73,
        ..sizes()
    };
    let narrow = |persist| {
        let source = ModelSource::Synthetic(Synthetic {
            persist,
            ..odd.clone()
        });
        weights::open_cached(&source, Element::Bf16, &settings, &()).unwrap()
    };
    let (memory, file) = (narrow(false), narrow(true));
    assert!(std::fs::read_dir(directory.path()).unwrap().count() > 0);
    let wide = in_memory(odd);
    assert_eq!(memory.fingerprint, file.fingerprint);
    assert_ne!(memory.fingerprint, wide.fingerprint);
    for spec in wide.store.specs() {
        let [wide, memory, file] =
            [&wide, &memory, &file].map(|loaded| loaded.store.get(&spec.name).unwrap());
        assert_eq!(memory.values(), file.values(), "{}", spec.name);
        if spec.layout == Layout::Vector {
            assert_eq!(memory.f32(), wide.f32(), "{}", spec.name);
            continue;
        }
        let (wide, memory) = (wide.values(), memory.values());
        assert_eq!(memory.element(), Element::Bf16);
        let [wide, memory] = [wide, memory].map(|values| match spec.layout {
            Layout::Panels => {
                let panels = Panels::new(values, spec.rows, spec.cols);
                let mut rows = vec![0.0; spec.rows * spec.cols];
                for (row, out) in rows.chunks_exact_mut(spec.cols).enumerate() {
                    panels.copy_row(row, 0, out);
                }
                rows
            }
            Layout::Rows | Layout::Vector => {
                let mut rows = vec![0.0; values.len()];
                values.copy_to(&mut rows);
                rows
            }
        });
        let rounded: Vec<f32> = wide.iter().map(|&v| widen(narrow_value(v))).collect();
        assert!(memory == rounded && memory != wide, "{}", spec.name);
    }
}

#[test]
fn weights_for_which_the_cache_has_no_room_live_in_memory() {
    let directory = tempfile::tempdir().unwrap();
    let settings = Cache {
        dir: directory.path().to_path_buf(),
        max_bytes: Some(1_000),
        verify: Verify::Full,
    };
    let persistent = Synthetic {
        persist: true,
        ..sizes()
    };
    let source = ModelSource::Synthetic(persistent.clone());
    let loaded = weights::open_if(&source, Element::F32, &settings, &(), |_, _| {
        Ok::<(), weights::Error>(())
    });
    let loaded = loaded.unwrap();
    let reason = loaded.report.not_cached.clone().unwrap();
    assert!(
        reason.contains(" and of the 1000 that all files may have together"),
        "{reason}"
    );
    assert_eq!(bits(&loaded), bits(&in_memory(sizes())));
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    // Who wants a cache file is told.
    let refused = weights::open_cached(&source, Element::F32, &settings, &())
        .err()
        .unwrap();
    assert_eq!(
        refused.to_string(),
        format!("synthetic weights: {reason}; expected smaller sizes")
    );
}
