/*
 * Two or more ranks of one node that check everything a launcher and an MPI library promise: their
 * number, a ring, a sum, messages of 1 byte to 16 MiB to and fro with every byte compared, and the
 * memory of each other, which MPI reads for large messages.
 *
 * The first rank prints one line at the end: "SIZE ranks, SUM, BYTES to and fro, memory STATE".
 */
#define _GNU_SOURCE
#include <errno.h>
#include <mpi.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

enum { LARGEST = 16 << 20 };

static int rank, count;
static unsigned char *out, *in;

static void check(int holds, const char *what)
{
    if (!holds) {
        fprintf(stderr, "rank %d of %d: %s\n", rank, count, what);
        MPI_Abort(MPI_COMM_WORLD, 3);
    }
}

static unsigned char byte(int place, int size, int sender)
{
    return place * 31 + place / 4096 + size * 7 + sender * 3 + 1;
}

static void fill(int size)
{
    for (int i = 0; i < size; i++)
        out[i] = byte(i, size, rank);
}

static void compare(int size, int sender)
{
    for (int i = 0; i < size; i++)
        check(in[i] == byte(i, size, sender), "a byte is wrong");
    memset(in, 0, size);
}

/* All send at once, each to the next. */
static void around(int size)
{
    int next = (rank + 1) % count, before = (rank + count - 1) % count;

    fill(size);
    MPI_Sendrecv(out, size, MPI_BYTE, next, 1, in, size, MPI_BYTE, before, 1, MPI_COMM_WORLD,
                 MPI_STATUS_IGNORE);
    compare(size, before);
}

/* Ranks in pairs, one of which answers. */
static void to_and_fro(int size)
{
    int other = rank ^ 1;

    if (other >= count)
        return;
    fill(size);
    for (int turn = 0; turn < 2; turn++) {
        if (rank % 2 == turn) {
            MPI_Send(out, size, MPI_BYTE, other, 2, MPI_COMM_WORLD);
        } else {
            MPI_Recv(in, size, MPI_BYTE, other, 2, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
            compare(size, other);
        }
    }
}

/* Reads a number in the memory of the next rank; says what the kernel said. */
static int read_memory(void)
{
    static volatile uint64_t secret;
    uint64_t own[3] = {getpid(), (uintptr_t)&secret, rand()}, next[3], seen = 0;
    int error = 0, worst;

    secret = own[2] = own[2] * 2 + rank;
    MPI_Sendrecv(own, 3, MPI_UINT64_T, (rank + count - 1) % count, 3, next, 3, MPI_UINT64_T,
                 (rank + 1) % count, 3, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    struct iovec here = {&seen, sizeof seen}, there = {(void *)(uintptr_t)next[1], sizeof seen};
    if (process_vm_readv(next[0], &here, 1, &there, 1, 0) != sizeof seen)
        error = errno;
    else
        check(seen == next[2], "the memory of another process was read");
    MPI_Allreduce(&error, &worst, 1, MPI_INT, MPI_MAX, MPI_COMM_WORLD);
    return worst;
}

int main(int argc, char **argv)
{
    long long bytes = 0;
    int sum, one = 1, error;

    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &count);
    srand(getpid());
    out = malloc(LARGEST);
    in = calloc(1, LARGEST);
    check(out && in, "no memory");
    for (int size = 1; size <= LARGEST; size *= 8)
        around(size);
    for (int size = 1; size <= LARGEST; size *= 2) {
        to_and_fro(size);
        bytes += size;
    }
    MPI_Allreduce(&one, &sum, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
    check(sum == count, "the sum is wrong");
    error = read_memory();
    if (rank == 0)
        printf("%d ranks, sum %d, %lld bytes to and fro, memory %s\n", count, sum, bytes,
               error ? strerror(error) : "read");
    MPI_Finalize();
    return 0;
}
