/* The galaxies, the grid and the hash that the C, C++ and Rust tests share. Every number is exact in
 * binary, so that each language asks for the same ones. Rust's copy is in tests/tests/same_bits. */
#ifndef GALGEN_TEST_SCENE_H
#define GALGEN_TEST_SCENE_H

#include <galgen.h>
#include <stdint.h>
#include <stdlib.h>

enum { OBJECTS = 10, THREADS = 4, SEED = 20261 };

/* Object i; conditions across the trained range. */
static inline galgen_object scene_object(const galgen_model *model, unsigned i) {
    galgen_object object = galgen_object_default();
    galgen_model_info info = galgen_model_info_default();
    unsigned k;
    if (galgen_model_get_info(model, &info, NULL) != GALGEN_STATUS_OK) abort();
    object.id = 1000 + i;
    object.half_light_radius = 0.5 + 0.25 * i;
    object.flux = 10.0 * (i + 1);
    object.position_angle = 17.0 * i;
    object.shear[0] = i / 64.0;
    object.shear[1] = i / -128.0;
    object.magnification = 1.0 + i / 32.0;
    object.offset[0] = 0.125 * i;
    object.offset[1] = -0.25;
    object.size_definition =
        i % 2 ? GALGEN_SIZE_DEFINITION_SEMI_MAJOR : GALGEN_SIZE_DEFINITION_CIRCULAR;
    object.condition_count = (uint32_t)info.conditions;
    for (k = 0; k < info.conditions; ++k) {
        galgen_condition c = galgen_condition_default();
        double width, step;
        if (galgen_model_condition(model, k, &c, NULL) != GALGEN_STATUS_OK) abort();
        width = c.maximum - c.minimum;
        step = width * (((7 * i + 3 * k) % 8 + 0.5) / 8.0);
        object.conditions[k] = (float)(c.minimum + step);
    }
    return object;
}

static inline galgen_grid scene_grid(void) {
    galgen_grid grid = galgen_grid_default();
    grid.width = 24;
    grid.height = 20;
    grid.pixel_scale = 0.5;
    return grid;
}

static inline galgen_psf scene_psf(void) {
    galgen_psf psf = galgen_psf_default();
    psf.kind = GALGEN_PSF_KIND_MOFFAT;
    psf.fwhm = 0.75;
    psf.beta = 2.5;
    return psf;
}

static inline galgen_noise scene_noise(void) {
    galgen_noise noise = galgen_noise_default();
    noise.gaussian_sigma = 0.0625;
    noise.gain = 50.0;
    noise.sky_level = 0.25;
    return noise;
}

/* 64-bit FNV-1a of the bytes of `n` floats, low byte first. */
static inline uint64_t scene_hash(const float *values, size_t n) {
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    size_t i;
    int b;
    for (i = 0; i < n; ++i) {
        union { float f; uint32_t u; } bits;
        bits.f = values[i];
        for (b = 0; b < 4; ++b) {
            hash = (hash ^ (bits.u >> (8 * b) & 0xff)) * UINT64_C(0x100000001b3);
        }
    }
    return hash;
}

#endif
