/* Opens the model given as the first argument, prints what it is, draws the scene natively, in the
 * galaxy frame and rendered, from one thread and from four, and scores it. Hashes go to standard
 * output. With a second argument, writes the first stamp there as a PGM picture. */
#include "check.h"
#include "scene.h"

#include <pthread.h>

typedef galgen_status sample_function(galgen_session *, uint64_t, const galgen_object *, size_t,
                                      float *, size_t, galgen_drawn *, galgen_error *);

typedef struct {
    const galgen_model *model;
    const galgen_object *objects;
    sample_function *sample;
    size_t first, count, stamp_len;
    float *stamps;
    galgen_drawn *drawn;
    galgen_status status;
} share;

/* One thread's share of the objects, one call per object, with a session of its own. */
static void *draw_share(void *argument) {
    share *s = argument;
    galgen_session *session = NULL;
    galgen_grid grid = scene_grid();
    galgen_psf psf = scene_psf();
    galgen_noise noise = scene_noise();
    size_t i;
    s->status = galgen_session_new(s->model, &session, NULL);
    if (s->status == GALGEN_STATUS_OK) {
        s->status = galgen_session_set_grid(session, &grid, &psf, &noise, NULL);
    }
    /* Backwards: the order is of no consequence either. */
    for (i = s->first + s->count; s->status == GALGEN_STATUS_OK && i-- > s->first;) {
        s->status = s->sample(session, SEED, s->objects + i, 1, s->stamps + i * s->stamp_len,
                              s->stamp_len, s->drawn + i, NULL);
    }
    galgen_session_free(session);
    return NULL;
}

static void draw_threads(const galgen_model *model, sample_function *sample,
                         const galgen_object *objects, float *stamps, galgen_drawn *drawn,
                         size_t stamp_len) {
    pthread_t threads[THREADS];
    share shares[THREADS];
    size_t t;
    for (t = 0; t < THREADS; ++t) {
        share *s = shares + t;
        s->model = model;
        s->objects = objects;
        s->sample = sample;
        s->first = t * OBJECTS / THREADS;
        s->count = (t + 1) * OBJECTS / THREADS - s->first;
        s->stamp_len = stamp_len;
        s->stamps = stamps;
        s->drawn = drawn;
        CHECK(pthread_create(threads + t, NULL, draw_share, s) == 0);
    }
    for (t = 0; t < THREADS; ++t) {
        pthread_join(threads[t], NULL);
        CHECK(shares[t].status == GALGEN_STATUS_OK);
    }
}

/* Draws all objects in one call and from four threads, compares, prints; returns the stamps. */
static float *draw(const char *name, galgen_session *session, const galgen_model *model,
                   sample_function *sample, const galgen_object *objects, size_t stamp_len) {
    float *once = malloc(OBJECTS * stamp_len * sizeof *once);
    float *threaded = malloc(OBJECTS * stamp_len * sizeof *threaded);
    galgen_drawn drawn[OBJECTS], again[OBJECTS];
    galgen_error error = galgen_error_default();
    size_t i;
    for (i = 0; i < OBJECTS; ++i) drawn[i] = again[i] = galgen_drawn_default();
    OK(sample(session, SEED, objects, OBJECTS, once, OBJECTS * stamp_len, drawn, &error));
    draw_threads(model, sample, objects, threaded, again, stamp_len);
    CHECK(memcmp(once, threaded, OBJECTS * stamp_len * sizeof *once) == 0);
    CHECK(memcmp(drawn, again, sizeof drawn) == 0);
    for (i = 0; i < OBJECTS; ++i) {
        CHECK(drawn[i].id == objects[i].id && drawn[i].status == GALGEN_STATUS_OK);
        CHECK(drawn[i].flux == objects[i].flux * objects[i].magnification);
        CHECK(drawn[i].pixel_scale > 0 && drawn[i].fraction_inside > 0);
        printf("%s %u %016llx\n", name, (unsigned)drawn[i].id,
               (unsigned long long)scene_hash(once + i * stamp_len, stamp_len));
    }
    free(threaded);
    return once;
}

static void print_model(const galgen_model *model) {
    galgen_model_info info = galgen_model_info_default();
    galgen_error error = galgen_error_default();
    const char *card;
    size_t length = 0, i, found = 99;
    OK(galgen_model_get_info(model, &info, &error));
    printf("# %s %s: %ux%u, psf %s, latent %u, %s\n", info.name, info.fingerprint,
           (unsigned)info.side, (unsigned)info.side, info.psf, (unsigned)info.latent, info.simd);
    CHECK(info.stamp_len == info.bands * info.side * info.side);
    for (i = 0; i < info.bands; ++i) {
        CHECK(galgen_model_band(model, i) != NULL && galgen_model_band(model, i)[0] != '\0');
    }
    for (i = 0; i < info.conditions; ++i) {
        galgen_condition c = galgen_condition_default();
        OK(galgen_model_condition(model, i, &c, &error));
        printf("# %s [%s] %g to %g: %s\n", c.name, c.unit, c.minimum, c.maximum, c.description);
        CHECK(c.minimum <= c.maximum && c.deviation > 0);
        OK(galgen_model_find_condition(model, c.name, &found, &error));
        CHECK(found == i);
    }
    card = galgen_model_card(model, &length);
    CHECK(card != NULL && strlen(card) == length && card[0] == '{');
}

