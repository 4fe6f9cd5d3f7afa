#!/usr/bin/env python3
"""Writes tests/fixtures/tiny/*.gguf, a model of random weights for each architecture, and beside each what llama.cpp
answers: greedy tokens and log-probabilities.

    python tests/python/tiny_models.py tests/fixtures/qwen2.gguf tests/fixtures/tiny

needs the packages gguf, numpy and llama-cpp-python. The vocabulary is that of the first file. Scales keep scores and
logits lively, so that a part that is left out moves the log-probabilities by more than the tests allow.
"""

import ctypes
import json
import os
import sys

import gguf
import numpy

HIDDEN, LAYERS, HEADS, KV_HEADS, HEAD, WIDTH, CONTEXT = 48, 3, 4, 2, 16, 40, 256
EXPERTS, USED, EXPERT_WIDTH, SHARED_WIDTH = 5, 2, 24, 56


class Model:
    """One file in the making."""

    def __init__(self, name, architecture, vocabulary, folder):
        self.path = os.path.join(folder, name + ".gguf")
        self.writer = gguf.GGUFWriter(self.path, architecture)
        self.prefix = architecture
        self.random = numpy.random.default_rng(42)
        self.hidden, self.vocabulary = HIDDEN, len(vocabulary["tokenizer.ggml.tokens"])
        writer = self.writer
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre(vocabulary["tokenizer.ggml.pre"])
        writer.add_token_list(vocabulary["tokenizer.ggml.tokens"])
        writer.add_token_types(vocabulary["tokenizer.ggml.token_type"])
        writer.add_token_merges(vocabulary["tokenizer.ggml.merges"])
        writer.add_eos_token_id(vocabulary["tokenizer.ggml.eos_token_id"])
        for key, value in [("block_count", LAYERS), ("context_length", CONTEXT), ("embedding_length", HIDDEN),
                           ("feed_forward_length", WIDTH), ("attention.head_count", HEADS),
                           ("attention.head_count_kv", KV_HEADS)]:
            self.key(key, value)

    def key(self, name, value):
        add = {bool: self.writer.add_bool, int: self.writer.add_uint32, float: self.writer.add_float32,
               str: self.writer.add_string}
        add[type(value)](f"{self.prefix}.{name}", value)

    def tensor(self, name, *shape, scale=None, around=0.0):
        """Rows first, as numpy has them."""
        scale = 1.6 / shape[-1] ** 0.5 if scale is None else scale
        values = around + scale * self.random.standard_normal(shape)
        self.writer.add_tensor(name, values.astype(numpy.float32))

    def norm(self, name, width, bias):
        self.tensor(name + ".weight", width, scale=0.3, around=1.0)
        if bias:
            self.tensor(name + ".bias", width, scale=0.3)

    def linear(self, name, rows, columns, bias=False):
        self.tensor(name + ".weight", rows, columns)
        if bias:
            self.tensor(name + ".bias", rows, scale=0.3)

    def write(self):
        self.writer.write_header_to_file()
        self.writer.write_kv_data_to_file()
        self.writer.write_tensors_to_file()
        self.writer.close()


