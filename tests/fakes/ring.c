/*
 * Ranks that exchange messages of all sizes and check every byte: what MPI does by reading each
 * other's memory, where it may.
 *
 * Prints "SIZE ranks" at its end, from the first rank, and each rank's user namespace before.
 */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const int sizes[] = {1, 4096, 1 << 16, 1 << 20, 4 << 20, 16 << 20};

static void check(int holds, const char *what)
{
    if (!holds) {
        fprintf(stderr, "%s\n", what);
        MPI_Abort(MPI_COMM_WORLD, 3);
    }
}

/* Sends a message around the ring and compares what comes with what the one before has sent. */
static void around(int rank, int count, int size)
{
    unsigned char *out = malloc(size), *in = malloc(size);
    int next = (rank + 1) % count, before = (rank + count - 1) % count;

    for (int i = 0; i < size; i++)
        out[i] = i * 31 + rank;
    MPI_Sendrecv(out, size, MPI_BYTE, next, 7, in, size, MPI_BYTE, before, 7, MPI_COMM_WORLD,
                 MPI_STATUS_IGNORE);
    for (int i = 0; i < size; i++)
        check(in[i] == (unsigned char)(i * 31 + before), "a byte is wrong");
    free(out);
    free(in);
}

int main(int argc, char **argv)
{
    int rank, count, sum;
    char namespace[64] = "";

    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &count);
    for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++)
        around(rank, count, sizes[i]);
    MPI_Allreduce(&rank, &sum, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
    check(sum == count * (count - 1) / 2, "the sum is wrong");
    check(readlink("/proc/self/ns/user", namespace, sizeof namespace - 1) > 0, "no namespace");
    printf("in %s\n", namespace);
    fflush(stdout);
    MPI_Barrier(MPI_COMM_WORLD);
    if (rank == 0)
        printf("%d ranks\n", count);
    MPI_Finalize();
    return 0;
}
