#!/usr/bin/env bash
# The figures of reliability, as a table: how often each kind of mischief was tried, and what came of it.
#
#   tests/torture.sh cache|queue [--long]
#
# Takes a few minutes; --long takes larger counts. Needs what run.sh needs; strace and faketime are installed where
# that is possible. The figures of the queue need root: they fill real file systems, and stop a daemon at its system
# calls. Those of the cache try files of other owners then. The exit code is 0 only when every trial of every figure
# was as it should be.
set -eu
cd "$(dirname "$0")/.."

usage() {
    sed -n '2,/^set/s/^# \{0,1\}//p' "$0" >&2
    exit 2
}
case ${1:-} in
cache) tests='torture:: gguf_malformed:: gguf_mutants:: --skip torture::queue::' ;;
queue) tests='torture::queue::' ;;
*) usage ;;
esac
case ${2:-} in
'') scale=short ;;
--long) scale=long ;;
*) usage ;;
esac
. tests/support/environment.sh
need_mischief

started=$(date +%s)
export WOOLLY_TORTURE=$scale
# One after the other: some figures count what processes of the same machine do.
# shellcheck disable=SC2086
cargo test --test main --no-fail-fast --color never -- $tests --nocapture --test-threads 1 2>&1 |
    tee "$scratch/log" | grep --line-buffered -E '^(figure|queue)\|' >&2 || true
failed=$(grep -cE '^test .* FAILED$' "$scratch/log" || true)

if [ "$1" = queue ]; then
    printf '\n%-6s  %-44s  %7s  %8s  %5s  %7s  %9s  %9s  %5s\n' \
        figure what trials accepted lost doubled differing leftovers wrong
    sort -s -t '|' -k 2.2,2n "$scratch/log" | awk -F '|' '$1 == "queue" {
        printf "%-6s  %-44s  %7d  %8d  %5d  %7d  %9d  %9d  %5d\n", $2, $3, $4, $5, $6, $7, $8, $9, $10
    }'
    grep -h '^note: ' "$scratch/log" || true
else
    printf '\n%-4s  %-52s  %8s  %8s  %5s  %8s\n' figure what trials detected wrong leftover
fi
sort -s -t '|' -k 2.2,2n "$scratch/log" | awk -F '|' '$1 == "figure" {
    printf "%-6s  %-52s  %8d  %8d  %5d  %8d\n", $2, $3, $4, $5, $6, $7
}'
grep -hE '^skipped: ' "$scratch/log" | sort -u || true
printf '\n%s, %d s, commit %s\n' "$scale form" $(($(date +%s) - started)) "$(git rev-parse --short HEAD 2>/dev/null || echo unknown)"

# A run without figures is a build that failed, or a crash of the harness.
if ! grep -qE '^(figure|queue)\|' "$scratch/log" || ! grep -q '^test result: ' "$scratch/log"; then
    tail -n 40 "$scratch/log" >&2
    exit 1
fi
if [ "$failed" -gt 0 ] || grep -q '^test result: FAILED' "$scratch/log"; then
    grep -A 12 -E 'went wrong|panicked at' "$scratch/log" >&2 || true
    exit 1
fi