def build(name, architecture, vocabulary, folder, *, layer_norm=False, norm_bias=True, head=None, biases=(),
          fused=False, feed="gated", output=True, before=True, after=False, ffn_norm=True, head_norms=None,
          experts=False, shared=False, learned=False, keys=None, vectors=None, rope_dims=None):
    model = Model(name, architecture, vocabulary, folder)
    head = head or HIDDEN // HEADS
    epsilon = "attention.layer_norm_epsilon" if layer_norm else "attention.layer_norm_rms_epsilon"
    model.key(epsilon, 1e-5)
    if head != HIDDEN // HEADS:
        model.key("attention.key_length", head)
        model.key("attention.value_length", head)
    if rope_dims:
        model.key("rope.dimension_count", rope_dims)
    if experts:
        model.key("expert_count", EXPERTS)
        model.key("expert_used_count", USED)
        if architecture != "llama":
            model.key("expert_feed_forward_length", EXPERT_WIDTH)
        if shared:
            model.key("expert_shared_feed_forward_length", SHARED_WIDTH)
    for key, value in (keys or {}).items():
        model.key(key, value)
    bias = layer_norm and norm_bias
    q, kv = HEADS * head, KV_HEADS * head
    model.tensor("token_embd.weight", model.vocabulary, HIDDEN, scale=0.7 / HIDDEN ** 0.5 if not output else 1.0)
    if learned:
        model.tensor("position_embd.weight", CONTEXT, HIDDEN, scale=0.5)
    for vector, values in (vectors or {}).items():
        model.writer.add_tensor(vector, numpy.array(values, dtype=numpy.float32))
    for layer in range(LAYERS):
        part = f"blk.{layer}."
        if before:
            model.norm(part + "attn_norm", HIDDEN, bias)
        if fused:
            model.linear(part + "attn_qkv", q + 2 * kv, HIDDEN, "inputs" in biases)
        else:
            for which, rows in [("q", q), ("k", kv), ("v", kv)]:
                model.linear(part + "attn_" + which, rows, HIDDEN, "inputs" in biases)
        if head_norms == "each":
            model.norm(part + "attn_q_norm", head, False)
            model.norm(part + "attn_k_norm", head, False)
        elif head_norms == "row":
            model.norm(part + "attn_q_norm", q, False)
            model.norm(part + "attn_k_norm", kv, False)
        elif head_norms == "own":
            model.tensor(part + "attn_q_norm.weight", HEADS, head, scale=0.3, around=1.0)
            model.tensor(part + "attn_k_norm.weight", KV_HEADS, head, scale=0.3, around=1.0)
        model.linear(part + "attn_output", HIDDEN, q, "output" in biases)
        if after:
            model.norm(part + "post_attention_norm", HIDDEN, bias)
        if before and ffn_norm:
            model.norm(part + "ffn_norm", HIDDEN, bias)
        if experts:
            model.tensor(part + "ffn_gate_inp.weight", EXPERTS, HIDDEN, scale=0.5)
            width = WIDTH if architecture == "llama" else EXPERT_WIDTH
            model.tensor(part + "ffn_gate_exps.weight", EXPERTS, width, HIDDEN)
            model.tensor(part + "ffn_up_exps.weight", EXPERTS, width, HIDDEN)
            model.tensor(part + "ffn_down_exps.weight", EXPERTS, HIDDEN, width)
            if shared:
                model.tensor(part + "ffn_gate_inp_shexp.weight", HIDDEN)
                model.linear(part + "ffn_gate_shexp", SHARED_WIDTH, HIDDEN)
                model.linear(part + "ffn_up_shexp", SHARED_WIDTH, HIDDEN)
                model.linear(part + "ffn_down_shexp", HIDDEN, SHARED_WIDTH)
        else:
            if feed == "gated":
                model.linear(part + "ffn_gate", WIDTH, HIDDEN, "feed" in biases)
            rows = 2 * WIDTH if feed == "together" else WIDTH
            model.linear(part + "ffn_up", rows, HIDDEN, "feed" in biases)
            model.linear(part + "ffn_down", HIDDEN, WIDTH, "feed" in biases)
        if after:
            model.norm(part + "post_ffw_norm", HIDDEN, bias)
    model.norm("output_norm", HIDDEN, bias)
    if output:
        model.linear("output", model.vocabulary, HIDDEN, "head" in biases)
    model.write()
    return model.path


def answers(path, prompts, steps):
    """Greedy tokens, and the eight best log-probabilities at each step."""
    import llama_cpp as api

    silent = api.llama_log_callback(lambda level, text, data: None)
    api.llama_log_set(silent, ctypes.c_void_p())
    weights = api.llama_model_load_from_file(path.encode(), api.llama_model_default_params())
    assert weights, f"llama.cpp cannot load {path}"
    params = api.llama_context_default_params()
    params.n_ctx, params.n_batch, params.n_threads, params.n_threads_batch = CONTEXT, CONTEXT, 1, 1
    params.type_k = params.type_v = 0
    params.flash_attn_type = api.LLAMA_FLASH_ATTN_TYPE_DISABLED
    params.swa_full = True
    context = api.llama_init_from_model(weights, params)
    vocabulary = api.llama_vocab_n_tokens(api.llama_model_get_vocab(weights))
    found = []
    for prompt in prompts:
        api.llama_memory_clear(api.llama_get_memory(context), True)
        tokens, top, todo = [], [], list(prompt)
        for _ in range(steps):
            array = (ctypes.c_int32 * len(todo))(*todo)
            assert api.llama_decode(context, api.llama_batch_get_one(array, len(todo))) == 0
            logits = numpy.array(api.llama_get_logits_ith(context, -1)[:vocabulary], dtype=numpy.float64)
            logs = logits - logits.max()
            logs -= numpy.log(numpy.exp(logs).sum())
            best = numpy.argsort(-logs, kind="stable")[:8]
            top.append([[int(token), round(float(logs[token]), 6)] for token in best])
            tokens.append(int(best[0]))
            todo = [int(best[0])]
        found.append({"prompt_tokens": prompt, "tokens": tokens, "top": top})
    api.llama_free(context)
    api.llama_model_free(weights)
    return found


