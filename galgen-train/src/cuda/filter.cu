// Convolution of each stamp with a kernel of its own, directly.
#include "common.cuh"

// x [b, c, n, n], kernels [b, p, p] centred on (p - 1) / 2; adjoint: correlation. Light does not wrap around.
template <typename T>
__device__ void convolve_each(const T *x, const float *kernels, T *y, int c, int n, int p, int adjoint, size_t all) {
    const int half = p / 2;
    FOR_EACH(i, all) {
        const int col = i % n, row = i / n % n;
        const size_t plane = i / n / n;
        const T *source = x + plane * n * n;
        const float *kernel = kernels + plane / c * p * p;
        T sum = 0;
        for (int u = 0; u < p; u++) {
            const int from = adjoint ? row + u - half : row - u + half;
            if (from < 0 || from >= n) continue;
            for (int v = 0; v < p; v++) {
                const int at = adjoint ? col + v - half : col - v + half;
                if (at >= 0 && at < n) sum += T(kernel[u * p + v]) * source[from * n + at];
            }
        }
        y[i] = sum;
    }
}

#define KERNELS(T, NAME)                                                                                                \
    extern "C" __global__ void convolve_each_##NAME(const T *x, const float *kernels, T *y, int c, int n, int p,       \
                                                    int adjoint, size_t all) {                                         \
        convolve_each(x, kernels, y, c, n, p, adjoint, all);                                                           \
    }
KERNELS(float, f32)
KERNELS(double, f64)