static void score(galgen_session *session, const galgen_object *objects, const float *stamps,
                  const galgen_model_info *info) {
    const size_t latent = info->latent, stamp_len = info->stamp_len;
    galgen_error error = galgen_error_default();
    float *conditions = malloc(OBJECTS * (info->conditions + 1) * sizeof *conditions);
    float *means = malloc(OBJECTS * latent * sizeof *means);
    float *log_variances = malloc(OBJECTS * latent * sizeof *log_variances);
    float *decoded = malloc(OBJECTS * stamp_len * sizeof *decoded);
    double *latents = malloc(OBJECTS * latent * sizeof *latents);
    double bounds[OBJECTS], log_probs[OBJECTS], sky[OBJECTS];
    uint64_t ids[OBJECTS];
    galgen_status statuses[OBJECTS];
    uint32_t flags[OBJECTS];
    const size_t conditions_len = OBJECTS * info->conditions;
    size_t i, k;
    for (i = 0; i < OBJECTS; ++i) {
        for (k = 0; k < info->conditions; ++k) {
            conditions[i * info->conditions + k] = objects[i].conditions[k];
        }
        ids[i] = objects[i].id;
        sky[i] = 0.0625;
    }
    OK(galgen_session_log_likelihood(session, SEED, 3, stamps, OBJECTS * stamp_len, conditions,
                                     conditions_len, sky, ids, OBJECTS, bounds, statuses, &error));
    OK(galgen_session_encode(session, stamps, OBJECTS * stamp_len, conditions, conditions_len,
                             OBJECTS, means, log_variances, OBJECTS * latent, flags, statuses,
                             &error));
    OK(galgen_session_decode(session, means, OBJECTS * latent, conditions, conditions_len, OBJECTS,
                             decoded, OBJECTS * stamp_len, flags, statuses, &error));
    for (i = 0; i < OBJECTS * latent; ++i) latents[i] = means[i];
    OK(galgen_session_log_prob_latent(session, latents, OBJECTS * latent, conditions,
                                      conditions_len, OBJECTS, log_probs, statuses, &error));
    for (i = 0; i < OBJECTS; ++i) {
        CHECK(statuses[i] == GALGEN_STATUS_OK);
        printf("log_likelihood %u %.17g\n", (unsigned)ids[i], bounds[i]);
        printf("log_prob_latent %u %.17g\n", (unsigned)ids[i], log_probs[i]);
        printf("encode %u %016llx\n", (unsigned)ids[i],
               (unsigned long long)scene_hash(means + i * latent, latent));
        printf("decode %u %016llx\n", (unsigned)ids[i],
               (unsigned long long)scene_hash(decoded + i * stamp_len, stamp_len));
    }
    free(conditions);
    free(means);
    free(log_variances);
    free(decoded);
    free(latents);
}

/* Square root, so that faint light shows. */
static void write_pgm(const char *path, const float *stamp, size_t side) {
    FILE *file = fopen(path, "wb");
    float brightest = 0;
    size_t i;
    CHECK(file != NULL);
    if (file == NULL) return;
    for (i = 0; i < side * side; ++i) {
        if (stamp[i] > brightest) brightest = stamp[i];
    }
    fprintf(file, "P5\n%u %u\n255\n", (unsigned)side, (unsigned)side);
    for (i = 0; i < side * side; ++i) {
        float share = stamp[i] / brightest, root = share;
        int k;
        for (k = 0; k < 20; ++k) root = 0.5f * (root + share / (root > 1e-6f ? root : 1e-6f));
        fputc((int)(255 * (root < 1 ? root : 1)), file);
    }
    CHECK(fclose(file) == 0);
}

int main(int argc, char **argv) {
    galgen_error error = galgen_error_default();
    galgen_model *model = NULL, *handle;
    galgen_session *session = NULL;
    galgen_model_info info = galgen_model_info_default();
    galgen_object objects[OBJECTS];
    galgen_grid grid = scene_grid();
    galgen_psf psf = scene_psf();
    galgen_noise noise = scene_noise();
    float *native, *frame, *rendered;
    unsigned i;
    if (argc < 2 || GALGEN_CHECK_ABI(&error) != GALGEN_STATUS_OK ||
        galgen_model_open(argv[1], &model, &error) != GALGEN_STATUS_OK) {
        fprintf(stderr, "%s\n", argc < 2 ? "usage: draw MODEL [PICTURE.pgm]" : error.message);
        return 1;
    }
    CHECK(strcmp(galgen_version(), GALGEN_VERSION) == 0);
    print_model(model);
    OK(galgen_model_get_info(model, &info, &error));
    for (i = 0; i < OBJECTS; ++i) objects[i] = scene_object(model, i);

    /* A session and a second handle keep the model alive. */
    OK(galgen_session_new(model, &session, &error));
    handle = galgen_model_clone(model);
    galgen_model_free(model);
    OK(galgen_session_set_grid(session, &grid, &psf, &noise, &error));

    native = draw("native", session, handle, galgen_session_sample_native, objects, info.stamp_len);
    frame = draw("galaxy_frame", session, handle, galgen_session_sample_galaxy_frame, objects,
                 info.stamp_len);
    rendered = draw("rendered", session, handle, galgen_session_sample_rendered, objects,
                    info.bands * grid.width * grid.height);
    score(session, objects, frame, &info);
    if (argc > 2) write_pgm(argv[2], native, info.side);

    galgen_model_free(handle);
    galgen_session_free(session);
    free(native);
    free(frame);
    free(rendered);
    return failures != 0;
}
