// The optimiser's passes over one parameter.
#include "common.cuh"

// m = beta m + (1 - beta) scale g, or with the square of scale g
template <typename T>
__device__ void moment(T *m, const T *g, double beta, double scale, int square, size_t n) {
    const T keep = T(beta), take = T(1 - beta);
    FOR_EACH(i, n) {
        const T v = T(scale) * g[i];
        m[i] = keep * m[i] + take * (square ? v * v : v);
    }
}

// p = keep p - rate m / (sqrt(v / c2) + eps)
template <typename T>
__device__ void move(T *p, const T *m, const T *v, double keep, double rate, double c2, double eps, size_t n) {
    FOR_EACH(i, n) p[i] = T(keep) * p[i] - T(rate) * m[i] / (sqrt(v[i] * T(1 / c2)) + T(eps));
}

// One block: the sum of squares of x.
template <typename T>
__device__ void squares(const T *x, double *out, size_t n) {
    double sum = 0;
    for (size_t i = threadIdx.x; i < n; i += blockDim.x) sum += double(x[i]) * x[i];
    sum = block_sum(sum);
    if (threadIdx.x == 0) *out = sum;
}

#define KERNELS(T, NAME)                                                                                                \
    extern "C" __global__ void moment_##NAME(T *m, const T *g, double beta, double scale, int square, size_t n) {      \
        moment(m, g, beta, scale, square, n);                                                                          \
    }                                                                                                                  \
    extern "C" __global__ void move_##NAME(T *p, const T *m, const T *v, double keep, double rate, double c2,          \
                                           double eps, size_t n) {                                                     \
        move(p, m, v, keep, rate, c2, eps, n);                                                                         \
    }                                                                                                                  \
    extern "C" __global__ void squares_##NAME(const T *x, double *out, size_t n) { squares(x, out, n); }
KERNELS(float, f32)
KERNELS(double, f64)
