#!/usr/bin/env python3
"""Decode speed of woolly and llama.cpp, alternately, on the same weights as F32 with the same threads.

    python tests/peers/decode.py --woolly target/release/woolly --model SmolLM2-135M-Instruct.Q4_1.gguf

needs the packages llama-cpp-python (built natively), gguf and numpy. The model is dequantized once into
an F32 GGUF beside the given work folder for llama.cpp; woolly reads the original. Each run generates the
same number of tokens from the same prompt in a fresh process, and reports its own decode time, loading
and prompt left out. Machines drift, so only the ratio of neighbouring runs is a result.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile

PROMPT = "Once upon a time, in a village by the sea,"


def write_f32(source: str, target: str) -> None:
    """Copies a GGUF with every tensor dequantized to F32."""
    import gguf

    reader = gguf.GGUFReader(source)
    architecture = reader.fields["general.architecture"].contents()
    writer = gguf.GGUFWriter(target + ".part", architecture)
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name in ("general.architecture", "general.file_type"):
            continue
        if field.types[0] == gguf.GGUFValueType.ARRAY:
            writer.add_key_value(name, field.contents(), field.types[0], field.types[-1])
        else:
            writer.add_key_value(name, field.contents(), field.types[0])
    for tensor in reader.tensors:
        values = gguf.dequantize(tensor.data, tensor.tensor_type)
        shape = [int(n) for n in reversed(tensor.shape)]
        writer.add_tensor(tensor.name, values.reshape(shape))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    os.rename(target + ".part", target)


def run_llama(model: str, threads: int, tokens: int) -> float:
    """Decode tokens per second of llama.cpp; meant for a process of its own."""
    import llama_cpp

    llama = llama_cpp.Llama(model, n_ctx=1024, n_threads=threads, n_threads_batch=threads,
                            type_k=0, type_v=0, verbose=False)
    produced = 0
    llama_cpp.llama_perf_context_reset(llama.ctx)
    for _ in llama.generate(llama.tokenize(PROMPT.encode()), temp=0.0):
        produced += 1
        if produced > tokens:
            break
    perf = llama_cpp.llama_perf_context(llama.ctx)
    return 1000.0 * perf.n_eval / perf.t_eval_ms


def run_woolly(binary: str, model: str, cache: str, threads: int, tokens: int) -> float:
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as config:
        config.write(f'[cache]\ndir = "{cache}"\n')
        config.flush()
        command = [binary, "run", "--config", config.name, "--model", model, "--prompt", PROMPT,
                   "--max-tokens", str(tokens), "--temperature", "0", "--ignore-eos",
                   "--threads", str(threads), "--json", "--timing"]
        out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return json.loads(out)["timing"]["decode_tokens_per_second"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--woolly", default="target/release/woolly")
    parser.add_argument("--model", required=True)
    parser.add_argument("--work", default=os.path.join(tempfile.gettempdir(), "woolly-peers"))
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--llama", metavar="F32_FILE", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.llama:
        print(run_llama(options.llama, options.threads, options.tokens))
        return
    os.makedirs(options.work, exist_ok=True)
    f32 = os.path.join(options.work, os.path.basename(options.model) + ".f32.gguf")
    if not os.path.exists(f32):
        write_f32(options.model, f32)
    cache = os.path.join(options.work, "cache")
    ratios, ours, theirs = [], [], []
    for pair in range(options.pairs + 1):
        a = run_woolly(options.woolly, options.model, cache, options.threads, options.tokens)
        command = [sys.executable, __file__, "--model", options.model, "--llama", f32,
                   "--threads", str(options.threads), "--tokens", str(options.tokens)]
        b = float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])
        if pair == 0:
            continue  # the first pair warms the page cache
        print(f"woolly {a:7.1f} tok/s   llama.cpp {b:7.1f} tok/s   ratio {a / b:.3f}", flush=True)
        ours.append(a)
        theirs.append(b)
        ratios.append(a / b)
    print(f"median: woolly {statistics.median(ours):.1f}, llama.cpp {statistics.median(theirs):.1f}, "
          f"ratio {statistics.median(ratios):.3f} (min {min(ratios):.3f}, max {max(ratios):.3f})")


if __name__ == "__main__":
    main()
