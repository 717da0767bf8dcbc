#!/usr/bin/env bash
# Checks on a machine without a GPU that galgen-train builds with --features cuda and behaves:
# the program starts without a driver, `fit --device cuda` fails with one clear error and writes nothing,
# `fit --device cpu` trains, and the GPU tests say "skipped".
#
#   bash tools/cuda/check.sh [DIR]
#
# DIR keeps toolchain and build for the next time (default: a temporary folder, removed at the end).
# From nothing it fetches 104 MB of Python wheels and takes about ten minutes of one core.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
if [ $# -gt 0 ]; then
  mkdir -p "$1"
  dir=$(cd "$1" && pwd)
else
  dir=$(mktemp -d)
  trap 'rm -rf "$dir"' EXIT
fi
run=$(mktemp -d "$dir/run.XXXXXX")
step() { printf '\n== %s (%d s)\n' "$1" "$SECONDS"; }
fail() { printf 'check.sh: %s\n' "$1" >&2; exit 1; }

step "toolchain in $dir/toolchain"
bash "$root/tools/cuda/setup.sh" "$dir/toolchain"
. "$dir/toolchain/env.sh"
export CARGO_TARGET_DIR=$dir/target
cd "$root"

step "build"
cargo build --release --features cuda -p galgen-train
program=$CARGO_TARGET_DIR/release/galgen-train

step "the program asks for no CUDA library when it starts"
needed=$(readelf -d "$program" | grep NEEDED)
echo "$needed"
if grep -qE 'libcu|libnv' <<<"$needed"; then fail "it cannot start without the CUDA libraries"; fi
"$program" --version

step "tests of the devices"
cargo test --release --features cuda -p galgen-train --test cuda -- --nocapture 2>&1 | tee "$run/tests"

if grep -q 'skipped: no CUDA device' "$run/tests"; then
  step "fit --device cuda without a device: one error, nothing written"
  env -u RUST_BACKTRACE "$program" fit "$root/recipes/default.toml" --data "$run" --out "$run/cuda" --device cuda 2>"$run/error" &&
    fail "expected an error"
  cat "$run/error"
  [ "$(wc -l <"$run/error")" = 1 ] || fail "expected one line"
  grep -q 'CUDA' "$run/error" || fail "the error does not name CUDA"
  [ ! -e "$run/cuda" ] || fail "the failed run left $run/cuda"
fi

step "training on the CPU by the same build"
cargo test --release --features cuda -p galgen-train --test training -- --nocapture
rm -rf "$run"
step "all is well"
