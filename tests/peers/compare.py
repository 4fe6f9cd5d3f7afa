#!/usr/bin/env python3
"""Speed of woolly and llama.cpp, alternately, on the same F32 weights with the same threads.

    python tests/peers/compare.py --model SmolLM2-135M-Instruct.Q4_1.gguf [--only prompt batch ...] [--pairs 5]
                                  [--weights bf16] [--kv bf16] [--busy]

needs the package llama-cpp-python, built natively (CMAKE_ARGS=-DGGML_NATIVE=ON), and woolly built with
`cargo build --release`. The model is unpacked once into an F32 GGUF file for llama.cpp (`woollyctl cache
unpack`); woolly reads the original through its cache. Both run the workloads of `fast_fp32_benchmark speed`:
A, B, A, B, ... per kind of workload, the first pair only to warm caches. Machines drift, so only the ratio of
neighbouring runs is a result. With `--weights bf16` both compute weights that were rounded to BF16; `--kv` is the type
of woolly's keys and values, by default that of the weights; with `--busy` another process keeps one processor busy
meanwhile. llama.cpp runs each workload with flash attention on and off, keys and values in F32 and F16, and the best
counts.
"""

import argparse
import ctypes
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

KINDS = ["prompt", "generate", "batch", "depth"]


class Llama:
    """One context of llama.cpp with everything a workload needs."""

    def __init__(self, model, threads, positions, sequences, flash, half):
        import llama_cpp

        self.api = api = llama_cpp
        silent = api.llama_log_callback(lambda level, text, data: None)
        self.silent = silent
        api.llama_log_set(silent, ctypes.c_void_p())
        self.weights = api.llama_model_load_from_file(model.encode(), api.llama_model_default_params())
        params = api.llama_context_default_params()
        params.n_ctx = (positions + 64) * sequences
        params.n_seq_max = sequences
        params.n_batch = 2048
        params.n_ubatch = 512
        params.n_threads = params.n_threads_batch = threads
        params.type_k = params.type_v = 1 if half else 0
        params.flash_attn_type = (api.LLAMA_FLASH_ATTN_TYPE_ENABLED if flash
                                  else api.LLAMA_FLASH_ATTN_TYPE_DISABLED)
        params.kv_unified = False
        self.context = api.llama_init_from_model(self.weights, params)
        assert self.context, "llama.cpp cannot make a context"
        self.vocabulary = api.llama_vocab_n_tokens(api.llama_model_get_vocab(self.weights))
        self.batch = api.llama_batch_init(2048, 0, 1)
        self.memory = api.llama_get_memory(self.context)
        self.depth = 0

    def decode(self, tokens):
        """Tokens are (sequence, position, whether logits are wanted)."""
        batch = self.batch
        batch.n_tokens = len(tokens)
        for index, (sequence, position, logits) in enumerate(tokens):
            batch.token[index] = (position * 7 + sequence * 31) % self.vocabulary
            batch.pos[index] = position
            batch.n_seq_id[index] = 1
            batch.seq_id[index][0] = sequence
            batch.logits[index] = logits
        assert self.api.llama_decode(self.context, batch) == 0

    def go_to(self, depth):
        """Makes the first sequence this long."""
        self.api.llama_memory_seq_rm(self.memory, -1, depth, -1)
        while self.depth < depth:
            count = min(512, depth - self.depth)
            self.decode([(0, self.depth + token, False) for token in range(count)])
            self.depth += count
        self.depth = depth

    def run(self, workload):
        """Tokens per second."""
        depth, sequences = workload["depth"], workload["sequences"]
        together, steps = workload["together"], workload["steps"]
        self.go_to(depth)
        start = time.perf_counter()
        for step in range(steps):
            first = depth + step * together
            self.decode([(sequence, first + token, token + 1 == together)
                         for sequence in range(sequences) for token in range(together)])
        self.api.llama_synchronize(self.context)
        seconds = time.perf_counter() - start
        self.api.llama_memory_seq_rm(self.memory, -1, depth, -1)
        return sequences * together * steps / seconds


