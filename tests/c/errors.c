/* Provokes every status of galgen.h but PANIC, which nothing that a caller does should give (the
 * library's own tests raise it). Arguments: a good model, one of a newer galgen, one whose decoder draws
 * no light. */
#include "check.h"
#include "scene.h"

#include <math.h>

static galgen_error error;
static galgen_model *model;
static galgen_session *session;
static galgen_model_info info;
static float *stamps;
static size_t stamps_len;

static unsigned char *read_file(const char *path, size_t *length) {
    FILE *file = fopen(path, "rb");
    unsigned char *bytes;
    long end;
    if (file == NULL) return NULL;
    fseek(file, 0, SEEK_END);
    end = ftell(file);
    rewind(file);
    bytes = malloc((size_t)end);
    *length = fread(bytes, 1, (size_t)end, file);
    fclose(file);
    return bytes;
}

static void versions(void) {
    galgen_error small = galgen_error_default();
    CHECK(galgen_abi_version() == GALGEN_ABI_VERSION);
    CHECK(galgen_abi_revision() == GALGEN_ABI_REVISION);
    OK(GALGEN_CHECK_ABI(&error));
    CHECK(error.code == GALGEN_STATUS_OK && error.message[0] == '\0');
    FAILS(GALGEN_STATUS_ABI, "ABI 2.0", galgen_abi_check(2, 0, &error));
    FAILS(GALGEN_STATUS_ABI, "ABI 1.9", galgen_abi_check(1, 9, &error));
    CHECK(galgen_abi_check(2, 0, NULL) == GALGEN_STATUS_ABI);
    small.struct_size = 8;
    CHECK(galgen_abi_check(1, 0, &small) == GALGEN_STATUS_STRUCT_SIZE);
    CHECK(strcmp(galgen_status_text(GALGEN_STATUS_IO), "file cannot be read") == 0);
    CHECK(strcmp(galgen_status_text(-5), "unknown status") == 0);
}

static void loading(const char *path, const char *newer) {
    size_t length = 0, i;
    unsigned char *bytes = read_file(path, &length);
    galgen_model *other = (galgen_model *)&length;
    CHECK(bytes != NULL);
    if (bytes == NULL) return;
    FAILS(GALGEN_STATUS_NULL, "path", galgen_model_open(NULL, &other, &error));
    CHECK(other == NULL);
    FAILS(GALGEN_STATUS_NULL, "model", galgen_model_open(path, NULL, &error));
    FAILS(GALGEN_STATUS_IO, "no/such", galgen_model_open("no/such.safetensors", &other, &error));
    FAILS(GALGEN_STATUS_IO, "cannot read", galgen_model_open(".", &other, &error));
    FAILS(GALGEN_STATUS_MODEL_NEWER, "newer", galgen_model_open(newer, &other, &error));
    FAILS(GALGEN_STATUS_NULL, "bytes", galgen_model_from_memory(NULL, 5, &other, &error));
    FAILS(GALGEN_STATUS_MODEL_FILE, "", galgen_model_from_memory(NULL, 0, &other, &error));
    for (i = 0; i < length; i = 3 * i + 1) {
        FAILS(GALGEN_STATUS_MODEL_FILE, "", galgen_model_from_memory(bytes, i, &other, &error));
        CHECK(other == NULL && error.message[0] != '\0');
    }
    bytes[7] = 0x7f; /* a header of 2^63 bytes */
    FAILS(GALGEN_STATUS_MODEL_FILE, "", galgen_model_from_memory(bytes, length, &other, &error));
    bytes[7] = 0;
    bytes[8] = 'x'; /* not JSON */
    FAILS(GALGEN_STATUS_MODEL_FILE, "", galgen_model_from_memory(bytes, length, &other, &error));
    bytes[8] = '{';
    memset(bytes + length - 4, 0xff, 4); /* NaN */
    FAILS(GALGEN_STATUS_MODEL_FILE, "NaN", galgen_model_from_memory(bytes, length, &other, &error));
    free(bytes);

    /* Memory may be freed, and need not be aligned. */
    bytes = read_file(path, &length);
    bytes = realloc(bytes, length + 1);
    memmove(bytes + 1, bytes, length);
    OK(galgen_model_from_memory(bytes + 1, length, &other, &error));
    free(bytes);
    CHECK(galgen_model_card(other, NULL) != NULL);
    galgen_model_free(other);
    galgen_model_free(NULL);
    CHECK(galgen_model_clone(NULL) == NULL);
}

