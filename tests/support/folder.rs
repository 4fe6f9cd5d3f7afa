//! Model folders to test with: the committed one, whose second file of weights is copied out of the GGUF
//! file that it was made from, and files of safetensors put together piece by piece.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use woolly::weights::gguf::{Header, TensorInfo};

use super::models::fixture;

pub(crate) const GGUF: &[u8] = include_bytes!("../fixtures/llama-gqa.gguf");

/// One tensor of a file: name, type, shape, bytes.
#[derive(Clone)]
pub(crate) struct Piece {
    pub(crate) name: String,
    pub(crate) kind: &'static str,
    pub(crate) shape: Vec<usize>,
    pub(crate) bytes: Vec<u8>,
}

/// A copy of the tiny llama as a folder, free to be changed.
pub(crate) struct Folder {
    root: tempfile::TempDir,
}

pub(crate) const FIRST: &str = "model-00001-of-00002.safetensors";
pub(crate) const SECOND: &str = "model-00002-of-00002.safetensors";
pub(crate) const INDEX: &str = "model.safetensors.index.json";

/// The name that the GGUF file has for a tensor of the folder.
pub(crate) fn gguf_name(name: &str) -> String {
    let plain = [
        ("model.embed_tokens", "token_embd"),
        ("model.norm", "output_norm"),
        ("lm_head", "output"),
        ("model.layers", "blk"),
        ("input_layernorm", "attn_norm"),
        ("self_attn.q_proj", "attn_q"),
        ("self_attn.k_proj", "attn_k"),
        ("self_attn.v_proj", "attn_v"),
        ("self_attn.o_proj", "attn_output"),
        ("post_attention_layernorm", "ffn_norm"),
        ("mlp.gate_proj", "ffn_gate"),
        ("mlp.up_proj", "ffn_up"),
        ("mlp.down_proj", "ffn_down"),
    ];
    let replace = |name: String, (from, to): (&str, &str)| name.replace(from, to);
    plain.into_iter().fold(name.to_owned(), replace)
}

pub(crate) fn gguf_tensor(name: &str) -> TensorInfo {
    let tensors = Header::read(GGUF).unwrap().tensors;
    tensors.into_iter().find(|info| info.name == name).unwrap()
}

/// A whole file of safetensors.
pub(crate) fn safetensors(pieces: &[Piece]) -> Vec<u8> {
    let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
    for piece in pieces {
        let start = data.len();
        data.extend_from_slice(&piece.bytes);
        header.insert(
            piece.name.clone(),
            json!({"dtype": piece.kind, "shape": piece.shape, "data_offsets": [start, data.len()]}),
        );
    }
    with_header(&Value::Object(header).to_string(), &data)
}

/// The same with any text for a header.
pub(crate) fn with_header(header: &str, data: &[u8]) -> Vec<u8> {
    let length = (header.len() as u64).to_le_bytes();
    [&length, header.as_bytes(), data].concat()
}

/// The tensors of a file that is well formed.
pub(crate) fn pieces(file: &[u8]) -> Vec<Piece> {
    let tensors = safetensors::SafeTensors::deserialize(file).unwrap();
    let piece = |(name, view): (&str, safetensors::tensor::TensorView)| Piece {
        name: name.to_owned(),
        kind: "F32",
        shape: view.shape().to_vec(),
        bytes: view.data().to_vec(),
    };
    tensors.iter().map(piece).collect()
}

impl Folder {
    pub(crate) fn tiny() -> Self {
        let folder = Folder {
            root: tempfile::tempdir().unwrap(),
        };
        fs::create_dir(folder.path()).unwrap();
        for entry in fs::read_dir(fixture("llama-gqa")).unwrap() {
            let path = entry.unwrap().path();
            fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
        }
        let index = folder.json(INDEX);
        let copied: Vec<Piece> = index["weight_map"]
            .as_object()
            .unwrap()
            .iter()
            .filter(|(_, file)| *file == SECOND)
            .map(|(name, _)| {
                let info = gguf_tensor(&gguf_name(name));
                Piece {
                    name: name.clone(),
                    kind: "F32",
                    shape: info.dimensions.iter().rev().copied().collect(),
                    bytes: GGUF[info.bytes].to_vec(),
                }
            })
            .collect();
        folder.write(SECOND, &safetensors(&copied));
        folder
    }

    /// Everything in one file, without an index.
    pub(crate) fn single() -> Self {
        let folder = Folder::tiny();
        folder.write("model.safetensors", &safetensors(&folder.all()));
        for file in [FIRST, SECOND, INDEX] {
            folder.remove(file);
        }
        folder
    }

    /// All tensors, of one file or two.
    pub(crate) fn all(&self) -> Vec<Piece> {
        let files = ["model.safetensors", FIRST, SECOND].map(|file| self.path().join(file));
        let there = files.iter().filter(|file| file.exists());
        there
            .flat_map(|file| pieces(&fs::read(file).unwrap()))
            .collect()
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.root.path().join("tiny-llama-1.5")
    }

    /// Beside the folder.
    pub(crate) fn cache(&self) -> PathBuf {
        self.root.path().join("cache")
    }

    pub(crate) fn outside(&self) -> &Path {
        self.root.path()
    }

    pub(crate) fn write(&self, file: &str, bytes: &[u8]) {
        fs::write(self.path().join(file), bytes).unwrap();
    }

    pub(crate) fn remove(&self, file: &str) {
        fs::remove_file(self.path().join(file)).unwrap();
    }

    pub(crate) fn json(&self, file: &str) -> Value {
        serde_json::from_slice(&fs::read(self.path().join(file)).unwrap()).unwrap()
    }

    /// Changes a JSON file.
    pub(crate) fn edit(&self, file: &str, change: impl FnOnce(&mut Value)) {
        let mut value = self.json(file);
        change(&mut value);
        self.write(file, value.to_string().as_bytes());
    }

    /// Changes the tensors of a file.
    pub(crate) fn edit_tensors(&self, file: &str, change: impl FnOnce(&mut Vec<Piece>)) {
        let mut changed = pieces(&fs::read(self.path().join(file)).unwrap());
        change(&mut changed);
        self.write(file, &safetensors(&changed));
    }
}
