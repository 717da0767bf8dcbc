#!/usr/bin/env python3
"""Makes a stand-in for a CUDA library: a static archive of trampolines, and a linker script that lets
`-lNAME` take it (x86-64 Linux, System V calling convention).

A program linked with it needs no CUDA to start. The first call of a function opens the real library
with dlopen and looks the function up; where there is none, the function returns a fixed error code.

usage: lazy-library.py FOLDER NAME SONAME ERROR [COMPANION...] < names of functions, one a line
Companions are libraries that must be open before, from the same folder (cuBLASLt, NVRTC's builtins).

At run time CUDA_LAZY_PATH=DIR:DIR is searched first, and with CUDA_LAZY_TRACE=1 the program says
which library it opened."""

import os
import subprocess
import sys

TRAMPOLINE = """
.globl {function}
.type {function},@function
{function}:
    endbr64
    jmp *{prefix}_table+{offset}(%rip)
.size {function},.-{function}
{prefix}_first{index}:
    pushq ${index}
    jmp {prefix}_enter
"""

# Entered with the function's index on the stack, above the return address of its caller. Keeps every
# register that can carry an argument (%rax counts the vector ones of a variadic call) across resolve.
ARGUMENTS = "rax rdi rsi rdx rcx r8 r9".split()
ENTER = "\n    ".join(
    ["{prefix}_enter:", "pushq %rbp", "movq %rsp,%rbp"]
    + [f"pushq %{r}" for r in ARGUMENTS]
    + ["subq $136,%rsp", "andq $-16,%rsp"]
    + [f"movups %xmm{k},{16 * k}(%rsp)" for k in range(8)]
    + ["movq 8(%rbp),%rdi", "call {prefix}_resolve", "movq %rax,%r11"]
    + [f"movups {16 * k}(%rsp),%xmm{k}" for k in range(8)]
    + [f"movq -{8 * j + 8}(%rbp),%{r}" for j, r in enumerate(ARGUMENTS)]
    + ["movq %rbp,%rsp", "popq %rbp", "addq $8,%rsp", "jmp *%r11"]
)

RESOLVER = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const functions[] = {@FUNCTIONS@};
/* Companions first, the library last. */
static const char *const files[] = {@FILES@};
extern void *@PREFIX@_table[] __attribute__((visibility("hidden")));
static void *library;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static int missing(void) { return @ERROR@; }

static void open_in(const char *folder, size_t length) {
  char path[4096];
  if (library || length > 3900) return;
  for (size_t k = 0; k < sizeof files / sizeof *files; k++) {
    memcpy(path, folder, length);
    if (length) path[length] = '/';
    strcpy(path + length + !!length, files[k]);
    void *handle = dlopen(path, RTLD_NOW | RTLD_GLOBAL);
    if (!strcmp(files[k], "@SONAME@")) library = handle;
  }
  if (library && getenv("CUDA_LAZY_TRACE")) fprintf(stderr, "opened %s\n", path);
}

static void open_library(void) {
  /* The empty folder is the dynamic linker's own search. */
  static const char *const folders[] = {"", "/usr/local/nvidia/lib64", "/usr/local/cuda/lib64",
    "/usr/local/cuda/targets/x86_64-linux/lib", "/usr/lib/x86_64-linux-gnu", "/usr/lib64"};
  for (const char *rest = getenv("CUDA_LAZY_PATH"); rest && *rest;) {
    size_t length = strcspn(rest, ":");
    if (length) open_in(rest, length);
    rest += length + (rest[length] == ':');
  }
  for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) open_in(folders[i], strlen(folders[i]));
  if (!library && getenv("CUDA_LAZY_TRACE")) fprintf(stderr, "found no @SONAME@\n");
}

__attribute__((visibility("hidden"))) void *@PREFIX@_resolve(size_t index) {
  pthread_once(&once, open_library);
  void *function = library ? dlsym(library, functions[index]) : 0;
  if (!function) function = (void *)missing;
  __atomic_store_n(&@PREFIX@_table[index], function, __ATOMIC_RELEASE);
  return function;
}
"""


def assembly(prefix, functions):
    """The functions, each a jump through the table, which at first leads to the resolver."""
    parts = [".text"]
    for index, function in enumerate(functions):
        parts.append(TRAMPOLINE.format(function=function, prefix=prefix, index=index, offset=8 * index))
    parts.append(ENTER.format(prefix=prefix))
    parts += [".data", ".balign 8", f".globl {prefix}_table", f".hidden {prefix}_table", f"{prefix}_table:"]
    parts += [f".quad {prefix}_first{index}" for index in range(len(functions))]
    return "\n".join(parts) + '\n.section .note.GNU-stack,"",@progbits\n'


def resolver(prefix, functions, soname, error, companions):
    """The C function that opens the library and fills the table."""
    strings = lambda names: ", ".join(f'"{name}"' for name in names)
    values = {
        "FUNCTIONS": strings(functions),
        "FILES": strings([*companions, soname]),
        "PREFIX": prefix,
        "ERROR": str(error),
        "SONAME": soname,
    }
    text = RESOLVER
    for key, value in values.items():
        text = text.replace(f"@{key}@", value)
    return text


def main():
    if len(sys.argv) < 5:
        sys.exit(__doc__)
    folder, name, soname, error, *companions = sys.argv[1:]
    functions = sorted(set(sys.stdin.read().split()))
    if not functions:
        sys.exit(f"lazy-library.py: no names of functions for {name} on standard input")
    folder = os.path.abspath(folder)
    os.makedirs(folder, exist_ok=True)
    prefix = f"lazy_{name}"
    base = os.path.join(folder, prefix)
    sources = {
        f"{base}_trampolines.S": assembly(prefix, functions),
        f"{base}_resolver.c": resolver(prefix, functions, soname, int(error), companions),
    }
    objects = []
    for path, text in sources.items():
        with open(path, "w") as file:
            file.write(text)
        objects.append(os.path.splitext(path)[0] + ".o")
        subprocess.check_call(["gcc", "-O2", "-fPIC", "-c", path, "-o", objects[-1]])
    archive = os.path.join(folder, f"lib{prefix}.a")
    if os.path.exists(archive):
        os.remove(archive)
    subprocess.check_call(["ar", "rcs", archive, *objects])
    with open(os.path.join(folder, f"lib{name}.so"), "w") as file:
        file.write(f"/* linker script */ INPUT({archive})\n")


main()