GPT2 = {"layer_norm": True, "biases": ("inputs", "output", "feed"), "feed": "plain"}
MODELS = {
    "llama-moe": ("llama", {"experts": True}),
    "llama-linear": ("llama", {"keys": {"rope.scaling.type": "linear", "rope.scaling.factor": 4.0}, "biases": ("inputs", "output", "feed")}),
    "llama-yarn": ("llama", {"keys": {"rope.scaling.type": "yarn", "rope.scaling.factor": 4.0,
                                      "rope.scaling.original_context_length": 64}}),
    "smollm3": ("smollm3", {"output": False}),
    "qwen2-fused": ("qwen2", {"fused": True, "biases": ("inputs",)}),
    "qwen2moe": ("qwen2moe", {"experts": True, "shared": True, "biases": ("inputs",)}),
    "qwen3": ("qwen3", {"head": 16, "head_norms": "each", "output": False}),
    "qwen3moe": ("qwen3moe", {"head": 16, "head_norms": "each", "experts": True}),
    "gemma": ("gemma", {"head": 16, "output": False}),
    "gemma2": ("gemma2", {"head": 16, "after": True, "output": False,
                          "keys": {"attention.sliding_window": 20, "attn_logit_softcapping": 3.0,
                                   "final_logit_softcapping": 8.0}}),
    "phi2": ("phi2", {**GPT2, "biases": ("inputs", "output", "feed", "head"), "ffn_norm": False, "rope_dims": 8}),
    "phi3": ("phi3", {"fused": True, "feed": "together",
                      "keys": {"rope.scaling.type": "longrope", "rope.scaling.attn_factor": 1.2,
                               "rope.scaling.original_context_length": 64, "attention.sliding_window": 30},
                      "vectors": {"rope_factors_long.weight": [1.0, 1.5, 2.0, 3.0, 4.0, 6.0],
                                  "rope_factors_short.weight": [1.0, 1.1, 1.2, 1.3, 1.4, 1.5]}}),
    "stablelm-parallel": ("stablelm", {"layer_norm": True, "ffn_norm": False, "head_norms": "own", "rope_dims": 4}),
    "gptneox": ("gptneox", {**GPT2, "fused": True, "rope_dims": 4, "keys": {"use_parallel_residual": True}}),
    "gptneox-sequential": ("gptneox", {**GPT2, "fused": True, "keys": {"use_parallel_residual": False}}),
    "gpt2": ("gpt2", {**GPT2, "fused": True, "learned": True, "output": False}),
    "olmo2": ("olmo2", {"before": False, "after": True, "head_norms": "row"}),
    "granite": ("granite", {"output": False,
                            "keys": {"attention.scale": 0.2, "embedding_scale": 6.0, "residual_scale": 0.4,
                                     "logit_scale": 2.0}}),
    "starcoder2": ("starcoder2", {**GPT2, "output": False}),
    "command-r": ("command-r", {"layer_norm": True, "norm_bias": False, "ffn_norm": False, "output": False,
                                "keys": {"logit_scale": 0.6}}),
}


def main():
    source, folder = sys.argv[1:3]
    only = sys.argv[3:]
    os.makedirs(folder, exist_ok=True)
    fields = gguf.GGUFReader(source).fields
    names = ["tokens", "token_type", "merges", "pre", "eos_token_id"]
    vocabulary = {f"tokenizer.ggml.{name}": fields[f"tokenizer.ggml.{name}"].contents() for name in names}
    random = numpy.random.default_rng(7)
    prompts = [[int(token) for token in random.integers(0, 250, length)] for length in (1, 9, 100)]
    for name, (architecture, options) in MODELS.items():
        if only and name not in only:
            continue
        path = build(name, architecture, vocabulary, folder, **options)
        with open(os.path.join(folder, name + ".json"), "w", encoding="utf-8") as file:
            json.dump({"completion": answers(path, prompts, 12)}, file, separators=(",", ":"))
        print(name, os.path.getsize(path))


if __name__ == "__main__":
    main()
