#!/usr/bin/env bash
# The kernels for ARM, in an emulator: every kernel gives the bits of the plain loop, and the tiny model answers in
# the same bytes with NEON as without. Needs, beside what tests/run.sh needs:
#
#   rustup target add aarch64-unknown-linux-gnu
#   apt-get install gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user
set -eu
cd "$(dirname "$0")/.."
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER='qemu-aarch64 -L /usr/aarch64-linux-gnu'
cargo nextest run --target aarch64-unknown-linux-gnu \
    -E 'test(/^compute::/) + test(/^equal_bytes::tiny_model_over/) + test(/^reference::tiny/)' "$@"
