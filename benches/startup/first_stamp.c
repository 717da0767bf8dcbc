/* From the start of a process to its first stamp, and the memory that it then holds.
 * Usage: first_stamp MODEL [RUNS] */
#define _POSIX_C_SOURCE 200809L
#include <galgen.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                        \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

typedef struct {
    double opened, drawn; /* seconds on the monotonic clock */
    long peak, resident;  /* kB */
} report;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* A line of what the system knows of this process, in kB: VmHWM, the largest resident set so far; VmRSS. */
static long resident(const char *name) {
    FILE *file = fopen("/proc/self/status", "r");
    char line[128];
    long found = 0;
    CHECK(file != NULL);
    while (fgets(line, sizeof line, file) != NULL) {
        if (strncmp(line, name, 5) == 0) found = strtol(line + 6, NULL, 10);
    }
    fclose(file);
    return found;
}

/* The process that is measured: writes a report to standard output. */
static int child(const char *path) {
    galgen_model *model = NULL;
    galgen_session *session = NULL;
    galgen_model_info info = galgen_model_info_default();
    galgen_object object = galgen_object_default();
    galgen_drawn drawn = galgen_drawn_default();
    report r;
    float *stamp;
    CHECK(galgen_model_open(path, &model, NULL) == GALGEN_STATUS_OK);
    CHECK(galgen_model_get_info(model, &info, NULL) == GALGEN_STATUS_OK);
    CHECK(galgen_session_new(model, &session, NULL) == GALGEN_STATUS_OK);
    r.opened = now();
    stamp = malloc(sizeof *stamp * info.stamp_len);
    CHECK(stamp != NULL);
    object.id = 1;
    object.condition_count = 2;
    object.conditions[0] = 0.5f;
    object.conditions[1] = 3.0f;
    CHECK(galgen_session_sample_native(session, 0, &object, 1, stamp, info.stamp_len, &drawn,
                                       NULL) == GALGEN_STATUS_OK);
    r.drawn = now();
    r.peak = resident("VmHWM");
    r.resident = resident("VmRSS");
    CHECK(write(1, &r, sizeof r) == (ssize_t)sizeof r);
    return 0;
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv) {
    int runs = argc > 2 ? atoi(argv[2]) : 100, i;
    struct stat file;
    double *opened, *drawn;
    long peak = 0, most = 0;
    if (argc > 2 && strcmp(argv[2], "child") == 0) return child(argv[1]);
    CHECK(argc > 1 && runs > 0 && stat(argv[1], &file) == 0);
    opened = malloc(sizeof *opened * (size_t)runs);
    drawn = malloc(sizeof *drawn * (size_t)runs);
    CHECK(opened != NULL && drawn != NULL);
    for (i = 0; i < runs; ++i) {
        int pipes[2];
        pid_t pid;
        report r;
        double start;
        CHECK(pipe(pipes) == 0);
        start = now();
        pid = fork();
        CHECK(pid >= 0);
        if (pid == 0) {
            dup2(pipes[1], 1);
            execl(argv[0], argv[0], argv[1], "child", (char *)NULL);
            _exit(127);
        }
        close(pipes[1]);
        CHECK(read(pipes[0], &r, sizeof r) == (ssize_t)sizeof r);
        close(pipes[0]);
        CHECK(waitpid(pid, NULL, 0) == pid);
        opened[i] = 1e3 * (r.opened - start);
        drawn[i] = 1e3 * (r.drawn - start);
        if (r.peak > peak) peak = r.peak;
        if (r.resident > most) most = r.resident;
    }
    qsort(opened, (size_t)runs, sizeof *opened, ascending);
    qsort(drawn, (size_t)runs, sizeof *drawn, ascending);
    printf("start to open session: median %.2f ms, fastest %.2f ms of %d runs\n", opened[runs / 2], opened[0], runs);
    printf("start to first stamp:  median %.2f ms, fastest %.2f ms\n", drawn[runs / 2], drawn[0]);
    printf("resident: %ld kB, %.2f times the model's file of %ld kB; while it loads %ld kB, %.2f times\n",
           most, 1024.0 * (double)most / (double)file.st_size, (long)(file.st_size / 1024), peak,
           1024.0 * (double)peak / (double)file.st_size);
    free(opened);
    free(drawn);
    return 0;
}
