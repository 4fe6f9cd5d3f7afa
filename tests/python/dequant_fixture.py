"""Writes or checks tests/fixtures/dequant.bin: blocks of every type and what `gguf` makes of them.

Usage: dequant_fixture.py write|check FILE

Little endian, one record per type until the end of the file:
  u32 type number, u32 bytes of blocks, u32 values, the blocks, the values as f32.
Blocks are random bytes, so scales take every kind of value: subnormal, infinite, NaN. Where values come
from a grid, the first blocks visit each of its points.
NaNs are written as 0x7fc00000, because their payload is not compared.

The package has no values for plain integers and F64, which numpy casts, nor for Q8_1, Q8_K, Q1_0 and
Q2_0 (the last it does not know at all), whose definitions in ggml are written down here.
"""

import struct
import sys

import gguf
import numpy as np

SEED = 42

# Infinities, the smallest and largest subnormal, the largest number, the two zeros, a NaN.
HALF_EDGES = [0x7C00, 0xFC00, 0x0001, 0x83FF, 0x7BFF, 0xFBFF, 0x0000, 0x8000, 0x7C01]
SINGLE_EDGES = [0x7F800000, 0xFF800000, 0x00000001, 0x807FFFFF, 0x7F7FFFFF, 0x80000000, 0x7F800001]

# Where the half-precision scales of a block are; blocks beyond those with edges are random.
SCALES = {
    "Q4_0": [0],
    "Q4_1": [0, 2],
    "Q5_0": [0],
    "Q5_1": [0, 2],
    "Q8_0": [0],
    "Q8_1": [0],
    "Q2_K": [80, 82],
    "Q3_K": [108],
    "Q4_K": [0, 2],
    "Q5_K": [0, 2],
    "Q6_K": [208],
    "IQ2_XXS": [0],
    "IQ2_XS": [0],
    "IQ2_S": [0],
    "IQ3_XXS": [0],
    "IQ3_S": [0],
    "IQ1_S": [0],
    "IQ4_NL": [0],
    "IQ4_XS": [0],
    "TQ1_0": [52],
    "TQ2_0": [64],
    "Q1_0": [0],
    "Q2_0": [0],
}

# Number, values and bytes of a block where the package differs from ggml or is silent.
OWN = {"Q8_1": (9, 32, 36), "Q2_0": (42, 64, 18)}
NUMBERS = {"I8": "<i1", "I16": "<i2", "I32": "<i4", "I64": "<i8", "F64": "<f8"}


def types() -> dict[str, tuple[int, int, int]]:
    """Number, values and bytes of a block of every type, by name."""
    found = {kind.name: (int(kind), *sizes) for kind, sizes in gguf.GGML_QUANT_SIZES.items()}
    return dict(sorted((found | OWN).items(), key=lambda item: item[1]))


def half(blocks: np.ndarray, offset: int) -> np.ndarray:
    """The scale of each block, as a column."""
    return blocks[:, offset : offset + 2].copy().view("<f2").astype(np.float32)


def values_of(name: str, blocks: np.ndarray) -> np.ndarray:
    if name in NUMBERS:
        return blocks.reshape(-1).view(NUMBERS[name]).astype("<f4")
    match name:
        case "Q8_1":
            return half(blocks, 0) * blocks[:, 4:].view(np.int8).astype("<f4")
        case "Q8_K":
            d = blocks[:, :4].copy().view("<f4")
            return d * blocks[:, 4:260].copy().view(np.int8).astype("<f4")
        case "Q1_0":
            bits = np.unpackbits(blocks[:, 2:], axis=1, bitorder="little")
            return np.where(bits == 1, half(blocks, 0), -half(blocks, 0))
        case "Q2_0":
            pairs = blocks[:, 2:, None] >> np.array([0, 2, 4, 6], dtype=np.uint8) & 3
            codes = pairs.reshape(len(blocks), -1).astype(np.int8) - np.int8(1)
            return half(blocks, 0) * codes.astype("<f4")
    return gguf.dequantize(blocks.reshape(1, -1), gguf.GGMLQuantizationType[name])


def visit_grid(name: str, blocks: np.ndarray) -> None:
    """Sets the indices of the first blocks so that they name every point of the grid."""
    ranks = np.arange(2048, dtype=np.uint16)
    # Each run of blocks has one value of the high bits and all of the low bits.
    low = ranks.astype(np.uint8)
    match name:
        case "IQ2_XXS":  # 4 of 8 bytes in each group are indices
            blocks[:8, 2:66].reshape(8, 8, 8)[:, :, :4] = low[:256].reshape(8, 8, 4)
        case "IQ2_XS":  # 9 bits of each word
            words = blocks[:16, 2:66].copy().view("<u2")
            blocks[:16, 2:66] = (words & 0xFE00 | ranks[:512].reshape(16, 32)).view(np.uint8)
        case "IQ2_S":
            blocks[:32, 2:34] = low[:1024].reshape(32, 32)
            blocks[:32, 66:74] = np.repeat(np.arange(4) * 0b01010101, 8)[:, None]
        case "IQ3_XXS":
            blocks[:4, 2:66] = low[:256].reshape(4, 64)
        case "IQ3_S":
            blocks[:8, 2:66] = low[:512].reshape(8, 64)
            blocks[:8, 66:74] = np.repeat([0, 255], 4)[:, None]
        case "IQ1_S":
            words = blocks[:64, 34:50].copy().view("<u2")
            high = np.repeat(np.arange(8, dtype=np.uint16) * 0b001001001001, 8)
            blocks[:64, 2:34] = low.reshape(64, 32)
            blocks[:64, 34:50] = (words & 0xF000 | high[:, None]).view(np.uint8)


