// Standard normals of the project's counter-based generator (galgen_core::rng): the numbers that the CPU draws, to the
// accuracy of the device's logarithm and sine.
#include "common.cuh"

__device__ uint4 philox(uint2 k, uint4 c) {
    for (int round = 0; round < 10; round++) {
        const unsigned long long a = 0xD2511F53ull * c.x, b = 0xCD9E8D57ull * c.z;
        c = make_uint4(unsigned(b >> 32) ^ c.y ^ k.x, unsigned(b), unsigned(a >> 32) ^ c.w ^ k.y, unsigned(a));
        k.x += 0x9E3779B9u;
        k.y += 0xBB67AE85u;
    }
    return c;
}

// In (0, 1), on a grid of 2^-52.
__device__ double uniform(unsigned high, unsigned low) {
    const unsigned long long bits = (unsigned long long)high << 20 | low >> 12;
    return (double(bits) + 0.5) / 4503599627370496.0;
}

// Block j of the sequence gives normals 2 j and 2 j + 1.
extern "C" __global__ void normals(float *out, unsigned long long seed, unsigned long long id, unsigned stream,
                                   size_t n) {
    FOR_EACH(j, (n + 1) / 2) {
        const uint4 w = philox(make_uint2(unsigned(seed), unsigned(seed >> 32)),
                               make_uint4(unsigned(j), stream, unsigned(id), unsigned(id >> 32)));
        const double radius = sqrt(-2 * log(uniform(w.x, w.y)));
        double sine, cosine;
        sincos(2 * 3.14159265358979323846 * uniform(w.z, w.w), &sine, &cosine);
        out[2 * j] = float(radius * cosine);
        if (2 * j + 1 < n) out[2 * j + 1] = float(radius * sine);
    }
}