def serve(options):
    """Runs what is asked for on standard input, one list of workloads per line."""
    contexts = {}
    for line in sys.stdin:
        workloads = json.loads(line)
        positions = max(w["depth"] + w["together"] * w["steps"] for w in workloads)
        sequences = max(w["sequences"] for w in workloads)
        results = {}
        for flash in (True, False):
            for half in (False, True):
                if half and not flash:
                    continue  # llama.cpp needs flash attention for half-precision values
                place = (flash, half)
                if place not in contexts:
                    contexts[place] = Llama(options.serve, options.threads, positions, sequences, *place)
                for workload in workloads:
                    speed = contexts[place].run(workload)
                    results[workload["name"]] = max(results.get(workload["name"], 0.0), speed)
        print(json.dumps(results), flush=True)


def woolly(options, kind, cache):
    command = [os.path.join(options.woolly, "fast_fp32_benchmark"), "speed", "--json", "--turns", "1",
               "--model", options.model, "--only", kind, "--threads", str(options.threads), "--dir", cache,
               "--weights", options.weights, "--kv", options.kv or options.weights]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return json.loads(done.stdout)["figures"]


def to_bf16(source, target):
    """Rounds the matrices of a GGUF file."""
    import llama_cpp

    silent = llama_cpp.llama_log_callback(lambda level, text, data: None)
    llama_cpp.llama_log_set(silent, ctypes.c_void_p())
    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype = llama_cpp.LLAMA_FTYPE_MOSTLY_BF16
    temporary = target + ".part"
    assert llama_cpp.llama_model_quantize(source.encode(), temporary.encode(), ctypes.byref(params)) == 0
    os.rename(temporary, target)


def compare(options, kind, cache, theirs):
    """Prints a row for each workload of the kind."""
    command = [sys.executable, __file__, "--model", options.model, "--serve", theirs,
               "--threads", str(options.threads)]
    peer = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    rows = {}
    for pair in range(options.pairs + 1):
        figures = woolly(options, kind, cache)
        peer.stdin.write(json.dumps(figures) + "\n")
        peer.stdin.flush()
        speeds = json.loads(peer.stdout.readline())
        for figure in figures if pair else []:
            ours = figure["tokens_per_second"]["median"]
            rows.setdefault(figure["name"], []).append((ours, speeds[figure["name"]],
                                                        figure["share_of_limit"]["median"]))
    peer.stdin.close()
    peer.wait()
    for name, turns in rows.items():
        ratios = [ours / theirs for ours, theirs, _ in turns]
        median = statistics.median
        print(f"| {name:>14} | {median(t[0] for t in turns):8.1f} | {median(t[1] for t in turns):9.1f} "
              f"| {median(ratios):5.2f} ({min(ratios):.2f}-{max(ratios):.2f}) "
              f"| {median(t[2] for t in turns):5.2f} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--woolly", default="target/release", help="folder of the programs")
    parser.add_argument("--model", required=True)
    parser.add_argument("--work", default=os.path.join(tempfile.gettempdir(), "woolly-peers"))
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--weights", choices=["f32", "bf16"], default="f32")
    parser.add_argument("--kv", choices=["f32", "bf16"], help="by default the type of the weights")
    parser.add_argument("--busy", action="store_true", help="beside a process that computes without end")
    parser.add_argument("--only", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--serve", metavar="FILE", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options)
        return
    os.makedirs(options.work, exist_ok=True)
    cache = os.path.join(options.work, "cache")
    f32 = os.path.join(options.work, os.path.basename(options.model) + ".f32.gguf")
    if not os.path.exists(f32):
        subprocess.run([os.path.join(options.woolly, "woollyctl"), "cache", "unpack", options.model, "-o", f32,
                        "--format", "gguf", "--dir", cache], check=True)
    if options.weights == "bf16":
        bf16 = f32.replace(".f32.gguf", ".bf16.gguf")
        if not os.path.exists(bf16):
            to_bf16(f32, bf16)
        f32 = bf16
    print("|           test |   woolly | llama.cpp | ratio            | share |")
    print("| -------------: | -------: | --------: | ---------------: | ----: |")
    stranger = subprocess.Popen([sys.executable, "-c", "while True: pass"]) if options.busy else None
    try:
        for kind in options.only:
            compare(options, kind, cache, f32)
    finally:
        if stranger:
            stranger.kill()
            stranger.wait()


if __name__ == "__main__":
    main()
