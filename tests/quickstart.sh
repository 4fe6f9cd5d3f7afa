#!/usr/bin/env bash
# From a clean checkout to text that a real model wrote. Prints every command it runs.
#
#   tests/quickstart.sh                          downloads a small model once (about 100 MB)
#   MODEL=/path/to/model.gguf tests/quickstart.sh
#
# Needs Rust, a C compiler and Python 3 with pip. Downloads and the converted weights are kept in
# $WOOLLY_TEST_CACHE, by default ~/.cache/woolly; everything else lives in a temporary folder and goes away.
set -eu
cd "$(dirname "$0")/.."
. tests/support/environment.sh

say() { printf '\n# %s\n' "$*"; }

# Prints a command the way one would type it, then runs it.
run() {
    local word line='$'
    for word in "$@"; do
        case $word in
            *[!A-Za-z0-9_./:=-]* | '') line+=" '$word'" ;;
            *) line+=" $word" ;;
        esac
    done
    printf '%s\n' "$line"
    "$@"
}

say 'The model: a GGUF file.'
model=$(fetch_model)
echo "$model"

say 'The programs.'
run cargo build --release --quiet --bins
bin=${CARGO_TARGET_DIR:-target}/release
woollyd=$bin/woollyd
export PATH="$PWD/$bin:$bin:$PATH"

say 'A configuration: where to listen, what to keep, which model to serve.'
cat >"$scratch/woolly.toml" <<TOML
[daemon]
socket = "woolly.sock"
state_dir = "state"

[model]
path = "$model"

[cache]
dir = "$cache/fp32"
TOML
run cat "$scratch/woolly.toml"

say 'The weights as FP32, converted once. (woollyd would do it as well, and then find the same file.)'
run woollyctl cache warm "$model" --config "$scratch/woolly.toml"

say 'The daemon. It says READY=1 when it serves jobs.'
echo "\$ woollyd --config $scratch/woolly.toml &"
start_daemon "$scratch/woolly.toml" "$scratch/woollyd.log"
run export WOOLLY_HOST="unix://$scratch/woolly.sock"
run woollyctl health

say 'One prompt, answered when it is done.'
run woollyctl submit 'The capital of France is' --max-tokens 16 --temperature 0

say 'A question to the chat model, printed as the tokens come.'
run woollyctl submit --chat --stream --max-tokens 60 --temperature 0 'Why is the sky blue? Answer in two sentences.'

say 'A batch file: one request a line, in the shape that OpenAI uses.'
cat >"$scratch/requests.jsonl" <<'JSONL'
{"custom_id": "sheep", "method": "POST", "url": "/v1/completions", "body": {"prompt": "A sheep is an animal that", "max_tokens": 24, "temperature": 0}}
{"custom_id": "wool", "method": "POST", "url": "/v1/completions", "body": {"prompt": "Wool is used for", "max_tokens": 24, "temperature": 0}}
{"custom_id": "drawn", "method": "POST", "url": "/v1/completions", "body": {"prompt": "Once upon a time", "max_tokens": 24, "temperature": 0.8, "seed": 7}}
{"custom_id": "colours", "method": "POST", "url": "/v1/chat/completions", "body": {"messages": [{"role": "user", "content": "Name three colours."}], "max_tokens": 24, "temperature": 0}}
JSONL
run cat "$scratch/requests.jsonl"
run woollyctl batch run -i "$scratch/requests.jsonl" -o "$scratch/answers.jsonl"
run cat "$scratch/answers.jsonl"

say 'The same command again: the jobs are known, nothing is computed twice.'
run woollyctl batch run -i "$scratch/requests.jsonl" -o "$scratch/answers.jsonl"

say 'The queue remembers.'
run woollyctl list

say 'SIGTERM: finish what runs, then stop.'
echo "\$ kill -TERM $daemon && wait $daemon"
stop_daemon
echo 'woollyd has stopped.'
