/*
 * The entry of a program that is linked dynamically and still runs with older C libraries: the
 * usual one asks for the __libc_start_main of glibc 2.34. Only for x86-64.
 */
__asm__(".symver __libc_start_main, __libc_start_main@GLIBC_2.2.5");

typedef void function(void);

int main(int argc, char **argv, char **environment);
int __libc_start_main(int (*)(int, char **, char **), int, char **, function *init,
                      function *fini, function *loader_fini, void *stack_end);

__asm__(".globl _start\n"
        "_start:\n"
        "    xorl %ebp, %ebp\n"
        "    movq %rsp, %rdi\n"
        "    movq %rdx, %rsi\n"
        "    andq $-16, %rsp\n"
        "    call start\n");

/* What the kernel left on the stack begins with argc; the loader hands over its own end. */
__attribute__((used, noreturn)) void start(long *stack, function *loader_fini)
{
    __libc_start_main(main, (int)stack[0], (char **)(stack + 1), 0, 0, loader_fini, stack);
    __builtin_unreachable();
}
