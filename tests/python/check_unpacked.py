"""Compares an unpacked cache file with the model it was made from, tensor by tensor, bit by bit.

Usage: check_unpacked.py UNPACKED.safetensors|UNPACKED.gguf MODEL.gguf

The oracles are the Python packages: `safetensors` or `gguf` reads the unpacked file, `gguf` dequantizes the
model. NaNs must be at the same places; their payload is ignored. Of a GGUF file the metadata must be those of
the model, in their order, but for the type of its tensors. Exits 1 at the first difference.
"""

import sys

import gguf
import numpy as np
from check_cache import same_bits
from safetensors import safe_open

# What describes the file and not the model.
FILE_KEYS = {"GGUF.version", "GGUF.tensor_count", "GGUF.kv_count", "general.file_type", "general.alignment"}


def rows(tensor: gguf.ReaderTensor) -> np.ndarray:
    values = gguf.dequantize(tensor.data, tensor.tensor_type)
    return np.ascontiguousarray(values, dtype=np.float32).reshape(tensor.shape[::-1].tolist())


def from_safetensors(path: str) -> dict[str, np.ndarray]:
    with safe_open(path, framework="numpy") as file:
        return {name: file.get_tensor(name) for name in file.keys()}


def from_gguf(path: str, model: gguf.GGUFReader) -> dict[str, np.ndarray]:
    file = gguf.GGUFReader(path)
    assert file.alignment == 32
    assert file.fields["general.file_type"].contents() == gguf.LlamaFileType.ALL_F32

    def pairs(reader: gguf.GGUFReader) -> list:
        return [(key, field.contents()) for key, field in reader.fields.items() if key not in FILE_KEYS]

    assert pairs(file) == pairs(model), "the metadata differ"
    for tensor in file.tensors:
        assert tensor.tensor_type == gguf.GGMLQuantizationType.F32, tensor.name
    return {tensor.name: rows(tensor) for tensor in file.tensors}


def main(path: str, model_path: str) -> None:
    model = gguf.GGUFReader(model_path)
    found = from_gguf(path, model) if path.endswith(".gguf") else from_safetensors(path)
    assert sorted(found) == sorted(tensor.name for tensor in model.tensors)
    for tensor in model.tensors:
        values, expected = found[tensor.name], rows(tensor)
        assert values.dtype == np.float32, tensor.name
        assert values.shape == expected.shape, f"{tensor.name}: {values.shape}, not {expected.shape}"
        assert same_bits(values, expected), f"{tensor.name}: the values differ"
    print(f"{len(found)} tensors are bit-identical")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2])
