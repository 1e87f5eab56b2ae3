/* A program of the driver that no test asks for more than its name. */
#include <stdio.h>

int main(int argc, char **argv)
{
    (void)argc;
    printf("%s of driver %s\n", argv[0], VERSION);
    return 0;
}