def blocks_of(name: str, values: int, size: int, rng: np.random.Generator) -> np.ndarray:
    def random(count: int) -> np.ndarray:
        return rng.integers(0, 256, (count, size), dtype=np.uint8)

    def bytes_of(numbers: list, kind: str) -> np.ndarray:
        return np.array(numbers, dtype=kind).view(np.uint8).reshape(-1, size)

    match name:
        case "F32":
            return np.concatenate([bytes_of(SINGLE_EDGES, "<u4"), random(256)])
        case "F16" | "BF16":
            # Evenly spaced bit patterns: all exponents, both signs, subnormals, infinities.
            return bytes_of(list(range(0, 65536, 31)) + HALF_EDGES + [0x7F80, 0xFF80], "<u2")
        case "F64":
            # Random numbers near those of F32, whole and half way between two, and random bits.
            near = rng.integers(0, 2**32, 400, dtype=np.uint32).view("<f4").astype("<f8")
            half_way = near.view("<u8") + np.uint64(1 << 28)
            edges = [1e300, -1e300, 2.0**-150, 2.0**-149, 3.0 * 2.0**-150, -0.0, np.inf, np.nan]
            parts = [near, half_way.view("<f8"), np.array(edges, dtype="<f8")]
            return np.concatenate([np.concatenate(parts).view(np.uint8).reshape(-1, size), random(100)])
        case "I8":
            return bytes_of(list(range(-128, 128)), "<i1")
        case "I16" | "I32" | "I64":
            # Around the powers of two, where rounding begins and the ranges end.
            bits = 8 * size - 1
            powers = [sign * 2**n + d for n in range(bits) for sign in (1, -1) for d in (-1, 0, 1)]
            return np.concatenate([bytes_of(powers + [-(2**bits), 2**bits - 1], NUMBERS[name]), random(200)])
        case "MXFP4" | "NVFP4":
            # Every scale of 8 bits.
            blocks = random(256 if name == "MXFP4" else 64)
            scales = np.arange(256, dtype=np.uint8).reshape(len(blocks), -1)
            blocks[:, : scales.shape[1]] = scales
            return blocks
        case "Q8_K":
            blocks = random(24)
            edges = np.array(SINGLE_EDGES, dtype="<u4").view(np.uint8).reshape(-1, 4)
            blocks[: len(edges), :4] = edges
            return blocks
        case "IQ1_M":
            # Its scale is the high nibbles of four words.
            blocks = random(24)
            for row, edge in enumerate(HALF_EDGES):
                for word in range(4):
                    at = 49 + 2 * word
                    blocks[row, at] = blocks[row, at] & 0x0F | (edge >> (4 * word) & 0x0F) << 4
            return blocks
    # Blocks with each edge in each scale, others random, then some of one bit pattern.
    edges = [(offset, edge) for offset in SCALES[name] for edge in HALF_EDGES]
    grids = {"IQ2_XXS": 8, "IQ2_XS": 16, "IQ2_S": 32, "IQ3_XXS": 4, "IQ3_S": 8, "IQ1_S": 64}
    first = grids.get(name, 0)
    blocks = random(first + len(edges) + max(6, 2048 // values))
    visit_grid(name, blocks)
    if first:
        # Distinct finite scales, so that neither NaN nor zero hides a point.
        blocks[:first, 0:2] = (np.float16(1.5) + np.arange(first).astype("<f2")).view(np.uint8).reshape(-1, 2)
    for row, (offset, edge) in enumerate(edges, first):
        blocks[row, offset : offset + 2] = np.array([edge], dtype="<u2").view(np.uint8)
    return np.concatenate([blocks, np.full((1, size), 0, np.uint8), np.full((1, size), 255, np.uint8)])


def fixture() -> bytes:
    rng = np.random.default_rng(SEED)
    out = bytearray()
    for name, (number, values, size) in types().items():
        blocks = blocks_of(name, values, size, rng)
        with np.errstate(all="ignore"):
            found = np.asarray(values_of(name, blocks), dtype="<f4").ravel()
        assert found.size == len(blocks) * values, name
        bits = np.where(np.isnan(found), np.uint32(0x7FC00000), found.view("<u4")).astype("<u4")
        out += struct.pack("<III", number, blocks.size, bits.size) + blocks.tobytes() + bits.tobytes()
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
