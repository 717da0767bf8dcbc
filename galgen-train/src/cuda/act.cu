// Bias and activation in one pass, with their derivatives; sums over a channel. Maps are [b, c, pixels].
#include "common.cuh"

// Numbers of the activations: those of act.rs.
enum { IDENTITY, SILU, SOFTPLUS, SIGMOID, TANH, LEAKY_RELU, ELU };

template <typename T>
__device__ T sigmoid(T u) {
    const T e = exp(-fabs(u));
    return u >= 0 ? 1 / (1 + e) : e / (1 + e);
}

// The order-th derivative at u, order 0 to 2.
template <typename T>
__device__ T derivative(int act, T slope, int order, T u) {
    switch (act) {
    case IDENTITY: return order == 0 ? u : T(order == 1);
    case SILU: {
        const T s = sigmoid(u);
        if (order == 0) return u * s;
        if (order == 1) return s * (1 + u * (1 - s));
        return s * (1 - s) * (2 + u * (1 - 2 * s));
    }
    case SOFTPLUS: {
        if (order == 0) return fmax(u, T(0)) + log1p(exp(-fabs(u)));
        const T s = sigmoid(u);
        return order == 1 ? s : s * (1 - s);
    }
    case SIGMOID: {
        const T s = sigmoid(u);
        if (order == 0) return s;
        return order == 1 ? s * (1 - s) : s * (1 - s) * (1 - 2 * s);
    }
    case TANH: {
        const T t = tanh(u);
        if (order == 0) return t;
        return order == 1 ? 1 - t * t : -2 * t * (1 - t * t);
    }
    case LEAKY_RELU:
        if (order == 0) return u > 0 ? u : slope * u;
        return order == 1 ? (u > 0 ? T(1) : slope) : T(0);
    default: { // ELU
        const T e = expm1(fmin(u, T(0)));
        if (order == 0) return u > 0 ? u : e;
        return order == 1 ? (u > 0 ? T(1) : e + 1) : (u > 0 ? T(0) : e + 1);
    }
    }
}

// y = f(x + bias), or g f(x + bias) where g is given; f is the order-th derivative.
template <typename T>
__device__ void bias_act(const T *g, const T *x, const T *bias, T *y, int act, double slope, int order, int channels,
                         size_t pixels, size_t n) {
    FOR_EACH(i, n) {
        const T f = derivative(act, T(slope), order, x[i] + bias[i / pixels % channels]);
        y[i] = g ? g[i] * f : f;
    }
}

// One block a channel: [b, c, pixels] to [c].
template <typename T>
__device__ void channel_sum(const T *x, T *out, int batch, int channels, size_t pixels) {
    double sum = 0;
    const size_t n = batch * pixels;
    for (size_t i = threadIdx.x; i < n; i += blockDim.x)
        sum += x[(i / pixels * channels + blockIdx.x) * pixels + i % pixels];
    sum = block_sum(sum);
    if (threadIdx.x == 0) out[blockIdx.x] = T(sum);
}

// y = x w[channel]
template <typename T>
__device__ void channel_scale(const T *x, const T *w, T *y, int channels, size_t pixels, size_t n) {
    FOR_EACH(i, n) y[i] = x[i] * w[i / pixels % channels];
}

#define KERNELS(T, NAME)                                                                                                \
    extern "C" __global__ void bias_act_##NAME(const T *x, const T *bias, T *y, int act, double slope, int order,      \
                                               int channels, size_t pixels, size_t n) {                                \
        bias_act<T>(nullptr, x, bias, y, act, slope, order, channels, pixels, n);                                      \
    }                                                                                                                  \
    extern "C" __global__ void bias_act_grad_##NAME(const T *g, const T *x, const T *bias, T *y, int act,              \
                                                    double slope, int order, int channels, size_t pixels, size_t n) {  \
        bias_act<T>(g, x, bias, y, act, slope, order, channels, pixels, n);                                            \
    }                                                                                                                  \
    extern "C" __global__ void channel_sum_##NAME(const T *x, T *out, int batch, int channels, size_t pixels) {        \
        channel_sum(x, out, batch, channels, pixels);                                                                  \
    }                                                                                                                  \
    extern "C" __global__ void channel_scale_##NAME(const T *x, const T *w, T *y, int channels, size_t pixels,         \
                                                    size_t n) {                                                        \
        channel_scale(x, w, y, channels, pixels, n);                                                                   \
    }
KERNELS(float, f32)
KERNELS(double, f64)
