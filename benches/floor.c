/* The floor under every start: the system calls of a plan and nothing else.
 *
 * The benchmark passes the steps of a real plan as arguments, so this program makes the same
 * namespaces, files and mounts as hrun without looking, deciding or checking anything:
 *
 *     floor [STEP]... -- PROGRAM [ARG]...
 *
 *     t TARGET OPTIONS      tmpfs             d DIR MODE            directory
 *     b|B SOURCE TARGET     bind, B alone     f FILE MODE CONTENTS  file
 *     o|O TARGET OPTIONS    overlay, O rw     y LINK TARGET         symbolic link
 *     r|R TARGET            read-only         u TARGET              unmount
 *     e ROOT                enter the root    l                     leave the old one
 *     c DIR                 start directory   m FILE                join the first member of a meeting
 *
 * Without a step it only executes PROGRAM: what starting one more static program costs.
 *
 * cc -O2 -static -o floor floor.c
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/mount.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static void check(long result, const char *what)
{
    if (result < 0) {
        perror(what);
        exit(125);
    }
}

static void put(const char *path, int flags, mode_t mode, const char *text)
{
    int file = open(path, O_WRONLY | O_CLOEXEC | flags, mode);
    check(file, path);
    check(write(file, text, strlen(text)), path);
}

static void make_file(const char *path, mode_t mode, const char *contents)
{
    if (*contents)
        put(path, O_CREAT | O_EXCL, mode, contents);
    else
        check(mknod(path, S_IFREG | mode, 0), path);
}

static void unshare_all(void)
{
    char map[64];
    unsigned user = geteuid(), group = getegid();

    check(unshare(CLONE_NEWUSER | CLONE_NEWNS), "unshare");
    put("/proc/self/setgroups", 0, 0, "deny");
    snprintf(map, sizeof map, "%u %u 1", user, user);
    put("/proc/self/uid_map", 0, 0, map);
    snprintf(map, sizeof map, "%u %u 1", group, group);
    put("/proc/self/gid_map", 0, 0, map);
}

static void read_only(const char *target, int flags)
{
    struct mount_attr attributes = {.attr_set = MOUNT_ATTR_RDONLY};
    check(syscall(SYS_mount_setattr, AT_FDCWD, target, flags, &attributes, sizeof attributes), target);
}

/* The host's root becomes the current directory: sources of mounts are relative to it. */
static void enter(const char *root)
{
    int host = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    check(host, "/");
    check(syscall(SYS_pivot_root, root, root), "pivot_root");
    check(fchdir(host), "fchdir");
}

static mode_t octal(const char *digits)
{
    return strtoul(digits, NULL, 8);
}

static void join(long pid, const char *name, int kind)
{
    char path[64];

    snprintf(path, sizeof path, "/proc/%ld/ns/%s", pid, name);
    int namespace = open(path, O_RDONLY | O_CLOEXEC);
    check(namespace, path);
    check(setns(namespace, kind), path);
}

/* Joins the first member and writes a line, always the second, so that the file does not grow. */
static void meet(const char *path)
{
    char member[64], line[64];
    int file = open(path, O_RDWR | O_CLOEXEC);

    check(file, path);
    check(flock(file, LOCK_SH), path);
    check(pread(file, member, sizeof member, 0), path);
    long pid = strtol(member, NULL, 16);
    join(pid, "user", CLONE_NEWUSER);
    join(pid, "mnt", CLONE_NEWNS);
    memset(line, ' ', sizeof line);
    line[sizeof line - 1] = '\n';
    line[snprintf(line, sizeof line - 1, "%x 0 0 0 0 0", getpid())] = ' ';
    check(pwrite(file, line, sizeof line, sizeof member), path);
    close(file);
}

/* Takes one step; the result is the number of its arguments. */
static int take(char step, char **arg)
{
    const unsigned long memory = MS_NOSUID | MS_NODEV;
    const char *target = arg[0];

    switch (step) {
    case 't': check(mount("tmpfs", target, "tmpfs", memory, arg[1]), target); return 2;
    case 'b': check(mount(target, arg[1], NULL, MS_BIND | MS_REC, NULL), arg[1]); return 2;
    case 'B': check(mount(target, arg[1], NULL, MS_BIND, NULL), arg[1]); return 2;
    case 'o': check(mount("overlay", target, "overlay", memory | MS_RDONLY, arg[1]), target); return 2;
    case 'O': check(mount("overlay", target, "overlay", memory, arg[1]), target); return 2;
    case 'd': check(mkdir(target, octal(arg[1])), target); return 2;
    case 'f': make_file(target, octal(arg[1]), arg[2]); return 3;
    case 'y': check(symlink(arg[1], target), target); return 2;
    case 'r': read_only(target, AT_RECURSIVE); return 1;
    case 'R': read_only(target, 0); return 1;
    case 'u': check(umount2(target, MNT_DETACH), target); return 1;
    case 'e': enter(target); return 1;
    case 'l': check(umount2(".", MNT_DETACH), "umount2"); return 0;
    case 'c': check(chdir(target), target); return 1;
    case 'm': meet(target); return 1;
    }
    fprintf(stderr, "floor: unknown step %c\n", step);
    exit(125);
}

int main(int argc, char **argv)
{
    int i = 1;

    if (argc < 3)
        return 125;
    if (strcmp(argv[i], "--") && strcmp(argv[i], "m"))
        unshare_all();
    while (i < argc && strcmp(argv[i], "--")) {
        char step = argv[i][0];
        i += 1 + take(step, argv + i + 1);
    }
    check(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl");
    execv(argv[i + 1], argv + i + 1);
    check(-1, argv[i + 1]);
}
