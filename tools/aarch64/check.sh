#!/usr/bin/env bash
# The same bits on aarch64: builds the program of hashes (tests/hashes) for 64-bit Arm Linux, runs it, scalar and
# NEON, and compares with the table that CI checks on x86-64; with --tests also runs the engine's own tests there, some of
# which take many minutes in an emulator.
# Usage: tools/aarch64/check.sh [--tests]
#   needs: a Rust with the standard library of aarch64-unknown-linux-gnu, a linker for it, and qemu-aarch64 on other
#   machines. Either `rustup target add aarch64-unknown-linux-gnu`, or Debian's Rust, which is taken where rustup's has
#   no such library:
#     dpkg --add-architecture arm64 && apt-get update
#     apt-get install rustc-web cargo-web libstd-rust-web-dev:arm64
#   and for both: apt-get install qemu-user gcc-aarch64-linux-gnu libc6-dev-arm64-cross
set -euo pipefail
cd "$(dirname "$0")/../.."
target=aarch64-unknown-linux-gnu
export CARGO_INCREMENTAL=0 CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target}/aarch64

has_library() { ls "$("$1" --print sysroot)/lib/rustlib/$target/lib/" 2>/dev/null | grep -q '^libstd-'; }
cargo=
for rust in "${RUSTC:-rustc}" /usr/bin/rustc; do
    if [ -z "$cargo" ] && command -v "$rust" >/dev/null && has_library "$rust"; then
        export RUSTC=$rust
        cargo=cargo
        [ "$rust" != /usr/bin/rustc ] || cargo=/usr/bin/cargo
    fi
done
[ -n "$cargo" ] || { echo "no Rust has the standard library of $target: the head of this script says how to get it" >&2; exit 1; }

if [ "$(uname -m)" != aarch64 ]; then
    for tool in aarch64-linux-gnu-gcc qemu-aarch64; do
        command -v $tool >/dev/null || { echo "$tool is missing: the head of this script says how to get it" >&2; exit 1; }
    done
    export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
    export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="qemu-aarch64 -L /usr/aarch64-linux-gnu"
fi

hashes() { "$cargo" run -q --target $target -p galgen-hashes -- "$1"; }

levels=$(hashes levels)
case $levels in *neon*) ;; *) echo "no NEON among the levels: $levels" >&2; exit 1 ;; esac
for level in $levels; do
    hashes "$level" | diff - tests/hashes/table.txt || { echo "$level differs from tests/hashes/table.txt" >&2; exit 1; }
    echo "aarch64 $level: all $(wc -l <tests/hashes/table.txt) hashes as in the table"
done
if [ "${1:-}" = --tests ]; then "$cargo" test -q --target $target -p galgen-infer; fi
