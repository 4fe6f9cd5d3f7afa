//! The forward pass of synthetic models against plain loops: both norms, grouped heads, tied and untied
//! output, and every preset's own rotation and epsilon.

use std::path::Path;
use std::sync::Arc;

use woolly::compute::{Isa, math, reference};
use woolly::config::{ModelSource, Preset, Synthetic, SyntheticNorm};
use woolly::model::{BatchToken, BlockTable, Model, PerReach, Runner};
use woolly::tensor::{Element, Layout};
use woolly::weights::{self, Loaded, WeightStore};

fn load(sizes: &Synthetic) -> Loaded {
    let source = ModelSource::Synthetic(sizes.clone());
    weights::open(&source, Path::new("/nonexistent"), &()).unwrap()
}

/// The logits of one token at position 0.
fn forward(loaded: &Loaded, isa: Isa, id: u32) -> Vec<f32> {
    let model = Model::bind(&loaded.store, &loaded.metadata, None, Element::F32).unwrap();
    let blocks = PerReach { all: 1, window: 0 };
    let mut runner = Runner::new(Arc::new(model), isa, 0, 2, blocks, 1).unwrap();
    let mut table = BlockTable::default();
    assert!(runner.kv().grow_both(&mut table, 1));
    let token = BatchToken {
        id,
        position: 0,
        table: 0,
        logits: true,
    };
    runner.forward(&[&table], &[token]).to_vec()
}

/// The plain loops, for a first token: it attends to itself alone, and a rotation by nothing is none.
struct Oracle<'a> {
    sizes: &'a Synthetic,
    store: &'a WeightStore,
}

impl Oracle<'_> {
    /// The rows of a tensor, one after the other.
    fn rows(&self, name: &str) -> Vec<f32> {
        let tensor = self.store.get(name).unwrap();
        let (spec, values) = (tensor.spec(), tensor.f32());
        let panels = spec.layout == Layout::Panels;
        let at = |row: usize, k: usize| match panels {
            true => values[(row / 16 * spec.cols + k) * 16 + row % 16],
            false => values[row * spec.cols + k],
        };
        (0..spec.rows)
            .flat_map(|row| (0..spec.cols).map(move |k| at(row, k)))
            .collect()
    }

    fn product(&self, name: &str, x: &[f32]) -> Vec<f32> {
        reference::matrix_vector(&self.rows(&format!("{name}.weight")), x)
    }

    fn norm(&self, name: &str, x: &[f32]) -> Vec<f32> {
        let width = x.len() as f32;
        let epsilon = self.sizes.preset.norm_epsilon();
        let weight = self.rows(&format!("{name}.weight"));
        let scale = |x: &[f32]| 1.0 / (reference::sum_of_squares(x) / width + epsilon).sqrt();
        if self.sizes.norm == SyntheticNorm::Rms {
            let scale = scale(x);
            return x.iter().zip(&weight).map(|(x, w)| x * scale * w).collect();
        }
        let bias = self.rows(&format!("{name}.bias"));
        let mean = reference::sum(x) / width;
        let centered: Vec<f32> = x.iter().map(|x| x - mean).collect();
        let scale = scale(&centered);
        let terms = centered.iter().zip(weight.iter().zip(&bias));
        terms.map(|(x, (w, b))| x * scale * w + b).collect()
    }

    fn logits(&self, id: u32) -> Vec<f32> {
        let Synthetic {
            hidden_size,
            num_layers,
            num_heads,
            num_kv_heads,
            ..
        } = *self.sizes;
        let add = |x: &mut Vec<f32>, y: Vec<f32>| x.iter_mut().zip(y).for_each(|(x, y)| *x += y);
        let mut x =
            self.rows("token_embd.weight")[id as usize * hidden_size..][..hidden_size].to_vec();
        for layer in 0..num_layers {
            let part = |part: &str| format!("blk.{layer}.{part}");
            let values = self.product(&part("attn_v"), &self.norm(&part("attn_norm"), &x));
            let dim = hidden_size / num_heads;
            let heads: Vec<f32> = (0..num_heads)
                .flat_map(|head| &values[head / (num_heads / num_kv_heads) * dim..][..dim])
                .copied()
                .collect();
            add(&mut x, self.product(&part("attn_output"), &heads));
            let normed = self.norm(&part("ffn_norm"), &x);
            let gate = self.product(&part("ffn_gate"), &normed);
            let up = self.product(&part("ffn_up"), &normed);
            let gated: Vec<f32> = gate
                .iter()
                .zip(&up)
                .map(|(&gate, up)| math::silu(gate) * up)
                .collect();
            add(&mut x, self.product(&part("ffn_down"), &gated));
        }
        let output = if self.sizes.tied {
            "token_embd"
        } else {
            "output"
        };
        self.product(output, &self.norm("output_norm", &x))
    }
}

#[test]
fn a_first_token_has_the_logits_of_the_plain_loops() {
    let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    for norm in [SyntheticNorm::Rms, SyntheticNorm::Layer] {
        for (tied, num_kv_heads) in [(true, 1), (false, 3), (false, 6)] {
            let sizes = Synthetic {
                vocab_size: 300,
                hidden_size: 60,
                num_heads: 6,
                num_kv_heads,
                intermediate_size: 100,
                tied,
                norm,
                ..Preset::B1.sizes()
            };
            let sizes = Synthetic {
                num_layers: 3,
                ..sizes
            };
            let loaded = load(&sizes);
            let oracle = Oracle {
                sizes: &sizes,
                store: &loaded.store,
            };
            let want = bits(&oracle.logits(7));
            for isa in Isa::all() {
                let got = forward(&loaded, isa, 7);
                assert!(bits(&got) == want, "{norm:?} {num_kv_heads} {tied} {isa}");
            }
        }
    }
}

#[test]
fn the_preset_decides_rotation_and_epsilon() {
    for (preset, base) in [(Preset::Tiny, 100_000.0), (Preset::Llama7b, 10_000.0)] {
        let sizes = Synthetic {
            preset,
            ..Preset::Tiny.sizes()
        };
        let loaded = load(&sizes);
        let model = Model::bind(&loaded.store, &loaded.metadata, None, Element::F32).unwrap();
        let found = loaded.metadata.float("llama.rope.freq_base");
        assert_eq!(found.unwrap(), Some(base));
        assert_eq!(model.hyper().norm_eps, 1e-5);
    }
}

#[test]
fn a_layer_norm_needs_its_bias_and_another_norm_has_none() {
    let layer = load(&Synthetic {
        norm: SyntheticNorm::Layer,
        ..Preset::Tiny.sizes()
    });
    let rms = load(&Preset::Tiny.sizes());
    let refusal = |loaded: &Loaded, metadata: &Loaded| {
        let bound = Model::bind(&loaded.store, &metadata.metadata, None, Element::F32);
        bound.err().expect("refused").to_string()
    };
    assert_eq!(
        refusal(&rms, &layer),
        "tensor output_norm.bias is missing; expected rows of 64 values"
    );
    assert_eq!(
        refusal(&layer, &rms),
        "unsupported model: tensor blk.0.attn_norm.bias has no place in this architecture"
    );
}
