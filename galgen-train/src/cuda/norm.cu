// Rows to mean 0 and variance 1, and the gradient of that: one block a row.
#include "common.cuh"

struct Moments {
    double mean, scale;
};

template <typename T>
__device__ Moments moments(const T *x, size_t n, double eps) {
    double sum = 0;
    for (size_t i = threadIdx.x; i < n; i += blockDim.x) sum += x[i];
    const double mean = block_sum(sum) / n;
    double squares = 0;
    for (size_t i = threadIdx.x; i < n; i += blockDim.x) squares += (x[i] - mean) * (x[i] - mean);
    return {mean, 1 / sqrt(block_sum(squares) / n + eps)};
}

template <typename T>
__device__ void whiten(const T *x, T *y, double eps, size_t n) {
    x += blockIdx.x * n;
    y += blockIdx.x * n;
    const Moments m = moments(x, n, eps);
    for (size_t i = threadIdx.x; i < n; i += blockDim.x) y[i] = T((x[i] - m.mean) * m.scale);
}

// scale (g - mean(g) - z mean(g z)) with z = (x - mean) scale
template <typename T>
__device__ void whiten_grad(const T *x, const T *g, T *y, double eps, size_t n) {
    x += blockIdx.x * n;
    g += blockIdx.x * n;
    y += blockIdx.x * n;
    const Moments m = moments(x, n, eps);
    double sum = 0, product = 0;
    for (size_t i = threadIdx.x; i < n; i += blockDim.x) {
        sum += g[i];
        product += (x[i] - m.mean) * m.scale * g[i];
    }
    const double mean = block_sum(sum) / n, along = block_sum(product) / n;
    for (size_t i = threadIdx.x; i < n; i += blockDim.x)
        y[i] = T(m.scale * (g[i] - mean - (x[i] - m.mean) * m.scale * along));
}

#define KERNELS(T, NAME)                                                                                                \
    extern "C" __global__ void whiten_##NAME(const T *x, T *y, double eps, size_t n) { whiten(x, y, eps, n); }         \
    extern "C" __global__ void whiten_grad_##NAME(const T *x, const T *g, T *y, double eps, size_t n) {                \
        whiten_grad(x, g, y, eps, n);                                                                                  \
    }
KERNELS(float, f32)
KERNELS(double, f64)
