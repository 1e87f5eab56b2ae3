/*
 * Runs a program as if it had been set-user-ID: secure PROGRAM [ARG]...
 *
 * Where no_new_privs is set, or the program's owner is outside of the user namespace, the kernel
 * heeds no such bit. What it tells the program is one entry of the auxiliary vector (getauxval(3)),
 * and a tracer can write that before the dynamic loader reads it. Only for x86-64.
 */
#include <elf.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/types.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

enum { NOT_TRACED = 125, NOT_EXECUTED = 127 };

static void fail(const char *what, int status)
{
    perror(what);
    exit(status);
}

static long word_at(pid_t child, unsigned long address)
{
    return ptrace(PTRACE_PEEKDATA, child, (void *)address, NULL);
}

/* At the start of a program the stack holds argc, the arguments and a null, the environment and a
 * null, and the auxiliary vector in pairs. */
static void make_secure(pid_t child)
{
    struct user_regs_struct registers;
    if (ptrace(PTRACE_GETREGS, child, NULL, &registers) < 0)
        fail("PTRACE_GETREGS", NOT_TRACED);
    unsigned long address = registers.rsp;
    address += (word_at(child, address) + 2) * sizeof(long);
    while (word_at(child, address))
        address += sizeof(long);
    address += sizeof(long);
    for (long key; (key = word_at(child, address)) != AT_SECURE; address += 2 * sizeof(long))
        if (key == AT_NULL)
            exit(NOT_TRACED);
    if (ptrace(PTRACE_POKEDATA, child, (void *)(address + sizeof(long)), (void *)1L) < 0)
        fail("PTRACE_POKEDATA", NOT_TRACED);
}

int main(int argc, char **argv)
{
    if (argc < 2)
        return NOT_EXECUTED;
    pid_t child = fork();
    if (child < 0)
        fail("fork", NOT_TRACED);
    if (child == 0) {
        ptrace(PTRACE_TRACEME, 0, NULL, NULL);
        execvp(argv[1], argv + 1);
        fail(argv[1], NOT_EXECUTED);
    }
    int status;
    if (waitpid(child, &status, 0) == child && WIFSTOPPED(status)) {
        make_secure(child);
        if (ptrace(PTRACE_DETACH, child, NULL, NULL) < 0 || waitpid(child, &status, 0) < 0)
            fail("PTRACE_DETACH", NOT_TRACED);
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
