/*
 * Runs a command with the system calls of Linux 4.18, which is Red Hat's kernel of RHEL 8:
 *
 *     old COMMAND [ARG]...
 *
 * Every call that came later does not exist (ENOSYS), as with a filter that does not know it. Since 424 new
 * calls have one number on all machines.
 */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <unistd.h>

enum { FIRST = 424 /* pidfd_send_signal(2), Linux 5.1 */, X32 = 0x40000000, NOT_EXECUTED = 127 };

int main(int argc, char **argv)
{
    struct sock_filter instructions[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, X32, 1, 0),
        BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, FIRST, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
    };
    struct sock_fprog filter = {sizeof instructions / sizeof *instructions, instructions};
    if (argc < 2)
        return NOT_EXECUTED;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0)
        execvp(argv[1], argv + 1);
    perror(argv[1]);
    return NOT_EXECUTED;
}
