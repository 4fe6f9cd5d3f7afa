#!/usr/bin/env python3
"""Token ids that llama.cpp gives random strings, for `cargo nextest run real_vocabularies`.

    python tests/python/tokenizer_ids.py -o tests/fixtures/tokenizer_ids.json \\
        smollm2=SmolLM2.gguf gemma=gemma-3-270m.gguf qwen=Qwen2.5-Coder.gguf

writes the committed fixture of 2,000 strings. For as many fresh ones as wanted, with llama.cpp at hand:

    python tests/python/tokenizer_ids.py --count 20000 --seed 7 -o ids.json smollm2=... gemma=... qwen=...
    WOOLLY_TOKENIZER_IDS=ids.json WOOLLY_TEST_MODEL=... WOOLLY_TEST_GEMMA=... WOOLLY_TEST_QWEN=... \\
        cargo nextest run real_vocabularies

needs the package llama-cpp-python. Strings are made of random code points of all of Unicode, words of several
scripts, spaces, digits, contractions, emoji, combining marks, source code, and whole and broken names of control
tokens. For each vocabulary a string has the ids as plain text, those with special tokens added and parsed where they
are others, and what the plain ids are as text where that is not the string.
"""

import argparse
import ctypes
import json
import random

WORDS = """the of Hello world don't I'm we'll they've it's IT'S can’t naïve café Straße größer œuvre Ελλάδα και Москва
слово не שלום עולם مرحبا بالعالم नमस्ते दुनिया สวัสดี 你好世界 東京 こんにちは カタカナ 한국어 안녕 ქართული Հայերեն tiếng Việt ŁÓDŹ
ı İ ǆ ﬁ ﬀ ß ẞ Å K Ω 1st 2nd 3.14 1,000,000 0x1F 1e-9 12345678 ٣٤٥ 五百 Ⅷ ½ ² ₂ e.g. U.S.A. foo_bar camelCase x=y+1; def
f(x): return {} [] () <b> </b> http://a.b/c?d=e&f#g user@host #tag $5.00 100% a/b C++ -- --- ... “quoted” «ça» ‘it’ „so“
🙂 👩‍👩‍👧‍👦 🇩🇪 👍🏽 ❤️ 🏳️‍🌈 é ñ ộ ö́ क्षि ์ ‍ ‌ \ufeff \u200b \u180e""".split()
SPACES = [" ", " ", " ", "  ", "   ", "\n", "\n\n", "\r\n", "\t", " \n", "\n ", " \t ", "    ", "\u3000", "\u00a0", "\r",
          "\v", "\f", "\u2028", "\u2029", "\u0085", "\u1680"]
CONTROLS = ["<|im_start|>", "<|im_end|>", "<|endoftext|>", "<start_of_turn>", "<end_of_turn>", "<bos>", "<eos>", "<pad>",
            "<unk>", "<|fim_prefix|>", "<|file_sep|>", "<repo_name>", "<0x0A>", "<0xFF>", "<unused7>", "<|im_", "|>", "<|",
            "▁", "▁▁", "Ġ", "[UNK]", "<h1>", "<empty_output>", "<tool_call>"]


def code_point(rng):
    """Any character; planes with letters more often than their share."""
    while True:
        low, high = rng.choice([(0x20, 0x7f), (0x01, 0x100), (0x100, 0x600), (0x600, 0x2000), (0x2000, 0x3000),
                                (0x3000, 0xd7ff), (0xe000, 0xffff), (0x10000, 0x20000), (0x20000, 0x10ffff)])
        value = rng.randrange(low, high + 1)
        if not 0xd800 <= value <= 0xdfff:
            return chr(value)


def text(rng):
    """One random string."""
    parts = []
    kind = rng.random()
    for _ in range(rng.randrange(1, 9)):
        dice = rng.random()
        if kind < 0.25:
            parts.append(code_point(rng))
        elif dice < 0.45:
            parts.append(rng.choice(WORDS))
        elif dice < 0.75:
            parts.append(rng.choice(SPACES))
        elif dice < 0.85:
            parts.append(code_point(rng))
        elif dice < 0.93:
            parts.append(str(rng.randrange(10 ** rng.randrange(1, 9))))
        else:
            parts.append(rng.choice(CONTROLS))
        if rng.random() < 0.05:
            parts.append(parts[-1] * rng.randrange(1, 12))
    return "".join(parts)


class Vocabulary:
    def __init__(self, path):
        import llama_cpp

        self.api = api = llama_cpp
        self.silent = api.llama_log_callback(lambda level, text, data: None)
        api.llama_log_set(self.silent, ctypes.c_void_p())
        params = api.llama_model_default_params()
        params.vocab_only = True
        self.model = api.llama_model_load_from_file(path.encode(), params)
        self.vocabulary = api.llama_model_get_vocab(self.model)

    def ids(self, string, special):
        raw = string.encode()
        room = 16 * len(raw) + 64
        out = (ctypes.c_int32 * room)()
        count = self.api.llama_tokenize(self.vocabulary, raw, len(raw), out, room, special, special)
        assert count >= 0, string
        return out[:count]

    def text(self, ids):
        out = ctypes.create_string_buffer(16 + 512 * len(ids))
        array = (ctypes.c_int32 * len(ids))(*ids)
        count = self.api.llama_detokenize(self.vocabulary, array, len(ids), out, len(out), False, False)
        assert count >= 0, ids
        return out.raw[:count].decode(errors="replace")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("-o", "--output", required=True)
    parser.add_argument("models", nargs="+", metavar="NAME=FILE")
    options = parser.parse_args()
    rng = random.Random(options.seed)
    strings = [text(rng) for _ in range(options.count)]
    answer = {"strings": strings, "plain": {}, "special": {}, "text": {}}
    for model in options.models:
        name, path = model.split("=", 1)
        vocabulary = Vocabulary(path)
        bare = vocabulary.ids("", True)
        answer["plain"][name] = plain = [vocabulary.ids(string, False) for string in strings]
        special = [vocabulary.ids(string, True) for string in strings]
        # Where they are more than the plain ones behind BOS.
        answer["special"][name] = {str(index): ids for index, ids in enumerate(special) if ids != bare + plain[index]}
        texts = [vocabulary.text(ids) for ids in plain]
        answer["text"][name] = {str(index): back for index, back in enumerate(texts) if back != strings[index]}
    with open(options.output, "w", encoding="utf-8") as file:
        json.dump(answer, file, ensure_ascii=True, separators=(",", ":"))


if __name__ == "__main__":
    main()
