/* Opens the model of plain images given as the first argument, prints its classes, draws an image of each, encodes,
 * decodes, reconstructs and scores them. Hashes and numbers go to standard output. */
#include "check.h"

#include <stdlib.h>
#include <string.h>

enum { SEED = 7, PER_CLASS = 2 };

static uint64_t hash(const float *values, size_t n) {
    uint64_t h = 0xcbf29ce484222325u;
    size_t i, b;
    for (i = 0; i < n; ++i) {
        uint32_t bits;
        memcpy(&bits, values + i, sizeof bits);
        for (b = 0; b < 32; b += 8) h = (h ^ (bits >> b & 255)) * 0x100000001b3u;
    }
    return h;
}

int main(int argc, char **argv) {
    galgen_error error = galgen_error_default();
    galgen_model *model = NULL;
    galgen_session *session = NULL;
    galgen_model_info info = galgen_model_info_default();
    galgen_condition kind = galgen_condition_default();
    float *images, *made, *means, *spreads, *conditions;
    double *scores;
    galgen_object galaxy = galgen_object_default();
    size_t n, len, codes, i;

    CHECK(argc > 1);
    OK(galgen_model_open(argv[1], &model, &error));
    OK(galgen_session_new(model, &session, &error));
    OK(galgen_model_get_info(model, &info, &error));
    OK(galgen_model_condition(model, 0, &kind, &error));
    CHECK(info.half_light_radius == 0 && kind.classes == 3);
    for (i = 0; i < kind.classes; ++i) printf("%s\n", galgen_model_class(model, 0, i));
    CHECK(galgen_model_class(model, 0, 3) == NULL && galgen_model_class(model, 1, 0) == NULL);
    CHECK(galgen_model_class(NULL, 0, 0) == NULL);

    n = PER_CLASS * kind.classes;
    len = n * info.stamp_len;
    codes = n * info.latent;
    images = malloc(len * sizeof *images);
    made = malloc(len * sizeof *made);
    means = malloc(codes * sizeof *means);
    spreads = malloc(codes * sizeof *spreads);
    conditions = malloc(n * sizeof *conditions);
    scores = malloc(n * sizeof *scores);
    for (i = 0; i < n; ++i) conditions[i] = (float)(i % kind.classes);

    OK(galgen_session_sample_images(session, SEED, NULL, conditions, n, n, GALGEN_PIXELS_DRAWN, images, len,
                                    NULL, NULL, &error));
    printf("drawn %016llx\n", (unsigned long long)hash(images, len));
    OK(galgen_session_encode(session, images, len, conditions, n, n, means, spreads, codes, NULL, NULL, &error));
    printf("encoded %016llx\n", (unsigned long long)hash(means, codes));
    OK(galgen_session_decode(session, means, codes, conditions, n, n, made, len, NULL, NULL, &error));
    printf("decoded %016llx\n", (unsigned long long)hash(made, len));
    OK(galgen_session_reconstruct(session, images, len, conditions, n, n, made, len, NULL, NULL, &error));
    printf("reconstructed %016llx\n", (unsigned long long)hash(made, len));
    OK(galgen_session_log_likelihood(session, SEED, 3, images, len, conditions, n, NULL, NULL, n, scores, NULL,
                                     &error));
    for (i = 0; i < n; ++i) printf("%.17g\n", scores[i]);

    /* What goes wrong, and how that is said. */
    conditions[0] = 3;
    CHECK(galgen_session_sample_images(session, SEED, NULL, conditions, n, n, GALGEN_PIXELS_MEAN, images, len,
                                       NULL, NULL, &error) == GALGEN_STATUS_PARTIAL);
    CHECK(strstr(error.message, "a whole number from 0 to 2") != NULL);
    CHECK(images[0] == 0);
    CHECK(galgen_session_sample_images(session, SEED, NULL, conditions, n, n, 2, images, len, NULL, NULL,
                                       &error) == GALGEN_STATUS_ARGUMENT);
    galaxy.condition_count = 1;
    CHECK(galgen_session_sample_native(session, SEED, &galaxy, 1, images, len, NULL, &error) ==
          GALGEN_STATUS_PARTIAL);
    CHECK(strstr(error.message, "plain images") != NULL);

    free(images);
    free(made);
    free(means);
    free(spreads);
    free(conditions);
    free(scores);
    galgen_session_free(session);
    galgen_model_free(model);
    return failures != 0;
}
