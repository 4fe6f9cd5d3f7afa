"""How long the first token of a fresh daemon takes against those of a running one, with `verify = "header"`.

    python3 tests/python/first_token.py MODEL [--starts 7] [--bin target/release]

Every start finds the cache file and its pages in memory. What a start needs the tokenizer for is told apart:
the daemon's own log says what it took.
"""

import argparse
import json
import pathlib
import re
import socket
import statistics
import subprocess
import tempfile
import time

PROMPT = json.dumps({"prompt": "The capital of France is", "max_tokens": 1, "temperature": 0})


def ask(path, request):
    with socket.socket(socket.AF_UNIX) as stream:
        stream.connect(path)
        stream.sendall(request.encode())
        answer = b""
        while piece := stream.recv(65536):
            answer += piece
    return answer


def healthy(path):
    try:
        return b" 200 " in ask(path, "GET /health HTTP/1.1\r\nHost: w\r\nConnection: close\r\n\r\n")[:20]
    except OSError:
        return False


def first_token(path):
    """Milliseconds from a request to its only token."""
    head = f"POST /v1/completions HTTP/1.1\r\nHost: w\r\nContent-Length: {len(PROMPT)}\r\nConnection: close\r\n"
    start = time.perf_counter()
    answer = ask(path, head + "Content-Type: application/json\r\n\r\n" + PROMPT)
    assert b'"choices"' in answer, answer
    return (time.perf_counter() - start) * 1e3


def measure(program, config, path, log):
    """Milliseconds: until ready, of that the tokenizer, the first token, the first token of a running daemon."""
    start = time.perf_counter()
    with open(log, "wb") as stderr:
        daemon = subprocess.Popen([program, "--config", config], stderr=stderr)
    try:
        while not healthy(path):
            assert daemon.poll() is None, pathlib.Path(log).read_text()
            time.sleep(0.001)
        ready = (time.perf_counter() - start) * 1e3
        fresh = first_token(path)
        running = statistics.median(first_token(path) for _ in range(5))
    finally:
        daemon.terminate()
        daemon.wait()
    said = re.search(r"weights_ms=([\d.]+) tokenizer_ms=([\d.]+)", pathlib.Path(log).read_text())
    return ready, float(said[1]), float(said[2]), fresh, running


def main():
    options = argparse.ArgumentParser()
    options.add_argument("model")
    options.add_argument("--starts", type=int, default=7)
    options.add_argument("--bin", default="target/release")
    options = options.parse_args()
    model = pathlib.Path(options.model).resolve()
    with tempfile.TemporaryDirectory() as folder:
        config = f"{folder}/woolly.toml"
        pathlib.Path(config).write_text(
            f'[daemon]\nsocket = "{folder}/socket"\nstate_dir = "{folder}/state"\n'
            f'[model]\npath = "{model}"\n[cache]\ndir = "{folder}/cache"\nverify = "header"\n'
        )
        program = f"{options.bin}/woollyd"
        turns = [measure(program, config, f"{folder}/socket", f"{folder}/log") for _ in range(options.starts + 1)]
    # The first start converts.
    names = ["ready", "weights", "tokenizer beside them", "first token", "first token, running daemon"]
    for name, values in zip(names, zip(*turns[1:])):
        low, middle, high = min(values), statistics.median(values), max(values)
        print(f"{name:28} {middle:6.1f} ms ({low:.1f} to {high:.1f})")


main()
