//! GGUF files put together piece by piece.

pub(crate) const U32: u32 = 4;
pub(crate) const BOOL: u32 = 7;
pub(crate) const STRING: u32 = 8;
pub(crate) const ARRAY: u32 = 9;

/// A GGUF file put together piece by piece, so that any piece can be wrong.
#[derive(Clone)]
pub(crate) struct File {
    pub(crate) magic: [u8; 4],
    pub(crate) version: u32,
    pub(crate) tensor_count: Option<u64>,
    pub(crate) key_count: Option<u64>,
    pub(crate) keys: Vec<Vec<u8>>,
    pub(crate) tensors: Vec<Vec<u8>>,
    pub(crate) alignment: usize,
    pub(crate) data: usize,
}

pub(crate) fn text(text: &[u8]) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes(), text].concat()
}

pub(crate) fn key(name: &[u8], kind: u32, value: &[u8]) -> Vec<u8> {
    [text(name), kind.to_le_bytes().to_vec(), value.to_vec()].concat()
}

pub(crate) fn tensor(name: &[u8], dimensions: &[u64], kind: u32, offset: u64) -> Vec<u8> {
    let dimensions_bytes = dimensions.iter().flat_map(|d| d.to_le_bytes()).collect();
    let count = (dimensions.len() as u32).to_le_bytes().to_vec();
    let offset = offset.to_le_bytes().to_vec();
    [
        text(name),
        count,
        dimensions_bytes,
        kind.to_le_bytes().to_vec(),
        offset,
    ]
    .concat()
}

impl File {
    /// Two F32 tensors: 8 values, padded to 32 bytes by themselves, and 3 x 5 values.
    pub(crate) fn good() -> Self {
        File {
            magic: *b"GGUF",
            version: 3,
            tensor_count: None,
            key_count: None,
            keys: vec![key(b"general.architecture", STRING, &text(b"llama"))],
            tensors: vec![
                tensor(b"a.weight", &[8], 0, 0),
                tensor(b"b.weight", &[3, 5], 0, 32),
            ],
            alignment: 32,
            data: 32 + 64,
        }
    }

    pub(crate) fn with_key(name: &[u8], kind: u32, value: &[u8]) -> Self {
        let mut file = File::good();
        file.keys.push(key(name, kind, value));
        file
    }

    pub(crate) fn with_tensors(tensors: Vec<Vec<u8>>) -> Self {
        File {
            tensors,
            ..File::good()
        }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.magic.to_vec();
        bytes.extend(self.version.to_le_bytes());
        bytes.extend(
            self.tensor_count
                .unwrap_or(self.tensors.len() as u64)
                .to_le_bytes(),
        );
        bytes.extend(
            self.key_count
                .unwrap_or(self.keys.len() as u64)
                .to_le_bytes(),
        );
        bytes.extend(self.keys.concat());
        bytes.extend(self.tensors.concat());
        bytes.resize(bytes.len().next_multiple_of(self.alignment) + self.data, 7);
        bytes
    }
}
