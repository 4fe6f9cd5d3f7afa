//! A whole GGUF file of the llama architecture that can be served, in a few kilobytes, of which every
//! field can be written wrong.

use std::collections::HashSet;

use woolly::weights::dequant::TensorType;

use super::gguf_file::{ARRAY, BOOL, STRING, U32, key, text};

pub const I32: u32 = 5;
pub const F32: u32 = 6;

/// Type and bytes of a value as they stand in the file.
#[derive(Clone)]
pub struct Raw(pub u32, pub Vec<u8>);

pub fn u32(value: u32) -> Raw {
    Raw(U32, value.to_le_bytes().to_vec())
}

pub fn i32(value: i32) -> Raw {
    Raw(I32, value.to_le_bytes().to_vec())
}

pub fn f32(value: f32) -> Raw {
    Raw(F32, value.to_le_bytes().to_vec())
}

pub fn boolean(value: bool) -> Raw {
    Raw(BOOL, vec![u8::from(value)])
}

pub fn string(value: impl AsRef<[u8]>) -> Raw {
    Raw(STRING, text(value.as_ref()))
}

pub fn array(kind: u32, count: u64, bytes: &[u8]) -> Raw {
    Raw(
        ARRAY,
        [
            kind.to_le_bytes().as_slice(),
            count.to_le_bytes().as_slice(),
            bytes,
        ]
        .concat(),
    )
}

pub fn strings<T: AsRef<[u8]>>(values: &[T]) -> Raw {
    let bytes: Vec<u8> = values
        .iter()
        .flat_map(|value| text(value.as_ref()))
        .collect();
    array(STRING, values.len() as u64, &bytes)
}

pub fn i32s(values: &[i32]) -> Raw {
    let bytes: Vec<u8> = values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect();
    array(I32, values.len() as u64, &bytes)
}

pub fn f32s(values: &[f32]) -> Raw {
    let bytes: Vec<u8> = values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect();
    array(F32, values.len() as u64, &bytes)
}

#[derive(Clone)]
pub struct TinyTensor {
    pub name: String,
    pub dimensions: Vec<u64>,
    pub kind: u32,
    /// Where its neighbours leave it, when `None`.
    pub offset: Option<u64>,
}

#[derive(Clone)]
pub struct TinyLlama {
    pub pairs: Vec<(String, Raw)>,
    pub tensors: Vec<TinyTensor>,
}

pub const WIDE: u64 = 256;
const HEADS: u32 = 4;
const LAYERS: u32 = 2;
const KV: u64 = WIDE / HEADS as u64 * 2;
/// 256 bytes, three merges' results, two control tokens.
pub const VOCABULARY: usize = 261;
pub const BOS: u32 = 259;
pub const EOS: u32 = 260;

/// The entries of the vocabulary.
pub fn tokens() -> Vec<String> {
    // The alphabet of gpt2 vocabularies: printable Latin-1 stands for itself.
    let printable: HashSet<u8> = (b'!'..=b'~')
        .chain(0xA1..=0xAC)
        .chain(0xAE..=0xFF)
        .collect();
    let mut others = 0x100..;
    let mut tokens: Vec<String> = (0..=255)
        .map(|byte: u8| {
            let code = match printable.contains(&byte) {
                true => u32::from(byte),
                false => others.next().unwrap(),
            };
            char::from_u32(code).unwrap().to_string()
        })
        .collect();
    tokens.extend(["he", "ll", "hell", "<s>", "</s>"].map(str::to_owned));
    tokens
}