static void queries(void) {
    galgen_condition c = galgen_condition_default();
    galgen_model_info wrong = galgen_model_info_default();
    size_t index = 77, length = 77;
    FAILS(GALGEN_STATUS_NULL, "model", galgen_model_get_info(NULL, &wrong, &error));
    FAILS(GALGEN_STATUS_NULL, "galgen_model_info", galgen_model_get_info(model, NULL, &error));
    wrong.struct_size = 7;
    FAILS(GALGEN_STATUS_STRUCT_SIZE, "galgen_model_info_default",
          galgen_model_get_info(model, &wrong, &error));
    CHECK(wrong.side == 0);
    FAILS(GALGEN_STATUS_NOT_FOUND, "condition 16", galgen_model_condition(model, 16, &c, &error));
    FAILS(GALGEN_STATUS_NULL, "galgen_condition", galgen_model_condition(model, 0, NULL, &error));
    FAILS(GALGEN_STATUS_NOT_FOUND, "`colour`",
          galgen_model_find_condition(model, "colour", &index, &error));
    FAILS(GALGEN_STATUS_NULL, "name", galgen_model_find_condition(model, NULL, &index, &error));
    CHECK(index == 77);
    CHECK(galgen_model_band(model, 99) == NULL && galgen_model_band(NULL, 0) == NULL);
    CHECK(galgen_model_card(NULL, &length) == NULL && length == 0);
    CHECK(galgen_flux_from_magnitude(20.0, 22.5) > 9.999);
    CHECK(fabs(galgen_concentration_from_sersic(4.0) - 4.0423) < 1e-9);
}

static void calls(void) {
    galgen_object objects[3];
    galgen_drawn drawn[3];
    galgen_session *none = (galgen_session *)&objects;
    int i;
    for (i = 0; i < 3; ++i) {
        objects[i] = scene_object(model, (unsigned)i);
        drawn[i] = galgen_drawn_default();
    }
    FAILS(GALGEN_STATUS_NULL, "model", galgen_session_new(NULL, &none, &error));
    CHECK(none == NULL);
    FAILS(GALGEN_STATUS_NULL, "session", galgen_session_new(model, NULL, &error));
    galgen_session_free(NULL);
#define NATIVE(session, objects, n, stamps, len, drawn) \
    galgen_session_sample_native(session, 1, objects, n, stamps, len, drawn, &error)
    FAILS(GALGEN_STATUS_NULL, "session", NATIVE(NULL, objects, 3, stamps, stamps_len, drawn));
    FAILS(GALGEN_STATUS_NULL, "galgen_object", NATIVE(session, NULL, 3, stamps, stamps_len, drawn));
    FAILS(GALGEN_STATUS_NULL, "stamps", NATIVE(session, objects, 3, NULL, stamps_len, drawn));
    FAILS(GALGEN_STATUS_LENGTH, "stamps has",
          NATIVE(session, objects, 3, stamps, 3 * info.stamp_len - 1, drawn));
    OK(NATIVE(session, NULL, 0, NULL, 0, NULL));
    OK(NATIVE(session, objects, 3, stamps, stamps_len, NULL));
    FAILS(GALGEN_STATUS_ARGUMENT, "aligned",
          NATIVE(session, objects, 1, (float *)((char *)stamps + 1), stamps_len - 1, drawn));
    FAILS(GALGEN_STATUS_LENGTH, "stamps", NATIVE(session, objects, 3, stamps, 0, drawn));

    stamps[0] = 42.0f;
    objects[1].struct_size = sizeof objects[1] + 8;
    FAILS(GALGEN_STATUS_STRUCT_SIZE, "", NATIVE(session, objects, 3, stamps, stamps_len, drawn));
    objects[1].struct_size = 0;
    FAILS(GALGEN_STATUS_STRUCT_SIZE, "galgen_object_default",
          NATIVE(session, objects, 3, stamps, stamps_len, drawn));
    objects[1].struct_size = sizeof objects[1];
    drawn[0].struct_size = 3;
    FAILS(GALGEN_STATUS_STRUCT_SIZE, "galgen_drawn_default",
          NATIVE(session, objects, 3, stamps, stamps_len, drawn));
    CHECK(stamps[0] == 42.0f); /* nothing was written */
    FAILS(GALGEN_STATUS_NO_GRID, "set_grid",
          galgen_session_sample_rendered(session, 1, objects, 3, stamps, stamps_len, NULL, &error));
}

