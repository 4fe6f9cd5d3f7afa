#!/usr/bin/env python3
"""A small unigram vocabulary, and the ids that llama.cpp gives random strings with it.

    python tests/python/unigram_ids.py tests/fixtures/unigram_ids.json

needs the packages sentencepiece, protobuf, gguf and llama-cpp-python. The vocabulary is trained on this file, with a
table of replacements of its own; ids are given with spaces merged or not, and with a space added or not.
"""

import io
import json
import os
import random
import sys
import tempfile

import gguf
import sentencepiece
from sentencepiece import sentencepiece_model_pb2

from tokenizer_ids import Vocabulary, text

# Longer beginnings win over shorter ones; one is deleted, one becomes the text of a control token, one that of a
# user-defined entry.
RULES = [("A", "a"), ("ß", "ss"), ("ﬁ", "fi"), ("\u3000", " "), ("\t", " "), ("é", "e"), ("½", "1/2"), ("\u2126", "\u03a9"),
         ("e\u0301", "e"), ("e\u0301\u0323", "x"), ("\u1100\u1161", "\uac00"), ("\u1100\u1161\u11a8", "\uac01"),
         ("\r\n", "\n"), ("\r", " "), ("\u00ad", ""), ("\ufdfa", "sallallahu alayhi wa sallam"), ("\u2460", "<ctl>"),
         ("\u2461", "<sep>"), ("\u2462", "  two  "), ("\u2463", "\u2581")]


def trained(work):
    rules = os.path.join(work, "rules.tsv")
    with open(rules, "w", encoding="utf-8") as file:
        for source, target in RULES:
            code = lambda string: " ".join(f"{ord(c):X}" for c in string)
            file.write(f"{code(source)}\t{code(target)}\n")
    model = io.BytesIO()
    with open(__file__, encoding="utf-8") as file:
        lines = [line.strip() for line in file if line.strip()]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines * 4), model_writer=model, model_type="unigram", vocab_size=260,
        user_defined_symbols=["<sep>", "<h1>"], control_symbols=["<ctl>"], normalization_rule_tsv=rules, minloglevel=2, pad_id=0, eos_id=1,
        unk_id=2, bos_id=-1, hard_vocab_limit=False)
    proto = sentencepiece_model_pb2.ModelProto()
    proto.ParseFromString(model.getvalue())
    return proto


def write(path, metadata):
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tokenizer_model("t5")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(metadata["tokens"])
    writer.add_token_scores(metadata["scores"])
    writer.add_token_types(metadata["types"])
    writer.add_precompiled_charsmap(bytes(metadata["charsmap"]))
    writer.add_add_space_prefix(metadata["space"])
    writer.add_remove_extra_whitespaces(metadata["merge"])
    writer.add_eos_token_id(1)
    writer.add_unk_token_id(2)
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
    rng = random.Random(5)
    sources = [source for source, _ in RULES] + ["\u0301", "\u1161", " ", "  ", "\n", "<ctl>", "<sep>", "the", "llama"]
    ruled = lambda: "".join(rng.choice(sources) for _ in range(rng.randrange(12)))
    own = ["the ids that llama.cpp gives", "  two  spaces ", "A table", "straße", "<sep>x<h1> y", "\t½ ﬁ", "", " ", "   ",
           "a\u3000b", "</s>", "x</s>", "def main():\n    rng"]
    strings = own + [text(rng) for _ in range(200)] + [ruled() for _ in range(300)]
    with tempfile.TemporaryDirectory() as work:
        proto = trained(work)
        # What training does not make: unused entries keep their scores, undefined ones are no text.
        types = [piece.type for piece in proto.pieces]
        for number, piece in enumerate(proto.pieces):
            if piece.type == 1 and len(piece.piece) > 1 and number % 9 < 2:
                types[number] = 5 if number % 9 == 0 else 4 if number % 2 else 0
        metadata = {
            "tokens": [piece.piece for piece in proto.pieces],
            "scores": [piece.score for piece in proto.pieces],
            "types": types,
            "charsmap": list(proto.normalizer_spec.precompiled_charsmap),
        }
        answer = {"metadata": metadata, "strings": strings, "ids": {}}
        for merge in (False, True):
            for space in (False, True):
                path = os.path.join(work, "vocabulary.gguf")
                write(path, {**metadata, "merge": merge, "space": space})
                vocabulary = Vocabulary(path)
                answer["ids"][f"{merge} {space}".lower()] = [
                    [vocabulary.ids(string, False), vocabulary.ids(string, True)] for string in strings]
    with open(sys.argv[1], "w", encoding="utf-8") as file:
        json.dump(answer, file, ensure_ascii=True, separators=(",", ":"))


if __name__ == "__main__":
    main()
