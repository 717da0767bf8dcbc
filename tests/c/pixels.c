/* Opens the autoregressive model given as the first argument, draws images, scores their pixels, predicts and completes
 * them. Hashes and numbers go to standard output. */
#include "check.h"

#include <stdlib.h>
#include <string.h>

enum { SEED = 7, N = 3 };

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
    float *images, *made, *parameters, conditions[N] = {0, 1, 2};
    double *maps, scores[N];
    unsigned char *given;
    size_t len, each, count, i, j;

    CHECK(argc > 1);
    OK(galgen_model_open(argv[1], &model, &error));
    OK(galgen_session_new(model, &session, &error));
    OK(galgen_model_get_info(model, &info, &error));
    CHECK(info.latent == 0);
    count = galgen_session_pixel_parameter_count(session);
    CHECK(count > 0 && galgen_session_pixel_parameter_count(NULL) == 0);

    each = info.stamp_len;
    len = N * each;
    images = malloc(len * sizeof *images);
    made = malloc(len * sizeof *made);
    parameters = malloc(count * len * sizeof *parameters);
    maps = malloc(len * sizeof *maps);
    given = malloc(len);
    for (i = 0; i < len; ++i) given[i] = i % each < each / 2;

    OK(galgen_session_sample_images(session, SEED, NULL, conditions, N, N, GALGEN_PIXELS_DRAWN, images, len,
                                    NULL, NULL, &error));
    printf("drawn %016llx\n", (unsigned long long)hash(images, len));
    OK(galgen_session_reconstruct(session, images, len, conditions, N, N, made, len, NULL, NULL, &error));
    printf("predicted %016llx\n", (unsigned long long)hash(made, len));
    OK(galgen_session_pixel_parameters(session, images, len, conditions, N, N, parameters, count * len, NULL,
                                       NULL, &error));
    printf("parameters %016llx\n", (unsigned long long)hash(parameters, count * len));
    OK(galgen_session_complete(session, SEED + 1, NULL, images, len, given, len, conditions, N, N, made, len,
                               NULL, NULL, &error));
    printf("completed %016llx\n", (unsigned long long)hash(made, len));
    for (i = 0; i < len; ++i) CHECK(!given[i] || made[i] == images[i]);
    OK(galgen_session_pixel_log_likelihoods(session, images, len, conditions, N, N, maps, len, NULL, NULL,
                                            &error));
    OK(galgen_session_log_likelihood(session, 0, 1, images, len, conditions, N, NULL, NULL, N, scores, NULL,
                                     &error));
    for (i = 0; i < N; ++i) {
        double sum = 0;
        for (j = 0; j < each; ++j) sum += maps[i * each + j];
        CHECK(sum == scores[i]);
        printf("%.17g\n", scores[i]);
    }

    /* What goes wrong, and how that is said. */
    CHECK(galgen_session_encode(session, images, len, conditions, N, N, made, made, 0, NULL, NULL, &error) ==
          GALGEN_STATUS_PARTIAL);
    CHECK(strstr(error.message, "no latent") != NULL);
    images[0] = 0.3f;
    CHECK(galgen_session_pixel_log_likelihoods(session, images, len, conditions, N, N, maps, len, NULL, NULL,
                                               &error) == GALGEN_STATUS_PARTIAL);
    CHECK(strstr(error.message, "a level of the model") != NULL);
    CHECK(maps[0] != maps[0] && maps[each] == maps[each]);
    CHECK(galgen_session_complete(session, SEED, NULL, images, len, given, len - 1, conditions, N, N, made, len,
                                  NULL, NULL, &error) == GALGEN_STATUS_LENGTH);

    free(images);
    free(made);
    free(parameters);
    free(maps);
    free(given);
    galgen_session_free(session);
    galgen_model_free(model);
    return failures != 0;
}