/* Draws a good object, one spoilt by `object`, and a good one. */
static void bad(galgen_object object, galgen_status expected, const char *text) {
    galgen_object objects[3];
    galgen_drawn drawn[3];
    size_t i, len = info.stamp_len;
    float sum = 0;
    drawn[0] = galgen_drawn_default();
    objects[0] = scene_object(model, 0);
    objects[1] = object;
    objects[2] = scene_object(model, 2);
    FAILS(GALGEN_STATUS_PARTIAL, "1 of 3 failed, first at index 1",
          NATIVE(session, objects, 3, stamps, stamps_len, drawn));
    if (strstr(error.message, text) == NULL) {
        fprintf(stderr, "found `%s`, expected `%s`\n", error.message, text);
        ++failures;
    }
    CHECK(drawn[0].status == GALGEN_STATUS_OK && drawn[2].status == GALGEN_STATUS_OK);
    CHECK(drawn[1].status == expected && drawn[1].id == object.id && drawn[1].flux == 0);
    for (i = 0; i < len; ++i) {
        CHECK(stamps[len + i] == 0.0f);
        sum += stamps[2 * len + i];
    }
    CHECK(sum > 0);
}

static void bad_objects(void) {
    const galgen_object good = scene_object(model, 1);
    galgen_object o = good;
    galgen_drawn drawn = galgen_drawn_default();
#define BAD(field, value, text) \
    (o = good, o.field = (value), bad(o, GALGEN_STATUS_ARGUMENT, text))
    BAD(half_light_radius, (double)NAN, "half_light_radius is NaN");
    BAD(half_light_radius, -1.0, "half_light_radius is -1");
    BAD(half_light_radius, 0.0, "half_light_radius");
    BAD(flux, -2.0, "flux");
    BAD(flux, (double)INFINITY, "flux");
    BAD(position_angle, (double)NAN, "position_angle");
    BAD(shear[0], 1.0, "|g| below 1");
    BAD(shear[1], (double)NAN, "shear");
    BAD(magnification, 0.0, "magnification");
    BAD(offset[1], (double)NAN, "offset");
    BAD(size_definition, 7, "size_definition");
    BAD(condition_count, good.condition_count + 1, "condition_count");
    BAD(conditions[0], NAN, "conditions");
    o = good;
    o.half_light_radius = 1e-300;
    bad(o, GALGEN_STATUS_UNRENDERABLE, "cannot be rendered");

    /* Outside the trained range is drawn, and flagged. */
    o = good;
    o.conditions[0] = 1.5f;
    OK(NATIVE(session, &o, 1, stamps, stamps_len, &drawn));
    CHECK(drawn.flags & GALGEN_FLAG_OUT_OF_RANGE);
    OK(NATIVE(session, &good, 1, stamps, stamps_len, &drawn));
    CHECK(!(drawn.flags & GALGEN_FLAG_OUT_OF_RANGE));
}

static void dark(const char *path) {
    galgen_model *m = NULL;
    galgen_session *s = NULL;
    galgen_drawn drawn = galgen_drawn_default();
    galgen_object object;
    OK(galgen_model_open(path, &m, &error));
    OK(galgen_session_new(m, &s, &error));
    object = scene_object(m, 0);
    FAILS(GALGEN_STATUS_PARTIAL, "no light", NATIVE(s, &object, 1, stamps, stamps_len, &drawn));
    CHECK(drawn.status == GALGEN_STATUS_NO_LIGHT);
    galgen_session_free(s);
    galgen_model_free(m);
}

