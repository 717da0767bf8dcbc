#!/usr/bin/env bash
# The engine without an operating system: builds tests/no_std for emulated boards, runs it in qemu, compares the hashes
# of all small models with the table that CI checks on x86-64, and prints code size and peak memory.
# Usage: tools/boards/check.sh [BOARD...]: mps2-an386 (Cortex-M4, 16 MB) and virt (64-bit Arm); default: both
#   needs: qemu-system-arm and qemu-system-aarch64, ld.lld, and a Rust that builds for
#   thumbv7em-none-eabihf and aarch64-unknown-none: either
#     rustup target add thumbv7em-none-eabihf aarch64-unknown-none
#   or Debian's, which builds the core library on the way: apt-get install rustc-web cargo-web rust-web-src
#   and for both: apt-get install qemu-system-arm lld
set -euo pipefail
cd "$(dirname "$0")/../.."
root=$PWD
export CARGO_INCREMENTAL=0
host=${CARGO_TARGET_DIR:-$root/target}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fail() { echo "boards: $1" >&2; exit 1; }
for tool in qemu-system-arm qemu-system-aarch64 ld.lld; do
    command -v $tool >/dev/null || fail "$tool is missing: the head of this script says how to get it"
done

# The model that the firmware carries, and what the engine with std draws from it.
export GALGEN_MODEL=$work/model.safetensors
cargo run -q -p galgen-hashes -- model flow-vae "$GALGEN_MODEL"
stamp=$(cargo run -q -p galgen-hashes -- stamp flow-vae)
grep -v '^flow-vae-64 ' tests/hashes/table.txt >"$work/expected"

# build TARGET SCRIPT
build() {
    local target=$1 flags="-C link-arg=-T$root/tests/no_std/boards/$2.ld"
    local upper=${target^^}
    upper=${upper//-/_}
    local cargo=(cargo)
    if ! ls "$(rustc --print sysroot)/lib/rustlib/$target/lib/" 2>/dev/null | grep -q '^libcore-'; then
        [ -e /usr/lib/rustlib/src/rust/library/core ] && [ -x /usr/bin/cargo ] ||
            fail "no Rust builds for $target: the head of this script says how to get one"
        cargo=(env RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1 /usr/bin/cargo -Z build-std=core,alloc)
    fi
    (cd tests/no_std && env "CARGO_TARGET_${upper}_LINKER=ld.lld" "CARGO_TARGET_${upper}_RUSTFLAGS=$flags" \
        CARGO_TARGET_DIR="$host/boards" "${cargo[@]}" build -q --release --features board --bin hashes --bin stamp --target "$target")
}

# run BOARD PROGRAM: what it prints; the console of the emulated debugger is standard error.
run() {
    local qemu=(qemu-system-arm -M mps2-an386)
    [ "$1" = virt ] && qemu=(qemu-system-aarch64 -M virt -cpu cortex-a57)
    timeout 900 "${qemu[@]}" -display none -monitor none -serial none \
        -semihosting-config enable=on,target=native -kernel "$2" 2>&1
}

[ $# -gt 0 ] || set -- mps2-an386 virt
for board; do
    case $board in
    mps2-an386) target=thumbv7em-none-eabihf ;;
    virt) target=aarch64-unknown-none ;;
    *) fail "no board is called $board: mps2-an386 or virt" ;;
    esac
    build "$target" "$board"
    programs=$host/boards/$target/release
    run "$board" "$programs/stamp" >"$work/stamp" || fail "$board, stamp: $(cat "$work/stamp")"
    grep -qx "$stamp" "$work/stamp" || fail "$board draws $(head -1 "$work/stamp"), expected $stamp"
    run "$board" "$programs/hashes" >"$work/hashes" || fail "$board, hashes: $(tail -3 "$work/hashes")"
    grep -v '^#' "$work/hashes" | diff - "$work/expected" || fail "$board: hashes differ from tests/hashes/table.txt"
    echo "$board: all $(wc -l <"$work/expected") hashes as in the table; $(grep '^#' "$work/hashes" | cut -c3-)"
    echo "$board, firmware of one model: $(grep '^#' "$work/stamp" | cut -c3-)"
    # Text and read-only data, of which the model's file is a part.
    size "$programs/stamp" 2>/dev/null | awk -v model="$(wc -c <"$GALGEN_MODEL")" 'NR == 2 {
        printf "%s, firmware of one model: code %d bytes, model file %d\n", board, $1 + $2 - model, model }' board="$board"
done
