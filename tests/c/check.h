/* Tests that count: CHECK goes on after a failure, and main returns `failures != 0`. */
#ifndef GALGEN_TEST_CHECK_H
#define GALGEN_TEST_CHECK_H

#include <galgen.h>
#include <stdio.h>
#include <string.h>

static int failures = 0;

#define CHECK(condition) \
    ((condition) ? (void)0 \
                 : (void)(++failures, fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, \
                                              #condition)))

/* The status, and a part of the text that names the thing. */
static inline void check_fails(int line, galgen_status found, galgen_status expected,
                               const galgen_error *error, const char *text) {
    if (found != expected || error->code != expected || strstr(error->message, text) == NULL) {
        fprintf(stderr, "line %d: found %d `%s`, expected %d with `%s`\n", line, (int)found,
                error->message, (int)expected, text);
        ++failures;
    }
}

#define FAILS(status, text, call) check_fails(__LINE__, (call), status, &error, text)

#define OK(call) \
    do { \
        if ((call) != GALGEN_STATUS_OK) { \
            fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #call, error.message); \
            ++failures; \
        } \
    } while (0)

#endif
