"""Writes a model folder as the Hugging Face libraries do, from a GGUF file of the llama architecture with
a gpt2 vocabulary: the other way round than llama.cpp's convert_hf_to_gguf.py.

The weights come in two files, those whose rows have another order in a GGUF file in the first.

    python tests/python/model_folder.py MODEL.gguf FOLDER [--type F32|F16|BF16]

The fixture tests/fixtures/llama-gqa is what it makes of tests/fixtures/llama-gqa.gguf, without the second
file of weights, which the tests copy out of the GGUF file:

    python tests/python/model_folder.py tests/fixtures/llama-gqa.gguf tests/fixtures/llama-gqa
    rm tests/fixtures/llama-gqa/model-00002-of-00002.safetensors
"""

import argparse
import json
import math
import pathlib
import struct

import gguf
import numpy as np

SHARDS = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]

NAMES = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
}
LAYER_NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}

# As published with the models that have these pre-tokenizers.
LLAMA3_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
PRE_TOKENIZERS = {
    "smollm": [
        {"type": "Digits", "individual_digits": True},
        {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
    ],
    "llama-bpe": [
        {"type": "Split", "pattern": {"Regex": LLAMA3_WORDS}, "behavior": "Isolated", "invert": False},
        {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False},
    ],
}


def unpermute(rows, heads):
    """The rows that LlamaModel.permute of llama.cpp's converter turns into `rows`."""
    size = rows.shape[0] // heads
    pairs = rows.reshape(heads, size // 2, 2, *rows.shape[1:])
    return pairs.swapaxes(1, 2).reshape(rows.shape)


def encoded(values, kind):
    values = np.ascontiguousarray(values, dtype=np.float32)
    if kind == "BF16":
        return gguf.quants.quantize(values, gguf.GGMLQuantizationType.BF16).tobytes()
    return values.astype({"F32": "<f4", "F16": "<f2"}[kind]).tobytes()


def save(path, tensors, kind):
    header, at = {"__metadata__": {"format": "pt"}}, 0
    data = []
    for name, values in tensors:
        data.append(encoded(values, kind))
        end = at + len(data[-1])
        header[name] = {"dtype": kind, "shape": list(values.shape), "data_offsets": [at, end]}
        at = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(data))


def rope_scaling(factors, base, head):
    """The parameters of llama 3's scaling that give these factors."""
    factor = float(factors.max())
    frequencies = base ** (-np.arange(0, head, 2) / head)
    between = [i for i, value in enumerate(factors) if 1 < value < factor]
    smooth = (1 / factors[between[0]] - 1 / factor) / (1 - 1 / factor)
    context = (smooth * 3 + 1) * 2 * math.pi / frequencies[between[0]]
    return {
        "rope_type": "llama3",
        "factor": factor,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": round(context),
    }


def write(path, value):
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("model")
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--type", default="F32", choices=["F32", "F16", "BF16"])
    arguments = parser.parse_args()
    reader = gguf.GGUFReader(arguments.model)
    get = lambda key: reader.fields[key].contents() if key in reader.fields else None
    heads, kv_heads = get("llama.attention.head_count"), get("llama.attention.head_count_kv")
    head = get("llama.rope.dimension_count")
    folder = arguments.folder
    folder.mkdir(parents=True, exist_ok=True)

    shards, factors = ([], []), None
    for tensor in reader.tensors:
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        part = tensor.name.removesuffix(".weight")
        if part == "rope_freqs":
            factors = values
        elif part in NAMES:
            shards[1].append((f"{NAMES[part]}.weight", values))
        else:
            _, layer, part = part.split(".")
            permuted = {"attn_q": heads, "attn_k": kv_heads}.get(part)
            name = f"model.layers.{layer}.{LAYER_NAMES[part]}.weight"
            if permuted:
                values = unpermute(values, permuted)
            shards[0 if permuted else 1].append((name, values))
    for name, tensors in zip(SHARDS, shards):
        save(folder / name, tensors, arguments.type)
    size = sum(values.size for tensors in shards for _, values in tensors)
    write(
        folder / "model.safetensors.index.json",
        {
            "metadata": {"total_size": size * (4 if arguments.type == "F32" else 2)},
            "weight_map": {name: shard for shard, tensors in zip(SHARDS, shards) for name, _ in tensors},
        },
    )

    config = {
        "architectures": ["LlamaForCausalLM"],
        "bos_token_id": get("tokenizer.ggml.bos_token_id"),
        "eos_token_id": get("tokenizer.ggml.eos_token_id"),
        "hidden_act": "silu",
        "hidden_size": get("llama.embedding_length"),
        "intermediate_size": get("llama.feed_forward_length"),
        "max_position_embeddings": get("llama.context_length"),
        "model_type": "llama",
        "num_attention_heads": heads,
        "num_hidden_layers": get("llama.block_count"),
        "num_key_value_heads": kv_heads,
        "rms_norm_eps": float(f"{get('llama.attention.layer_norm_rms_epsilon'):.6g}"),
        "rope_theta": get("llama.rope.freq_base"),
        "rope_scaling": None,
        "tie_word_embeddings": all(tensor.name != "output.weight" for tensor in reader.tensors),
        "vocab_size": get("llama.vocab_size"),
    }
    if head * heads != config["hidden_size"]:
        config["head_dim"] = head
    if factors is not None:
        config["rope_scaling"] = rope_scaling(factors, config["rope_theta"], head)
    write(folder / "config.json", config)
    write(
        folder / "generation_config.json",
        {"bos_token_id": config["bos_token_id"], "eos_token_id": [config["eos_token_id"]]},
    )

    tokens, types = get("tokenizer.ggml.tokens"), get("tokenizer.ggml.token_type")
    bos, eos = tokens[config["bos_token_id"]], tokens[config["eos_token_id"]]
    pre = get("tokenizer.ggml.pre")
    adds_bos = get("tokenizer.ggml.add_bos_token")
    adds_bos = pre == "llama-bpe" if adds_bos is None else adds_bos
    text = {"Sequence": {"id": "A", "type_id": 0}}
    template = {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": bos, "type_id": 0}}, text],
        "pair": [{"SpecialToken": {"id": bos, "type_id": 0}}, text],
        "special_tokens": {bos: {"id": bos, "ids": [config["bos_token_id"]], "tokens": [bos]}},
    }
    level = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}
    write(
        folder / "tokenizer.json",
        {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": [
                {
                    "id": id,
                    "content": token,
                    "single_word": False,
                    "lstrip": False,
                    "rstrip": False,
                    "normalized": False,
                    "special": types[id] == 3,
                }
                for id, token in enumerate(tokens)
                if types[id] in (3, 4)
            ],
            "normalizer": None,
            "pre_tokenizer": {"type": "Sequence", "pretokenizers": PRE_TOKENIZERS[pre]},
            "post_processor": {"type": "Sequence", "processors": [level, template]} if adds_bos else None,
            "decoder": level,
            "model": {
                "type": "BPE",
                "dropout": None,
                "unk_token": None,
                "continuing_subword_prefix": None,
                "end_of_word_suffix": None,
                "fuse_unk": False,
                "byte_fallback": False,
                "ignore_merges": pre == "llama-bpe",
                "vocab": {token: id for id, token in enumerate(tokens)},
                "merges": [merge.split(" ") for merge in get("tokenizer.ggml.merges")],
            },
        },
    )
    names = {"bos_token": {"__type": "AddedToken", "content": bos}, "eos_token": eos}
    chat = get("tokenizer.chat_template")
    if chat is not None:
        names["chat_template"] = chat
    write(folder / "tokenizer_config.json", names)


main()
