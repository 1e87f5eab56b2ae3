/* The floor under every start: the system calls of a plan and nothing else.
 *
 * The benchmark passes the steps of a real plan as arguments, so this program makes the same
 * namespaces, files and mounts as hrun without looking, deciding or checking anything:
 *
 *     floor STEP... -- COMMAND [ARG]...
 *     STEP: t TARGET | d DIR | f FILE CONTENTS | b SOURCE TARGET | o TARGET OPTIONS
 *           r TARGET | e ROOT | l | c DIR
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

static void put(const char *path, int flags, const char *text)
{
    int file = open(path, O_WRONLY | O_CLOEXEC | flags, 0444);
    check(file, path);
    check(write(file, text, strlen(text)), path);
}

int main(int argc, char **argv)
{
    struct mount_attr read_only = {.attr_set = MOUNT_ATTR_RDONLY};
    char map[64];
    unsigned user = geteuid(), group = getegid();
    int i = 1;

    check(unshare(CLONE_NEWUSER | CLONE_NEWNS), "unshare");
    put("/proc/self/setgroups", 0, "deny");
    snprintf(map, sizeof map, "%u %u 1", user, user);
    put("/proc/self/uid_map", 0, map);
    snprintf(map, sizeof map, "%u %u 1", group, group);
    put("/proc/self/gid_map", 0, map);

    for (; i < argc && strcmp(argv[i], "--"); i++) {
        char **arg = argv + i + 1;
        int root;
        switch (argv[i][0]) {
        case 't':
            check(mount("tmpfs", arg[0], "tmpfs", MS_NOSUID | MS_NODEV, "mode=755"), arg[0]);
            i += 1;
            break;
        case 'd':
            check(mkdir(arg[0], 0755), arg[0]);
            i += 1;
            break;
        case 'f':
            if (arg[1][0])
                put(arg[0], O_CREAT | O_EXCL, arg[1]);
            else
                check(mknod(arg[0], S_IFREG | 0644, 0), arg[0]);
            i += 2;
            break;
        case 'b':
            check(mount(arg[0], arg[1], NULL, MS_BIND | MS_REC, NULL), arg[1]);
            i += 2;
            break;
        case 'o':
            check(mount("overlay", arg[0], "overlay", MS_RDONLY | MS_NOSUID | MS_NODEV, arg[1]), arg[0]);
            i += 2;
            break;
        case 'r':
            check(syscall(SYS_mount_setattr, AT_FDCWD, arg[0], AT_RECURSIVE, &read_only, sizeof read_only), arg[0]);
            i += 1;
            break;
        case 'e':
            root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
            check(root, "/");
            check(syscall(SYS_pivot_root, arg[0], arg[0]), "pivot_root");
            check(fchdir(root), "fchdir");
            i += 1;
            break;
        case 'l':
            check(umount2(".", MNT_DETACH), "umount2");
            break;
        case 'c':
            check(chdir(arg[0]), arg[0]);
            i += 1;
            break;
        }
    }
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    check(execvp(argv[i + 1], argv + i + 1), argv[i + 1]);
}
