#!/usr/bin/env python3
"""Chat jobs per second of woolly and llama-server, alternately, with the same threads.

    python tests/peers/serve.py --model SmolLM2-135M-Instruct.Q4_1.gguf --server path/to/llama-server [--pairs 3]

needs woolly built with `cargo build --release` and llama-server built natively. 64 clients ask at once: a system
prompt of about 150 tokens that all have in common, about 16 tokens of their own, 64 new tokens each, greedy.
llama-server computes the file as it is, quantized, with 8 and with 32 slots, of which the better counts; woolly
computes it as FP32 and as BF16. A round runs each of them once; the first round only warms caches. Servers listen on
a Unix socket and on a free port of the loopback interface, and end with the script.
"""

import argparse
import concurrent.futures
import http.client
import json
import os
import socket
import statistics
import subprocess
import tempfile
import time

JOBS = 64
NEW_TOKENS = 64
SYSTEM = ("You are a careful assistant of a small library. You answer in plain words, you never guess, and you "
          "say so when you do not know. Readers ask about books, about authors, about the building and its "
          "hours, and sometimes about the weather, of which you know nothing. Keep every answer short. Do not "
          "use lists. Do not repeat the question. When a reader is angry, stay polite. When a reader asks for "
          "a book that the library does not have, name one that is close to it. The library opens at nine and "
          "closes at six, on Saturdays at noon, and it is closed on Sundays. Books may be kept for four weeks. "
          "There are two reading rooms and a garden.")
TOPICS = ["rivers", "bridges", "old maps", "bread", "winter", "clocks", "whales", "letters"]


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost")
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect(self.path)


def ask(connect, number):
    """Tokens of the answer to one client."""
    topic = TOPICS[number % len(TOPICS)]
    messages = [{"role": "system", "content": SYSTEM},
                {"role": "user", "content": f"Question {number}: which book about {topic} should I read first?"}]
    body = {"model": "any", "messages": messages, "max_tokens": NEW_TOKENS, "temperature": 0,
            "ignore_eos": True, "seed": 1}
    connection = connect()
    connection.request("POST", "/v1/chat/completions", json.dumps(body), {"Content-Type": "application/json"})
    answer = connection.getresponse()
    text = answer.read()
    assert answer.status == 200, text
    connection.close()
    usage = json.loads(text)["usage"]
    assert usage["completion_tokens"] == NEW_TOKENS, usage
    return usage["prompt_tokens"]


def jobs_per_second(connect):
    with concurrent.futures.ThreadPoolExecutor(JOBS) as pool:
        start = time.perf_counter()
        prompts = list(pool.map(lambda number: ask(connect, number), range(JOBS)))
        return JOBS / (time.perf_counter() - start), max(prompts)


def ready(connect, path, process):
    for _ in range(600):
        assert process.poll() is None, "the server ended"
        try:
            connection = connect()
            connection.request("GET", path)
            if connection.getresponse().status == 200:
                return
        except OSError:
            pass
        time.sleep(0.1)
    raise AssertionError("the server is not ready after a minute")


def measure(command, connect, path):
    """Runs a server for one set of jobs: nothing of the set before is kept."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        ready(connect, path, process)
        return jobs_per_second(connect)
    finally:
        process.terminate()
        process.wait()


def woolly(options, weights, work):
    sock = os.path.join(work, "woolly.sock")
    config = os.path.join(work, f"{weights}.toml")
    with open(config, "w") as file:
        file.write(f"""
[daemon]
socket = "{sock}"
state_dir = "{work}/state-{weights}"
[model]
path = "{os.path.abspath(options.model)}"
[cache]
dir = "{work}/cache"
[compute]
weights = "{weights}"
kv = "{weights}"
[workers]
threads_per_worker = {options.threads}
slots = 32
""")
    command = [os.path.join(options.woolly, "woollyd"), "--config", config]
    return measure(command, lambda: UnixConnection(sock), "/health")


def llama_server(options, slots):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [options.server, "-m", options.model, "--host", "127.0.0.1", "--port", str(port), "--parallel",
               str(slots), "-c", str(slots * 512), "-t", str(options.threads), "-tb", str(options.threads)]
    return measure(command, lambda: http.client.HTTPConnection("127.0.0.1", port), "/health")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--woolly", default="target/release", help="folder of the programs")
    parser.add_argument("--server", required=True, help="llama-server")
    parser.add_argument("--model", required=True)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--pairs", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="woolly-serve-") as work:
        runs = {"woolly f32": lambda: woolly(options, "f32", work),
                "woolly bf16": lambda: woolly(options, "bf16", work),
                "llama-server, 8 slots": lambda: llama_server(options, 8),
                "llama-server, 32 slots": lambda: llama_server(options, 32)}
        rates = {name: [] for name in runs}
        for turn in range(options.pairs + 1):
            for name, run in runs.items():
                rate, prompt = run()
                if turn:
                    rates[name].append(rate)
    print(f"{JOBS} jobs of up to {prompt} prompt tokens and {NEW_TOKENS} new ones, {options.threads} threads")
    names = list(runs)
    better = [max(pair) for pair in zip(rates[names[2]], rates[names[3]])]
    for name in names:
        ratios = [ours / theirs for ours, theirs in zip(rates[name], better)]
        print(f"| {name:>22} | {statistics.median(rates[name]):6.2f} jobs/s "
              f"| {statistics.median(ratios):5.2f} ({min(ratios):.2f}-{max(ratios):.2f}) |")


if __name__ == "__main__":
    main()