impl TinyLlama {
    /// Matrices of this type, vectors of F32.
    pub fn new(kind: TensorType) -> Self {
        let size = |name: &str, value: u32| (format!("llama.{name}"), u32(value));
        let tokenizer = |name: &str, value: Raw| (format!("tokenizer.ggml.{name}"), value);
        let mut types = [1; VOCABULARY];
        types[BOS as usize] = 3;
        types[EOS as usize] = 3;
        let pairs = vec![
            ("general.architecture".to_owned(), string("llama")),
            size("block_count", LAYERS),
            size("context_length", 64),
            size("embedding_length", WIDE as u32),
            size("feed_forward_length", WIDE as u32),
            size("attention.head_count", HEADS),
            size("attention.head_count_kv", 2),
            size("rope.dimension_count", WIDE as u32 / HEADS),
            size("vocab_size", VOCABULARY as u32),
            (
                "llama.attention.layer_norm_rms_epsilon".to_owned(),
                f32(1e-5),
            ),
            ("llama.rope.freq_base".to_owned(), f32(10_000.0)),
            tokenizer("model", string("gpt2")),
            tokenizer("pre", string("gpt-2")),
            tokenizer("tokens", strings(&tokens())),
            tokenizer("scores", f32s(&[0.0; VOCABULARY])),
            tokenizer("token_type", i32s(&types)),
            tokenizer("merges", strings(&["h e", "l l", "he ll"])),
            tokenizer("bos_token_id", u32(BOS)),
            tokenizer("eos_token_id", u32(EOS)),
            tokenizer("add_bos_token", boolean(true)),
            (
                "tokenizer.chat_template".to_owned(),
                string("{% for m in messages %}{{ bos_token }}{{ m['content'] }}{% endfor %}"),
            ),
        ];
        let mut tensors = vec![];
        let mut add = |name: &str, dimensions: &[u64]| {
            let kind = match dimensions.len() {
                1 => TensorType::F32,
                _ => kind,
            };
            tensors.push(TinyTensor {
                name: format!("{name}.weight"),
                dimensions: dimensions.to_vec(),
                kind: kind as u32,
                offset: None,
            });
        };
        add("token_embd", &[WIDE, VOCABULARY as u64]);
        for layer in 0..LAYERS {
            let mut add = |name: &str, dimensions: &[u64]| {
                add(&format!("blk.{layer}.{name}"), dimensions);
            };
            add("attn_norm", &[WIDE]);
            add("attn_q", &[WIDE, WIDE]);
            add("attn_k", &[WIDE, KV]);
            add("attn_v", &[WIDE, KV]);
            add("attn_output", &[WIDE, WIDE]);
            add("ffn_norm", &[WIDE]);
            add("ffn_gate", &[WIDE, WIDE]);
            add("ffn_up", &[WIDE, WIDE]);
            add("ffn_down", &[WIDE, WIDE]);
        }
        add("output_norm", &[WIDE]);
        add("output", &[WIDE, VOCABULARY as u64]);
        TinyLlama { pairs, tensors }
    }

    /// Replaces the value of a key, or adds it.
    pub fn set(mut self, key: &str, value: Raw) -> Self {
        match self.pairs.iter_mut().find(|(known, _)| known == key) {
            Some((_, old)) => *old = value,
            None => self.pairs.push((key.to_owned(), value)),
        }
        self
    }

    #[track_caller]
    pub fn without(mut self, key: &str) -> Self {
        let before = self.pairs.len();
        self.pairs.retain(|(known, _)| known != key);
        assert!(self.pairs.len() < before, "no key {key}");
        self
    }

    #[track_caller]
    pub fn tensor(mut self, name: &str, change: impl FnOnce(&mut TinyTensor)) -> Self {
        let tensor = self.tensors.iter_mut().find(|tensor| tensor.name == name);
        change(tensor.unwrap());
        self
    }

    #[track_caller]
    pub fn without_tensor(mut self, name: &str) -> Self {
        let before = self.tensors.len();
        self.tensors.retain(|tensor| tensor.name != name);
        assert!(self.tensors.len() < before, "no tensor {name}");
        self
    }

    /// Everything before the data, and how many bytes of data there are.
    pub fn header(&self) -> (Vec<u8>, u64) {
        let mut bytes = b"GGUF\x03\0\0\0".to_vec();
        bytes.extend((self.tensors.len() as u64).to_le_bytes());
        bytes.extend((self.pairs.len() as u64).to_le_bytes());
        for (name, Raw(kind, value)) in &self.pairs {
            bytes.extend(key(name.as_bytes(), *kind, value));
        }
        let mut next: u64 = 0;
        for tensor in &self.tensors {
            let TinyTensor {
                name,
                dimensions,
                kind,
                offset,
            } = tensor;
            let offset = offset.unwrap_or(next);
            bytes.extend(super::gguf_file::tensor(
                name.as_bytes(),
                dimensions,
                *kind,
                offset,
            ));
            next = (next + tensor_bytes(tensor)).next_multiple_of(32);
        }
        bytes.resize(bytes.len().next_multiple_of(32), 0);
        (bytes, next)
    }

    /// The file; its data are all of this byte.
    pub fn filled(&self, byte: u8) -> Vec<u8> {
        let (mut bytes, data) = self.header();
        bytes.resize(bytes.len() + data as usize, byte);
        bytes
    }

    pub fn bytes(&self) -> Vec<u8> {
        self.filled(0)
    }
}

/// What the tensor takes; 0 when that makes no sense.
fn tensor_bytes(tensor: &TinyTensor) -> u64 {
    let Some(kind) = TensorType::from_id(tensor.kind) else {
        return 0;
    };
    let values = tensor.dimensions.iter().copied().reduce(u64::wrapping_mul);
    let blocks = values.unwrap_or(0) / kind.block_values() as u64;
    blocks
        .saturating_mul(kind.block_bytes() as u64)
        .min(1 << 40)
}
