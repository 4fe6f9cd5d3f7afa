"""Compares a cache file with the GGUF file it was made from, tensor by tensor, bit by bit.

Usage: check_cache.py CACHE.safetensors MODEL.gguf

The oracles are the Python packages: `safetensors` reads the cache file, `gguf` dequantizes the model.
NaNs must be at the same places; their payload is ignored. Exits 1 at the first difference.
"""

import json
import struct
import sys

import gguf
import numpy as np
from safetensors import safe_open


def panels_to_rows(panels: np.ndarray, rows: int) -> np.ndarray:
    """[ceil(rows / 16), cols, 16] to [rows, cols]; the padding must be zero bits."""
    count, cols, lanes = panels.shape
    assert lanes == 16 and count == -(-rows // 16)
    matrix = panels.transpose(0, 2, 1).reshape(count * 16, cols)
    assert not matrix[rows:].view(np.uint32).any(), "panel padding is not zero"
    return matrix[:rows]


def same_bits(found: np.ndarray, expected: np.ndarray) -> bool:
    found_nan, expected_nan = np.isnan(found), np.isnan(expected)
    bits = found.view(np.uint32) == expected.view(np.uint32)
    return bool(np.all(np.where(expected_nan, found_nan, bits)))


def data_start(path: str) -> int:
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        json.loads(file.read(length))
    return 8 + length


def main(cache_path: str, model_path: str) -> None:
    start = data_start(cache_path)
    assert start % 4096 == 0, f"the data begins at {start}"
    model = {tensor.name: tensor for tensor in gguf.GGUFReader(model_path).tensors}
    with safe_open(cache_path, framework="numpy") as cache:
        names = [name for name in cache.keys() if not name.startswith("__pad.")]
        assert sorted(names) == sorted(model), "the tensors are not those of the model"
        for name in names:
            tensor = model[name]
            cols, *rest = (int(size) for size in tensor.shape)
            rows = rest[0] if rest else 1
            expected = gguf.dequantize(tensor.data, tensor.tensor_type)
            expected = np.ascontiguousarray(expected, dtype=np.float32).reshape(rows, cols)
            found = cache.get_tensor(name)
            assert found.dtype == np.float32, name
            if found.ndim == 3:
                found = panels_to_rows(found, rows)
            found = np.ascontiguousarray(found).reshape(rows, cols)
            assert same_bits(found, expected), f"{name}: the values differ"
    print(f"{len(names)} tensors are bit-identical")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2])
