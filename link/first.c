/* The functions of a static program in the order in which a run first enters them.
 *
 *     first MAP PROGRAM [ARG]...
 *
 * Runs PROGRAM one instruction at a time until it executes another program, and writes the symbol
 * names of what it ran, one per line. MAP is the linker's (lld --no-demangle -Map) of PROGRAM, which
 * itself may be stripped.
 *
 * cc -O1 -o first first.c
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

struct function {
    unsigned long start, size;
    char *name;
    bool entered;
};

static struct function *functions;
static size_t count;

static void check(long result, const char *what)
{
    if (result < 0) {
        perror(what);
        exit(1);
    }
}

static int by_start(const void *left, const void *right)
{
    const struct function *a = left, *b = right;
    return a->start < b->start ? -1 : a->start > b->start;
}

/* Columns: address, load address, size, alignment; then a section, a file's part or a symbol, each
 * indented further than the one before. */
static void read_map(const char *path)
{
    static char line[1 << 16];
    FILE *map = fopen(path, "r");
    if (!map)
        check(-1, path);
    while (fgets(line, sizeof line, map)) {
        unsigned long start, size;
        int name = 0;
        if (sscanf(line, "%lx %*x %lx %*d %n", &start, &size, &name) != 2 || !name || !size)
            continue;
        /* Not ".text", nor "file.o:(.text.name)". */
        if (line[name] == '.' || strchr(line + name, '('))
            continue;
        line[strcspn(line, "\n")] = 0;
        functions = realloc(functions, (count + 1) * sizeof *functions);
        functions[count++] = (struct function){ start, size, strdup(line + name), false };
    }
    fclose(map);
    qsort(functions, count, sizeof *functions, by_start);
}

/* Names that share a start are all written: which of them orders the section is the linker's to
 * know. */
static void enter(unsigned long address)
{
    size_t low = 0, high = count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (functions[middle].start <= address)
            low = middle + 1;
        else
            high = middle;
    }
    while (low-- && address < functions[low].start + functions[low].size) {
        if (functions[low].entered)
            return;
        functions[low].entered = true;
        puts(functions[low].name);
    }
}

int main(int argc, char **argv)
{
    if (argc < 3) {
        fputs("usage: first MAP PROGRAM [ARG]...\n", stderr);
        return 2;
    }
    read_map(argv[1]);
    pid_t child = fork();
    check(child, "fork");
    if (!child) {
        ptrace(PTRACE_TRACEME);
        execv(argv[2], argv + 2);
        check(-1, argv[2]);
    }
    int status;
    check(waitpid(child, &status, 0), "waitpid");
    check(ptrace(PTRACE_SETOPTIONS, child, 0, PTRACE_O_TRACEEXEC), "ptrace");
    while (WIFSTOPPED(status) && status >> 8 != (SIGTRAP | PTRACE_EVENT_EXEC << 8)) {
        struct user_regs_struct registers;
        check(ptrace(PTRACE_GETREGS, child, 0, &registers), "ptrace");
        enter(registers.rip);
        check(ptrace(PTRACE_SINGLESTEP, child, 0, 0), "ptrace");
        check(waitpid(child, &status, 0), "waitpid");
    }
    if (WIFSTOPPED(status))
        ptrace(PTRACE_DETACH, child, 0, 0);
    while (WIFSTOPPED(status))
        waitpid(child, &status, 0);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : 1;
}
