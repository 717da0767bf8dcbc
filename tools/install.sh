#!/bin/sh
# Builds the C library and installs it:
#
#     tools/install.sh PREFIX        as /usr/local, or a folder of your own
#
#     PREFIX/lib/libgalgen.so.VERSION, with links libgalgen.so.ABI (the SONAME) and libgalgen.so
#     PREFIX/lib/libgalgen.a         on Linux only galgen_* symbols are global in it
#     PREFIX/include/galgen.h galgen.hpp
#     PREFIX/lib/pkgconfig/galgen.pc
#     PREFIX/lib/cmake/Galgen/       find_package(Galgen), target galgen::galgen
#
# DESTDIR, if set, is put before PREFIX for packagers. Needs cargo; strip and objcopy are used if found.
set -eu

if [ $# -ne 1 ]; then
    sed -n '2,/^set/s/^# \{0,1\}//p' "$0" | sed '/^set/d' >&2
    exit 2
fi
case $1 in
    /*) prefix=$1 ;;
    *) prefix=$(pwd)/$1 ;;
esac
root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"

version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -n 1)
abi=$(sed -n 's/.*GALGEN_ABI_VERSION: u32 = \([0-9]*\);/\1/p' galgen-ffi/src/abi_version.rs)

cargo build --release --locked -p galgen-ffi --lib
built=${CARGO_TARGET_DIR:-target}/release

to=${DESTDIR:-}$prefix
mkdir -p "$to/include" "$to/lib/pkgconfig" "$to/lib/cmake/Galgen"
case $(uname -s) in
    Darwin)
        shared=libgalgen.$version.dylib soname=libgalgen.$abi.dylib link=libgalgen.dylib
        private="-framework CoreFoundation"
        strip_options=-x
        ;;
    *)
        shared=libgalgen.so.$version soname=libgalgen.so.$abi link=libgalgen.so
        private="-lgcc_s -lpthread -lm -ldl -lc"
        strip_options=--strip-unneeded
        ;;
esac

cp "$built/$link" "$to/lib/$shared"
if command -v strip >/dev/null; then strip $strip_options "$to/lib/$shared"; fi
ln -sf "$shared" "$to/lib/$soname"
ln -sf "$shared" "$to/lib/$link"

# One object with galgen_* alone in sight: two Rust libraries in one program then do not collide.
if [ "$(uname -s)" = Linux ] && command -v objcopy >/dev/null && command -v ld >/dev/null; then
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    ld -r --whole-archive "$built/libgalgen.a" -o "$work/galgen.o"
    # The standard library carries bitcode for LTO, which is of no use here and confuses ar.
    objcopy --wildcard --keep-global-symbol='galgen_*' --strip-debug \
        --remove-section .llvmbc --remove-section .llvmcmd "$work/galgen.o"
    rm -f "$to/lib/libgalgen.a"
    ar rcs "$to/lib/libgalgen.a" "$work/galgen.o"
else
    cp "$built/libgalgen.a" "$to/lib/libgalgen.a"
fi

cp include/galgen.h include/galgen.hpp "$to/include/"
fill() {
    sed -e "s|@PREFIX@|$prefix|g" -e "s|@VERSION@|$version|g" -e "s|@SHARED@|$shared|g" \
        -e "s|@SONAME@|$soname|g" -e "s|@LIBS_PRIVATE@|$private|g" "galgen-ffi/packaging/$1.in" >"$to/lib/$2"
}
fill galgen.pc pkgconfig/galgen.pc
fill GalgenConfig.cmake cmake/Galgen/GalgenConfig.cmake
fill GalgenConfigVersion.cmake cmake/Galgen/GalgenConfigVersion.cmake
echo "galgen $version is installed in $prefix"
