// What the kernels share.
#pragma once

// Elements i of 0..n, spread over the whole grid.
#define FOR_EACH(i, n)                                                                                                  \
    for (size_t i = size_t(blockIdx.x) * blockDim.x + threadIdx.x; i < (n); i += size_t(gridDim.x) * blockDim.x)

// The sum of `value` over the block, known to all of its threads; in a fixed order. The block has at most 1024 threads,
// a multiple of 32.
__device__ inline double block_sum(double value) {
    __shared__ double parts[32];
    __shared__ double total;
    for (int k = 16; k > 0; k /= 2) value += __shfl_down_sync(0xffffffff, value, k);
    if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = value;
    __syncthreads();
    if (threadIdx.x == 0) {
        double sum = 0;
        for (int i = 0; i < blockDim.x / 32; i++) sum += parts[i];
        total = sum;
    }
    __syncthreads();
    const double sum = total;
    __syncthreads();
    return sum;
}
