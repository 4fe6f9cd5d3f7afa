#!/usr/bin/env bash
# Every check and every test. Needs Rust, a C compiler and Python 3 with pip; what else it needs it fetches
# into $WOOLLY_TEST_CACHE (by default ~/.cache/woolly).
#
#   tests/run.sh [--long]
#
# --long compares the bytes of 200 prompts on the real model with every SIMD instruction set and in every way of
# running them, which takes half an hour.
#
# A part that fails does not keep the others from running. The last line sums up; the exit code is 0 only
# when nothing failed.
set -u
case "${1:-}" in
    '') ;;
    --long) export WOOLLY_LONG_TESTS=1 ;;
    *)
        echo "usage: tests/run.sh [--long]" >&2
        exit 2
        ;;
esac
cd "$(dirname "$0")/.."
set -e
. tests/support/environment.sh
set +e

total_passed=0
total_failed=0
summary=
recorded=$SECONDS

# Adds the result of a part, and the time since the one before: NAME PASSED FAILED
record() {
    total_passed=$((total_passed + $2))
    total_failed=$((total_failed + $3))
    summary+=$(printf '%-34s %4d passed, %d failed, %4d s' "$1" "$2" "$3" $((SECONDS - recorded)))$'\n'
    recorded=$SECONDS
}

# Runs a command that passes or fails as a whole: NAME COMMAND...
check() {
    local name=$1
    shift
    printf '\n== %s\n' "$name"
    if "$@"; then record "$name" 1 0; else record "$name" 0 1; fi
}

# Runs the Rust tests and counts them.
rust_tests() {
    local name='Rust tests' log=$scratch/rust.log passed failed status
    printf '\n== %s\n' "$name"
    if cargo nextest --version >/dev/null 2>&1; then
        cargo nextest run --no-fail-fast --color never 2>&1 | tee "$log"
        status=${PIPESTATUS[0]}
        passed=$(sum "$log" '^ *Summary.*' '[0-9]+ passed')
        failed=$(sum "$log" '^ *Summary.*' '[0-9]+ (failed|timed out)')
    else
        cargo test --no-fail-fast --color never 2>&1 | tee "$log"
        status=${PIPESTATUS[0]}
        passed=$(sum "$log" '^test result:.*' '[0-9]+ passed')
        failed=$(sum "$log" '^test result:.*' '[0-9]+ failed')
    fi
    # A build that fails has no summary, and is one failure.
    if [ "$status" -ne 0 ] && [ "$failed" -eq 0 ]; then failed=1; fi
    record "$name" "$passed" "$failed"
}

# The sum of all numbers that begin a match of NUMBERED in the lines that match LINE: LOG LINE NUMBERED
sum() {
    grep -Eo "$2" "$1" | grep -Eo "$3" | awk '{ n += $1 } END { print n + 0 }'
}

# Models and packages come while the compiler is at work. What fails here is tried again below, and told.
packages=(gguf safetensors numpy openai)
python_version=$(python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')
(
    fetch_model
    fetch_gemma
    fetch_qwen
    python_packages "$cache/python-$python_version" "${packages[@]}"
) >"$scratch/fetched" 2>&1 &
fetching=$!

check 'format' cargo fmt --check
check 'clippy' cargo clippy --all-targets --quiet -- -D warnings
wait "$fetching"

# Without the model its tests skip themselves, which must not look like success.
if model=$(fetch_model) && [ -f "$model" ]; then
    export WOOLLY_TEST_MODEL=$model
else
    model=
    record 'fetching the model' 0 1
fi
# The same holds for two more, of other families: 250 MB and 1.1 GB, once.
for name in gemma qwen; do
    if file=$(fetch_$name) && [ -f "$file" ]; then
        export "WOOLLY_TEST_${name^^}=$file"
    else
        record "fetching $name" 0 1
    fi
done
# Without these the tests of failing system calls and jumping clocks skip themselves.
need_mischief || record 'installing strace and faketime' 0 1
rust_tests

# The figures of the queue, with counts that take a few minutes.
if [ "$(id -u)" -eq 0 ]; then
    check 'torture of the queue' tests/torture.sh queue
else
    summary+=$(printf '%-34s not run: it needs root' 'torture of the queue')$'\n'
fi

# Tests against other people's programs: the packages read what woolly writes, and talk to it.
if PYTHONPATH=$(python_packages "$cache/python-$python_version" "${packages[@]}"); then
    export PYTHONPATH
else
    record 'fetching Python packages' 0 1
fi
if ! cargo build --release --quiet --bins; then
    record 'release build' 0 1
fi
bin=${CARGO_TARGET_DIR:-target}/release
woollyd=$bin/woollyd

# The cache file of the model, opened with other readers and compared value by value.
cache_file() {
    "$bin/woollyctl" cache warm "$model" --dir "$scratch/fp32" &&
        python3 tests/python/check_cache.py "$scratch"/fp32/*.safetensors "$model"
}
# The same weights as plain files for other tools.
unpacked() {
    local format
    for format in safetensors gguf; do
        "$bin/woollyctl" cache unpack "$model" --dir "$scratch/fp32" --format $format -o "$scratch/plain.$format" &&
            python3 tests/python/check_unpacked.py "$scratch/plain.$format" "$model" || return 1
        rm "$scratch/plain.$format"
    done
}
if [ -n "$model" ]; then
    check 'cache file against gguf' cache_file
    check 'unpacked files against gguf' unpacked
    rm -rf "$scratch/fp32"
fi

check 'dequantization against gguf' \
    python3 tests/python/dequant_fixture.py check tests/fixtures/dequant.bin

# The stock OpenAI client over the Unix socket: NAME MODEL-SECTION
openai_client() {
    local folder status
    folder=$(mktemp -d "$scratch/daemon.XXXXXX")
    printf '[daemon]\nsocket = "woolly.sock"\nstate_dir = "state"\n%s\n' "$1" >"$folder/woolly.toml"
    start_daemon "$folder/woolly.toml" "$folder/log" || return 1
    python3 tests/python/openai_client.py "$folder/woolly.sock"
    status=$?
    stop_daemon || status=1
    return $status
}
tiny=$'[model]\nsource = "synthetic"\n[synthetic]\npreset = "tiny"'
check 'openai client, tiny model' openai_client "$tiny"
if [ -n "$model" ]; then
    check 'openai client, real model' openai_client "[model]
path = \"$model\"
[cache]
dir = \"$cache/fp32\""
    check 'quickstart' env MODEL="$model" tests/quickstart.sh
    check 'quickstart, a second time' env MODEL="$model" tests/quickstart.sh
fi

printf '\n%s\n%d passed, %d failed\n' "$summary" "$total_passed" "$total_failed"
[ "$total_failed" -eq 0 ]
