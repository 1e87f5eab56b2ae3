/*
 * Uses a tree of files several times, and tells what each time took:
 *
 *     tree TIMES walk DIR
 *     tree TIMES read DIR [READERS]
 *     tree TIMES run PROGRAM [ARG]...
 *
 * "walk" asks for the status of everything below DIR, "read" reads every file, by so many processes
 * at once that each read all of it, "run" runs a program. Each time it prints a line: microseconds,
 * files, and the bytes that they say they have or that were read.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* What cp(1) reads at once. */
static char buffer[128 << 10];

static dev_t device;
static int reads;
static long long files, bytes;

static void __attribute__((noreturn)) fail(const char *what)
{
    perror(what);
    exit(1);
}

static void use_file(int directory, const char *name, const struct stat *status)
{
    int file;
    ssize_t count;

    files++;
    if (!reads) {
        bytes += status->st_size;
        return;
    }
    file = openat(directory, name, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        fail(name);
    while ((count = read(file, buffer, sizeof buffer)) > 0)
        bytes += count;
    if (count < 0)
        fail(name);
    close(file);
}

static void use_directory(int descriptor)
{
    DIR *directory = fdopendir(descriptor);
    struct dirent *entry;
    struct stat status;
    int below;

    if (!directory)
        fail("fdopendir");
    while ((entry = readdir(directory))) {
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
            continue;
        if (fstatat(descriptor, entry->d_name, &status, AT_SYMLINK_NOFOLLOW))
            fail(entry->d_name);
        /* Something is mounted there. */
        if (status.st_dev != device)
            continue;
        if (S_ISREG(status.st_mode)) {
            use_file(descriptor, entry->d_name, &status);
        } else if (S_ISDIR(status.st_mode)) {
            below = openat(descriptor, entry->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
            if (below < 0)
                fail(entry->d_name);
            use_directory(below);
        }
    }
    closedir(directory);
}

static void use(const char *path)
{
    int descriptor = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct stat status;

    if (descriptor < 0 || fstat(descriptor, &status))
        fail(path);
    device = status.st_dev;
    use_directory(descriptor);
}

static void wait_for_one(void)
{
    int status;

    if (wait(&status) < 0)
        fail("wait");
    if (status)
        exit(1);
}

/* Others read the same meanwhile; what they read is not counted. */
static void use_together(const char *path, int readers)
{
    for (int other = 1; other < readers; other++) {
        switch (fork()) {
        case -1:
            fail("fork");
        case 0:
            use(path);
            _exit(0);
        }
    }
    use(path);
    for (int other = 1; other < readers; other++)
        wait_for_one();
}

static void run(char **words)
{
    switch (vfork()) {
    case -1:
        fail("vfork");
    case 0:
        execv(words[0], words);
        _exit(127);
    }
    wait_for_one();
}

static double now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1e6 + time.tv_nsec / 1e3;
}

int main(int count, char **words)
{
    double start;

    if (count < 4) {
        fputs("usage: tree TIMES walk|read|run WORD...\n", stderr);
        return 2;
    }
    reads = !strcmp(words[2], "read");
    for (int time = 0; time < atoi(words[1]); time++) {
        files = bytes = 0;
        start = now();
        if (!strcmp(words[2], "run"))
            run(words + 3);
        else
            use_together(words[3], count > 4 ? atoi(words[4]) : 1);
        printf("%.0f %lld %lld\n", now() - start, files, bytes);
        fflush(stdout);
    }
    return 0;
}
