/* Draws a stamp of 16 x 16 pixels through the library without std, and writes it to standard output. */
#include <stdint.h>
#include <stdio.h>

void galgen_no_std_memory(void *memory, size_t length);
void galgen_no_std_usage(size_t *used, size_t *peak);
int galgen_no_std_draw(const uint8_t *model, size_t length, uint64_t seed, uint64_t id,
                       float *stamp, size_t stamp_len);

int main(int argc, char **argv) {
    static uint8_t model[1 << 20];
    static float stamp[256];
    /* All the memory that the library will ever have, aligned. */
    static union {
        long double align;
        uint8_t bytes[1 << 20];
    } memory;
    size_t used, peak;
    FILE *file = argc > 1 ? fopen(argv[1], "rb") : NULL;
    size_t length;
    int status;
    if (file == NULL) return 10;
    length = fread(model, 1, sizeof model, file);
    fclose(file);
    galgen_no_std_memory(&memory, sizeof memory);
    status = galgen_no_std_draw(model, length, 7, 42, stamp, 256);
    galgen_no_std_usage(&used, &peak);
    if (status == 0 && used != 0) status = 11;
    fprintf(stderr, "memory at most: %lu bytes\n", (unsigned long)peak);
    if (status == 0) fwrite(stamp, sizeof *stamp, 256, stdout);
    return status;
}
