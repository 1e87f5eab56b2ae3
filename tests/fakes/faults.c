/* Lets a system call of a program fail, or kills the program at it.
 *
 *     faults REPORT PROCESS NUMBER FAULT SECONDS COMMAND [ARG]...
 *
 * COMMAND is started and every system call of it and of what it starts is counted. PROCESS is which
 * of these processes is meant, 0 for the first, or "all" for one count over all of them. Its call
 * NUMBER (from 1) fails with the errno FAULT without being made (but for close), or the process is killed there if
 * FAULT is "kill". From then on everything runs untouched. A program that one of these processes
 * executes is no longer looked at: it is what hrun was to become, or what himage has started. Calls
 * that no kernel lets fail are not counted.
 *
 * REPORT gets one line: the number of the call, or -1 if there was no such call; then "exit STATUS",
 * "signal NUMBER", or "hang" if COMMAND had not ended after SECONDS, in which case all is killed.
 */
#include <elf.h>
#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <linux/ptrace.h>
#include <unistd.h>

#define MOST 4096

enum state { UNSEEN, SEEN, FAILING, FREE };

struct tracee {
    pid_t pid;
    enum state state;
    int order;
};

static struct tracee tracees[MOST];
static int count, born;
static long hit = -1;
static int done;
static volatile sig_atomic_t is_late;

static void fail(const char *what)
{
    perror(what);
    exit(99);
}

static void on_alarm(int signal)
{
    (void)signal;
    is_late = 1;
}

static struct tracee *find(pid_t pid)
{
    for (int i = 0; i < count; i++)
        if (tracees[i].pid == pid)
            return &tracees[i];
    if (count == MOST) {
        errno = ENOSPC;
        fail("tracees");
    }
    tracees[count] = (struct tracee){pid, UNSEEN, born++};
    return &tracees[count++];
}

static void forget(pid_t pid)
{
    for (int i = 0; i < count; i++)
        if (tracees[i].pid == pid)
            tracees[i] = tracees[--count];
}

static void let_go(struct tracee *it, int signal)
{
    it->state = FREE;
    ptrace(PTRACE_DETACH, it->pid, NULL, (void *)(long)signal);
}

/* Registers of the x86-64: a call with no number is not made. */
static void set_call(pid_t pid, long number, long result)
{
    struct user_regs_struct registers;
    struct iovec data = {&registers, sizeof registers};
    if (ptrace(PTRACE_GETREGSET, pid, (void *)NT_PRSTATUS, &data) < 0)
        return;
    if (number < 0)
        registers.orig_rax = (unsigned long)number;
    else
        registers.rax = (unsigned long)result;
    ptrace(PTRACE_SETREGSET, pid, (void *)NT_PRSTATUS, &data);
}

/* Whether a call can fail; none of those that the C library takes for granted. */
static int can_fail(long call)
{
    return call != SYS_brk && call != SYS_arch_prctl && call != SYS_exit &&
           call != SYS_exit_group && call != SYS_rt_sigreturn && call != SYS_umask &&
           call != SYS_futex && call != SYS_rseq;
}

int main(int argc, char **argv)
{
    if (argc < 7)
        return 99;
    int wanted = strcmp(argv[2], "all") ? atoi(argv[2]) : -1;
    long at = atol(argv[3]), made = 0;
    int fault = strcmp(argv[4], "kill") ? atoi(argv[4]) : 0;
    FILE *report = fopen(argv[1], "we");
    if (!report)
        fail(argv[1]);
    struct sigaction action = {.sa_handler = on_alarm};
    sigaction(SIGALRM, &action, NULL);

    pid_t first = fork();
    if (first < 0)
        fail("fork");
    if (first == 0) {
        ptrace(PTRACE_TRACEME, 0, NULL, NULL);
        raise(SIGSTOP);
        execv(argv[6], argv + 6);
        fail(argv[6]);
    }
    int status, is_running = 0;
    if (waitpid(first, &status, 0) < 0 || !WIFSTOPPED(status))
        fail("start");
    long options = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEEXEC | PTRACE_O_TRACEFORK |
                   PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE;
    ptrace(PTRACE_SETOPTIONS, first, NULL, (void *)options);
    find(first)->state = SEEN;
    ptrace(PTRACE_SYSCALL, first, NULL, NULL);
    alarm((unsigned)atoi(argv[5]));

    for (;;) {
        pid_t pid = waitpid(-1, &status, __WALL);
        if (is_late) {
            fprintf(report, "%ld hang\n", hit);
            for (int i = 0; i < count; i++)
                kill(tracees[i].pid, SIGKILL);
            kill(first, SIGKILL);
            return 0;
        }
        if (pid < 0 && errno == EINTR)
            continue;
        if (pid < 0)
            fail("waitpid");
        if (WIFEXITED(status) || WIFSIGNALED(status)) {
            if (pid == first) {
                const char *how = WIFEXITED(status) ? "exit" : "signal";
                fprintf(report, "%ld %s %d\n", hit, how,
                        WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
                return 0;
            }
            forget(pid);
            continue;
        }
        struct tracee *it = find(pid);
        int signal = WSTOPSIG(status), event = status >> 16;
        if (event == PTRACE_EVENT_EXEC) {
            /* The first of all is COMMAND itself. */
            if (pid != first || is_running) {
                let_go(it, 0);
                continue;
            }
            is_running = 1;
        }
        if (event || (it->state == UNSEEN && signal == SIGSTOP))
            signal = 0;
        if (it->state == UNSEEN)
            it->state = SEEN;
        if (done && it->state != FAILING) {
            let_go(it, signal == (SIGTRAP | 0x80) ? 0 : signal);
            continue;
        }
        if (signal != (SIGTRAP | 0x80)) {
            ptrace(PTRACE_SYSCALL, pid, NULL, (void *)(long)signal);
            continue;
        }
        if (it->state == FAILING) {
            set_call(pid, 0, -fault);
            let_go(it, 0);
            continue;
        }
        struct ptrace_syscall_info info;
        ptrace(PTRACE_GET_SYSCALL_INFO, pid, (void *)sizeof info, &info);
        long call = (long)info.entry.nr;
        int counts = info.op == PTRACE_SYSCALL_INFO_ENTRY && is_running &&
                     (wanted < 0 || it->order == wanted) && can_fail(call);
        if (counts && ++made == at) {
            hit = call;
            done = 1;
            if (fault) {
                it->state = FAILING;
                /* Whatever it says, a descriptor is closed then (close(2)). */
                if (call != SYS_close)
                    set_call(pid, -1, 0);
            } else {
                kill(pid, SIGKILL);
            }
        }
        ptrace(PTRACE_SYSCALL, pid, NULL, NULL);
    }
}
