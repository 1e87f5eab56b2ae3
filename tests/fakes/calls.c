/*
 * Makes system calls and prints what comes of each: calls [NAME]...
 *
 * A line a call: its number, its name, its arguments, and 0, an error number, or signal NUMBER. The
 * arguments are such that the kernel refuses the call, but for a few that do no harm, and mostly with
 * another error than a filter would give. Calls named int80-* are made as a 32-bit program makes them,
 * those named x32-* as one of the x32 kind. Only for x86-64.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { NATIVE, INT80, X32 };

static const struct call {
    const char *name;
    long number;
    long arguments[6];
    int kind;
} calls[] = {
#define CALL(name, ...) {#name, SYS_##name, {__VA_ARGS__}, NATIVE}
    CALL(read, -1), CALL(write, -1), CALL(close, -1), CALL(openat, -1, 0), CALL(getpid, 0),
    CALL(chown, 0), CALL(kill, 0, -1), CALL(setuid, -1), CALL(mknod, 0, S_IFCHR), CALL(chroot, 0),
    CALL(acct, 1), CALL(add_key, 0), CALL(keyctl, -1), CALL(request_key, 0), CALL(bpf, -1),
    CALL(clock_settime, -1), CALL(clock_adjtime, -1), CALL(adjtimex, 0), CALL(settimeofday, 1),
    CALL(create_module, 0), CALL(init_module, 0), CALL(finit_module, -1), CALL(delete_module, 0),
    CALL(fanotify_init, -1), CALL(get_mempolicy, 1, 0, 0, 0, -1), CALL(mbind, 1), CALL(ioperm, -1, 1),
    CALL(iopl, 4), CALL(io_uring_setup, 0), CALL(kcmp, -1, -1), CALL(kexec_load, 0, 0, 0, -1),
    CALL(kexec_file_load, -1), CALL(lookup_dcookie, 0), CALL(mount, 0), CALL(umount2, 0, -1),
    CALL(pivot_root, 0), CALL(name_to_handle_at, -1, 0), CALL(open_by_handle_at, -1, 0),
    CALL(perf_event_open, 0), CALL(process_vm_readv, -1, 0, 0, 0, 0, 1), CALL(ptrace, 16, -1),
    CALL(quotactl, -1), CALL(reboot, 0), CALL(sethostname, 0, -1), CALL(setdomainname, 0, -1),
    CALL(setns, -1), CALL(unshare, 1), CALL(swapon, 0), CALL(swapoff, 0), CALL(sysfs, -1),
    CALL(syslog, -1), CALL(userfaultfd, -1), CALL(vhangup, 0), CALL(uselib, 0), CALL(ustat, 0),
    CALL(modify_ldt, -1), CALL(arch_prctl, -1), CALL(clone3, 0), CALL(openat2, -1, 0, 0, 1),
    CALL(pidfd_open, -1), CALL(pidfd_getfd, -1), CALL(open_tree, -1, 0), CALL(fsopen, 0, -1),
    CALL(mount_setattr, -1, 0, -1), CALL(memfd_create, 0), CALL(statx, -1, 0), CALL(membarrier, -1),
    CALL(copy_file_range, -1, 0, -1), CALL(faccessat2, -1, 0, -1), CALL(seccomp, -1),
    /* Where arguments count. CLONE_SIGHAND without CLONE_VM is refused by every kernel. */
    CALL(clone, CLONE_SIGHAND), CALL(clone, CLONE_SIGHAND | CLONE_NEWUSER),
    CALL(clone, CLONE_SIGHAND | CLONE_NEWNS), CALL(clone, CLONE_SIGHAND | CLONE_NEWCGROUP | CLONE_VFORK),
    CALL(personality, 0xffffffff), CALL(personality, 0), CALL(personality, 8), CALL(personality, 0x42),
    CALL(socket, 1, 2), CALL(socket, 40, 1), CALL(socket, 16, 3, 9), CALL(socket, 16, 3, 0),
    /* Numbers of asm/unistd_32.h. */
    {"int80-getpid", 20, {0}, INT80},         {"int80-mount", 21, {0}, INT80},
    {"int80-chown32", 212, {0}, INT80},       {"int80-setuid32", 213, {-1}, INT80},
    {"int80-kexec_load", 283, {0}, INT80},    {"int80-ptrace", 26, {16, -1}, INT80},
    {"int80-mknod", 14, {0, S_IFCHR}, INT80}, {"int80-swapon", 87, {0}, INT80},
    /* socketcall(SOCKET), (BIND), (SEND), and ipc(SHMGET), (SEMGET), of two versions. */
    {"int80-socketcall", 102, {1, 0}, INT80}, {"int80-socketcall", 102, {2, 0}, INT80},
    {"int80-socketcall", 102, {9, 0}, INT80}, {"int80-ipc", 117, {23, -1}, INT80},
    {"int80-ipc", 117, {1 << 16 | 23, -1}, INT80}, {"int80-ipc", 117, {2, -1, -1}, INT80},
    {"x32-getpid", 0x40000000 | SYS_getpid, {0}, X32},
};

static long int80(long number, const long a[6])
{
    long result;
    __asm__ volatile("int $0x80"
                     : "=a"(result)
                     : "a"(number), "b"(a[0]), "c"(a[1]), "d"(a[2]), "S"(a[3]), "D"(a[4])
                     : "memory", "r8", "r9", "r10", "r11");
    /* As from a 32-bit program: a result of 32 bits. */
    return (int)result;
}

static int try(const struct call *call)
{
    const long *a = call->arguments;
    if (call->kind == INT80) {
        long result = int80(call->number, a);
        return result < 0 && result > -4096 ? (int)-result : 0;
    }
    return syscall(call->number, a[0], a[1], a[2], a[3], a[4], a[5]) == -1 ? errno : 0;
}

static int is_wanted(const char *name, char **names)
{
    for (char **wanted = names; *wanted; wanted++)
        if (!strcmp(name, *wanted))
            return 1;
    return !*names;
}

int main(int argc, char **argv)
{
    (void)argc;
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        const struct call *call = &calls[i];
        if (!is_wanted(call->name, argv + 1))
            continue;
        int status;
        pid_t child = fork();
        if (child == 0)
            _exit(try(call));
        if (child < 0 || waitpid(child, &status, 0) != child)
            return 1;
        printf("%ld %s", call->number, call->name);
        for (int argument = 0; argument < 6; argument++)
            printf(" %lu", (unsigned long)call->arguments[argument]);
        if (WIFSIGNALED(status))
            printf(" signal %d\n", WTERMSIG(status));
        else
            printf(" %d\n", WEXITSTATUS(status));
        fflush(stdout);
    }
    return 0;
}