static void scenes(void) {
    galgen_grid grid = scene_grid();
    galgen_psf psf = scene_psf();
    galgen_noise noise = scene_noise();
    galgen_object object = scene_object(model, 3);
    const float image[6] = {0, 1, 0, 1, 2, 1}, negative[1] = {-1}, empty[1] = {0};
    struct {
        galgen_grid grid;
        uint64_t later;
    } newer;
#define GRID(grid, psf, noise) galgen_session_set_grid(session, grid, psf, noise, &error)
    FAILS(GALGEN_STATUS_NULL, "session", galgen_session_set_grid(NULL, &grid, NULL, NULL, &error));
    FAILS(GALGEN_STATUS_NULL, "galgen_grid", GRID(NULL, &psf, &noise));
    OK(GRID(&grid, &psf, &noise));
    OK(galgen_session_sample_rendered(session, 1, &object, 1, stamps, stamps_len, NULL, &error));
    FAILS(GALGEN_STATUS_LENGTH, "stamps has 479",
          galgen_session_sample_rendered(session, 1, &object, 1, stamps, 479, NULL, &error));
    grid.width = 0;
    FAILS(GALGEN_STATUS_ARGUMENT, "grid width", GRID(&grid, NULL, NULL));
    grid.width = (size_t)-1;
    FAILS(GALGEN_STATUS_ARGUMENT, "grid width", GRID(&grid, NULL, NULL));
    grid = scene_grid();
    grid.pixel_scale = NAN;
    FAILS(GALGEN_STATUS_ARGUMENT, "pixel scale", GRID(&grid, NULL, NULL));
    grid = scene_grid();
    grid.width = grid.height = 4096;
    psf.fwhm = 0.02;
    FAILS(GALGEN_STATUS_TOO_LARGE, "bytes", GRID(&grid, &psf, NULL));
    grid = scene_grid();
    grid.struct_size = 1;
    FAILS(GALGEN_STATUS_STRUCT_SIZE, "galgen_grid_default", GRID(&grid, NULL, NULL));
    memset(&newer, 0, sizeof newer);
    newer.grid = scene_grid();
    newer.grid.struct_size = sizeof newer;
    OK(GRID(&newer.grid, NULL, NULL));
    newer.later = 1;
    FAILS(GALGEN_STATUS_STRUCT_SIZE, "newer galgen library", GRID(&newer.grid, NULL, NULL));

    grid = scene_grid();
    psf = galgen_psf_default();
    OK(GRID(&grid, &psf, NULL)); /* none */
    psf.kind = GALGEN_PSF_KIND_GAUSSIAN;
    FAILS(GALGEN_STATUS_ARGUMENT, "FWHM", GRID(&grid, &psf, NULL));
    psf.kind = GALGEN_PSF_KIND_MOFFAT;
    psf.fwhm = psf.beta = 1;
    FAILS(GALGEN_STATUS_ARGUMENT, "beta", GRID(&grid, &psf, NULL));
    psf.kind = 9;
    FAILS(GALGEN_STATUS_ARGUMENT, "kind is 9", GRID(&grid, &psf, NULL));
    psf.kind = GALGEN_PSF_KIND_IMAGE;
    psf.image_width = 3;
    psf.image_height = 2;
    psf.image_pixel_scale = 0.25;
    FAILS(GALGEN_STATUS_NULL, "image", GRID(&grid, &psf, NULL));
    psf.image = image;
    OK(GRID(&grid, &psf, NULL));
    psf.centroid = 2;
    FAILS(GALGEN_STATUS_ARGUMENT, "centroid", GRID(&grid, &psf, NULL));
    psf.centroid = 1;
    OK(GRID(&grid, &psf, NULL));
    psf.image_width = psf.image_height = (size_t)-1;
    FAILS(GALGEN_STATUS_LENGTH, "image", GRID(&grid, &psf, NULL));
    psf.image_width = psf.image_height = 1;
    psf.image = negative;
    FAILS(GALGEN_STATUS_ARGUMENT, "found -1", GRID(&grid, &psf, NULL));
    psf.image = empty;
    FAILS(GALGEN_STATUS_ARGUMENT, "sum of 0", GRID(&grid, &psf, NULL));

    noise.gaussian_sigma = -1;
    FAILS(GALGEN_STATUS_ARGUMENT, "noise sigma", GRID(&grid, NULL, &noise));
    noise = scene_noise();
    noise.gain = 0;
    FAILS(GALGEN_STATUS_ARGUMENT, "gain", GRID(&grid, NULL, &noise));
    /* After all these the last good grid is still there. */
    OK(galgen_session_sample_rendered(session, 1, &object, 1, stamps, stamps_len, NULL, &error));
}

