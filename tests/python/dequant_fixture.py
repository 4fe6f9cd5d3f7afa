"""Writes or checks tests/fixtures/dequant.bin: random blocks of every type and what `gguf` makes of them.

Usage: dequant_fixture.py write|check FILE

Little endian, one record per type until the end of the file:
  u32 type number, u32 bytes of blocks, u32 values, the blocks, the values as f32.
Blocks are random bytes, so scales take every kind of value: subnormal, infinite, NaN.
NaNs are written as 0x7fc00000, because their payload is not compared.
"""

import struct
import sys

import gguf
import numpy as np

Type = gguf.GGMLQuantizationType

# Blocks per type; the file stays below 300 KB.
COUNTS = {
    Type.F32: 256,
    Type.F16: 4096,
    Type.BF16: 2048,
    Type.Q4_0: 160,
    Type.Q4_1: 160,
    Type.Q5_0: 160,
    Type.Q5_1: 160,
    Type.Q8_0: 160,
    Type.Q4_K: 40,
    Type.Q6_K: 40,
}
SEED = 42

# Where the half-precision scales of a block are.
SCALES = {
    Type.Q4_0: [0],
    Type.Q4_1: [0, 2],
    Type.Q5_0: [0],
    Type.Q5_1: [0, 2],
    Type.Q8_0: [0],
    Type.Q4_K: [0, 2],
    Type.Q6_K: [208],
}
# Infinities, the smallest and largest subnormal, the largest number, the two zeros.
EDGES = [0x7C00, 0xFC00, 0x0001, 0x83FF, 0x7BFF, 0xFBFF, 0x0000, 0x8000]


def blocks_of(kind: Type, count: int, rng: np.random.Generator) -> np.ndarray:
    size = gguf.GGML_QUANT_SIZES[kind][1]
    blocks = rng.integers(0, 256, (count, size), dtype=np.uint8)
    blocks[0] = 0
    blocks[1] = 255
    if kind == Type.F32:
        edges = [0x7F800000, 0xFF800000, 0x00000001, 0x807FFFFF, 0x7F7FFFFF, 0x80000000, 0x7F800001]
        blocks[2 : 2 + len(edges)] = np.array(edges, dtype="<u4").view(np.uint8).reshape(-1, 4)
    elif kind in SCALES:
        row = 2
        for offset in SCALES[kind]:
            for edge in EDGES:
                blocks[row, offset : offset + 2] = np.array([edge], dtype="<u2").view(np.uint8)
                row += 1
    else:
        # Evenly spaced bit patterns: all exponents, both signs, subnormals, infinities.
        step = 65536 // count
        blocks[:] = (np.arange(count) * step).astype("<u2").view(np.uint8).reshape(count, size)
    return blocks


def fixture() -> bytes:
    rng = np.random.default_rng(SEED)
    out = bytearray()
    for kind, count in COUNTS.items():
        blocks = blocks_of(kind, count, rng)
        with np.errstate(all="ignore"):
            values = gguf.dequantize(blocks.reshape(1, -1), kind).astype("<f4").ravel()
        bits = np.where(np.isnan(values), np.uint32(0x7FC00000), values.view("<u4")).astype("<u4")
        out += struct.pack("<III", kind, blocks.size, bits.size) + blocks.tobytes() + bits.tobytes()
    return bytes(out)


def main(verb: str, path: str) -> None:
    if verb == "write":
        with open(path, "wb") as file:
            file.write(fixture())
        return
    with open(path, "rb") as file:
        assert file.read() == fixture(), f"{path} is not what the gguf package gives"
    print(f"{path} is what the gguf package gives")


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] not in ("write", "check"):
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2])
