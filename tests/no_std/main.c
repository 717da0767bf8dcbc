/* Draws a stamp of 16 x 16 pixels through the library without std, and writes it to standard output. */
#include <stdint.h>
#include <stdio.h>

int galgen_no_std_draw(const uint8_t *model, size_t length, uint64_t seed, uint64_t id,
                       float *stamp, size_t stamp_len);

int main(int argc, char **argv) {
    static uint8_t model[1 << 20];
    static float stamp[256];
    FILE *file = argc > 1 ? fopen(argv[1], "rb") : NULL;
    size_t length;
    int status;
    if (file == NULL) return 10;
    length = fread(model, 1, sizeof model, file);
    fclose(file);
    status = galgen_no_std_draw(model, length, 7, 42, stamp, 256);
    if (status == 0) fwrite(stamp, sizeof *stamp, 256, stdout);
    return status;
}