static void scores(void) {
    const galgen_object object = scene_object(model, 0);
    const size_t nc = info.conditions, len = info.stamp_len, latent = info.latent;
    float conditions[2 * GALGEN_MAX_CONDITIONS];
    float *means = calloc(2 * latent, sizeof *means), *spread = calloc(2 * latent, sizeof *spread);
    double *z = calloc(2 * latent, sizeof *z);
    double out[2], sky[2] = {0.1, -1.0};
    galgen_status statuses[2];
    size_t i;
    for (i = 0; i < 2 * nc; ++i) conditions[i] = object.conditions[i % nc];
    OK(galgen_session_sample_galaxy_frame(session, 1, &object, 1, stamps, stamps_len, NULL, &error));
    memset(stamps + len, 0, len * sizeof *stamps);
#define LIKELIHOOD(stamps_len, nc, samples, sky, out) \
    galgen_session_log_likelihood(session, 1, samples, stamps, stamps_len, conditions, nc, sky, \
                                  NULL, 2, out, statuses, &error)
    FAILS(GALGEN_STATUS_PARTIAL, "index 1: the stamp has sum 0",
          LIKELIHOOD(2 * len, 2 * nc, 2, NULL, out));
    CHECK(statuses[0] == GALGEN_STATUS_OK && statuses[1] == GALGEN_STATUS_STAMP);
    CHECK(out[0] == out[0] && out[1] != out[1]);
    FAILS(GALGEN_STATUS_PARTIAL, "samples", LIKELIHOOD(2 * len, 2 * nc, 0, NULL, out));
    FAILS(GALGEN_STATUS_PARTIAL, "sky is -1", LIKELIHOOD(2 * len, 2 * nc, 1, sky, out));
    CHECK(statuses[1] == GALGEN_STATUS_ARGUMENT);
    FAILS(GALGEN_STATUS_LENGTH, "stamps", LIKELIHOOD(2 * len + 1, 2 * nc, 1, NULL, out));
    FAILS(GALGEN_STATUS_LENGTH, "conditions", LIKELIHOOD(2 * len, nc, 1, NULL, out));
    FAILS(GALGEN_STATUS_NULL, "log_likelihoods", LIKELIHOOD(2 * len, 2 * nc, 1, NULL, NULL));
    z[0] = NAN;
    FAILS(GALGEN_STATUS_PARTIAL, "latent is NaN",
          galgen_session_log_prob_latent(session, z, 2 * latent, conditions, 2 * nc, 2, out,
                                         statuses, &error));
    CHECK(out[0] != out[0] && out[1] == out[1] && statuses[1] == GALGEN_STATUS_OK);
    FAILS(GALGEN_STATUS_LENGTH, "latents",
          galgen_session_log_prob_latent(session, z, latent, conditions, 2 * nc, 2, out, NULL,
                                         &error));
    FAILS(GALGEN_STATUS_PARTIAL, "sum 0",
          galgen_session_encode(session, stamps, 2 * len, conditions, 2 * nc, 2, means, spread,
                                2 * latent, NULL, NULL, &error));
    CHECK(means[0] == means[0] && means[latent] != means[latent]);
    FAILS(GALGEN_STATUS_LENGTH, "means",
          galgen_session_encode(session, stamps, 2 * len, conditions, 2 * nc, 2, means, spread,
                                2 * latent - 1, NULL, NULL, &error));
    FAILS(GALGEN_STATUS_PARTIAL, "latent is NaN",
          galgen_session_decode(session, means, 2 * latent, conditions, 2 * nc, 2, stamps,
                                stamps_len, NULL, statuses, &error));
    CHECK(statuses[0] == GALGEN_STATUS_OK && stamps[len] == 0 && stamps[len + len / 2] == 0);
    FAILS(GALGEN_STATUS_NULL, "session",
          galgen_session_decode(NULL, means, 2 * latent, conditions, 2 * nc, 2, stamps, stamps_len,
                                NULL, NULL, &error));
    conditions[1] = INFINITY;
    FAILS(GALGEN_STATUS_PARTIAL, "conditions is inf",
          galgen_session_decode(session, means, latent, conditions, nc, 1, stamps, stamps_len, NULL,
                                statuses, &error));
    free(means);
    free(spread);
    free(z);
}

int main(int argc, char **argv) {
    error = galgen_error_default();
    info = galgen_model_info_default();
    if (argc < 4) {
        fprintf(stderr, "usage: errors MODEL MODEL_OF_A_NEWER_GALGEN DARK_MODEL\n");
        return 2;
    }
    versions();
    loading(argv[1], argv[2]);
    OK(galgen_model_open(argv[1], &model, &error));
    OK(galgen_session_new(model, &session, &error));
    OK(galgen_model_get_info(model, &info, &error));
    stamps_len = 4 * info.stamp_len + 4096;
    stamps = calloc(stamps_len, sizeof *stamps);
    queries();
    calls();
    bad_objects();
    dark(argv[3]);
    scenes();
    scores();
    free(stamps);
    galgen_session_free(session);
    galgen_model_free(model);
    printf("%d failed\n", failures);
    return failures != 0;
}
