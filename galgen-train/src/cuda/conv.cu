// Convolution as a matrix product: maps to columns and columns back to maps. Layouts are row-major, batch first; a column
// holds the inputs of one output pixel in the order of the weights (channel, row, column).
#include "common.cuh"

struct Geometry {
    int c, o, kh, kw, h, w, oh, ow, stride, top, left;
};

// maps [b, c, h, w] to columns [b, c kh kw, oh ow], zeros outside
template <typename T>
__device__ void to_columns(const T *x, T *columns, Geometry g, size_t n) {
    const size_t pixels = size_t(g.oh) * g.ow;
    FOR_EACH(i, n) {
        const int at = i % pixels;
        size_t rest = i / pixels;
        const int v = rest % g.kw;
        rest /= g.kw;
        const int u = rest % g.kh;
        rest /= g.kh; // batch c + channel
        const int row = at / g.ow * g.stride + u - g.top;
        const int col = at % g.ow * g.stride + v - g.left;
        const bool inside = row >= 0 && row < g.h && col >= 0 && col < g.w;
        columns[i] = inside ? x[(rest * g.h + row) * g.w + col] : T(0);
    }
}

// The transpose: every pixel of maps [b, c, h, w] gathers what columns [b, c kh kw, oh ow] have for it.
template <typename T>
__device__ void from_columns(const T *columns, T *x, Geometry g, size_t n) {
    const size_t pixels = size_t(g.oh) * g.ow;
    FOR_EACH(i, n) {
        const int col = i % g.w + g.left;
        size_t rest = i / g.w;
        const int row = rest % g.h + g.top;
        rest /= g.h; // batch c + channel
        T sum = 0;
        for (int u = row % g.stride; u < g.kh && u <= row; u += g.stride) {
            const int y = (row - u) / g.stride;
            if (y >= g.oh) continue;
            for (int v = col % g.stride; v < g.kw && v <= col; v += g.stride) {
                const int z = (col - v) / g.stride;
                if (z >= g.ow) continue;
                sum += columns[((rest * g.kh + u) * g.kw + v) * pixels + size_t(y) * g.ow + z];
            }
        }
        x[i] = sum;
    }
}

// [parts, n] to [n]
template <typename T>
__device__ void sum_parts(const T *x, T *out, int parts, size_t n) {
    FOR_EACH(i, n) {
        double sum = 0;
        for (int p = 0; p < parts; p++) sum += x[p * n + i];
        out[i] = T(sum);
    }
}

#define KERNELS(T, NAME)                                                                                                \
    extern "C" __global__ void to_columns_##NAME(const T *x, T *columns, Geometry g, size_t n) {                       \
        to_columns(x, columns, g, n);                                                                                  \
    }                                                                                                                  \
    extern "C" __global__ void from_columns_##NAME(const T *columns, T *x, Geometry g, size_t n) {                     \
        from_columns(columns, x, g, n);                                                                                \
    }                                                                                                                  \
    extern "C" __global__ void sum_parts_##NAME(const T *x, T *out, int parts, size_t n) { sum_parts(x, out, parts, n); }
KERNELS(float, f32)
KERNELS(double, f64)
