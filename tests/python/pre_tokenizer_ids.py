#!/usr/bin/env python3
"""Token ids that llama.cpp gives random strings with SmolLM2's vocabulary under every pre-tokenizer.

    python tests/python/pre_tokenizer_ids.py SmolLM2-135M-Instruct.Q4_1.gguf tests/fixtures/pre_tokenizer_ids.json NAME...

needs the packages gguf and llama-cpp-python. NAME is what `tokenizer.ggml.pre` may say. For every name a file without
tensors is written; of the ids only those as plain text are kept.
"""

import json
import os
import random
import sys
import tempfile

import gguf

from tokenizer_ids import Vocabulary, text


def under(reader, pre, path):
    """The reader's vocabulary with another pre-tokenizer."""
    writer = gguf.GGUFWriter(path, "llama")
    for field in reader.fields.values():
        if not field.name.startswith("tokenizer.ggml."):
            continue
        kind = field.types[0]
        value = pre if field.name == "tokenizer.ggml.pre" else field.contents()
        sub = field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(field.name, value, kind, sub_type=sub)
    writer.add_block_count(1)
    writer.add_context_length(128)
    writer.add_embedding_length(64)
    writer.add_feed_forward_length(64)
    writer.add_head_count(1)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()


def main():
    model, output, names = sys.argv[1], sys.argv[2], sys.argv[3:]
    rng = random.Random(3)
    strings = [text(rng) for _ in range(250)]
    reader = gguf.GGUFReader(model)
    answer = {"strings": strings, "ids": {}}
    with tempfile.TemporaryDirectory() as work:
        for name in names:
            path = os.path.join(work, "vocabulary.gguf")
            under(reader, name, path)
            vocabulary = Vocabulary(path)
            answer["ids"][name] = [vocabulary.ids(string, False) for string in strings]
    with open(output, "w", encoding="utf-8") as file:
        json.dump(answer, file, ensure_ascii=True, separators=(",", ":"))


if __name__ == "__main__":
    main()
