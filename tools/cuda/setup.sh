#!/usr/bin/env bash
# Makes a private CUDA 13.0 toolchain in DIR, enough to build galgen-train with --features cuda on a
# machine without GPU, driver, CUDA installation or root rights (x86-64 Linux).
#
#   bash tools/cuda/setup.sh DIR     once; 104 MB of Python wheels, 272 MB on disk
#   . DIR/env.sh                     in every shell that builds
#
# CUDA_COMPUTE_CAP (default 90: H100 and H200 only) chooses the GPUs that the kernels are compiled for.
# Needs cargo, python3 with pip, and gcc.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
fail() { echo "setup.sh: $1" >&2; exit 1; }
[ $# = 1 ] || fail "expected one argument, the folder to make the toolchain in"
[ "$(uname -sm)" = "Linux x86_64" ] || fail "the stand-ins are written for Linux x86_64, this is $(uname -sm)"
for program in cargo python3 gcc ar; do
  command -v "$program" >/dev/null || fail "needs $program, which is not installed"
done
mkdir -p "$1"
dir=$(cd "$1" && pwd)
cuda=$dir/nvidia/cu13
stubs=$cuda/lib/stubs

if [ ! -x "$cuda/bin/nvcc" ]; then
  python3 -m pip install -q --disable-pip-version-check --root-user-action=ignore \
    --no-deps --no-compile --only-binary=:all: --target "$dir" \
    nvidia-cuda-nvcc==13.0.88 nvidia-nvvm==13.0.88 nvidia-cuda-crt==13.0.88 \
    nvidia-cuda-runtime==13.0.96 nvidia-cuda-cccl==13.0.85
fi
ln -sfn lib "$cuda/lib64"
install -m755 "$here/nvcc-lite" "$cuda/bin/nvcc-lite"

# Stand-ins for the libraries that the program links against. The functions' names come from the
# sources of cudarc, which declares them, so they are always those that it calls.
cudarc=$(cd "$here/../.." && cargo metadata --format-version 1 --all-features | python3 -c '
import json, os, sys
found = [p for p in json.load(sys.stdin)["packages"] if p["name"] == "cudarc"]
assert len(found) == 1, f"expected one version of cudarc among the dependencies, found {len(found)}"
print(os.path.dirname(found[0]["manifest_path"]))')
stand_in() { # MODULE NAME SONAME ERROR [COMPANION...]
  grep -oE '^ +fn [A-Za-z0-9_]+\(' "$cudarc/src/$1/sys/mod.rs" | sed -E 's/^ +fn ([A-Za-z0-9_]+)\(/\1/' |
    python3 "$here/lazy-library.py" "$stubs" "${@:2}"
}
stand_in driver   cuda     libcuda.so.1      100                        # CUDA_ERROR_NO_DEVICE
stand_in cublas   cublas   libcublas.so.13   1   libcublasLt.so.13      # CUBLAS_STATUS_NOT_INITIALIZED
stand_in cublaslt cublasLt libcublasLt.so.13 1                          # CUBLAS_STATUS_NOT_INITIALIZED
stand_in curand   curand   libcurand.so.10   203                        # CURAND_STATUS_INITIALIZATION_FAILED
stand_in nvrtc    nvrtc    libnvrtc.so.13    11  libnvrtc-builtins.so.13.0  # NVRTC_ERROR_INTERNAL_ERROR
# The runtime has no state before the first call, so it is linked in.
echo "/* linker script */ INPUT($cuda/lib/libcudart_static.a)" >"$stubs/libcudart.so"

cat >"$dir/env.sh" <<EOF
export CUDA_HOME=$cuda CUDA_PATH=$cuda CUDA_ROOT=$cuda CUDA_TOOLKIT_ROOT_DIR=$cuda
export NVCC=$cuda/bin/nvcc-lite CUDA_COMPUTE_CAP=${CUDA_COMPUTE_CAP:-90} CUDARC_CUDA_VERSION=13000
export PATH=$cuda/bin:\$PATH LIBRARY_PATH=$stubs:$cuda/lib\${LIBRARY_PATH:+:\$LIBRARY_PATH}
EOF
"$cuda/bin/nvcc" --version | sed -n 4p
