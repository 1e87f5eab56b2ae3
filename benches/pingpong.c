/* Two ranks send messages to and fro: how long one takes on its way, by size.
 *
 * Prints a line for each size as soon as it is measured, bytes and microseconds, so that a run that
 * hangs tells how far it came. Every byte is compared at each size, outside of what is timed.
 *
 * mpicc -O2 -o pingpong pingpong.c
 */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LARGEST (16 << 20)
#define MOST 200

static const struct {
    int size, samples, trips;
} cases[] = {
    /* Trips that take less than the clock can tell are timed together. */
    {8, 200, 50},      {64, 200, 50},     {512, 200, 50},   {4096, 200, 20},    {32768, 200, 5},
    {65536, 200, 2},   {262144, 150, 1},  {1 << 20, 60, 1}, {4 << 20, 20, 1},   {LARGEST, 9, 1},
};

/* Static, so that both are touched before anything is timed and lie in the same way in every run. */
static unsigned char out[LARGEST] __attribute__((aligned(4096)));
static unsigned char in[LARGEST] __attribute__((aligned(4096)));

static void trip(int rank, int size)
{
    if (rank == 0) {
        MPI_Send(out, size, MPI_BYTE, 1, 1, MPI_COMM_WORLD);
        MPI_Recv(in, size, MPI_BYTE, 1, 1, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    } else {
        MPI_Recv(in, size, MPI_BYTE, 0, 1, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
        MPI_Send(out, size, MPI_BYTE, 0, 1, MPI_COMM_WORLD);
    }
}

static unsigned char byte(int rank, unsigned size, unsigned index)
{
    return index * 31 + size / 8 + rank;
}

/* Sends bytes that are those of this size and rank only, and looks at all that come. */
static void check(int rank, unsigned size)
{
    for (unsigned i = 0; i < size; i++)
        out[i] = byte(rank, size, i);
    memset(in, 0, size);
    trip(rank, size);
    for (unsigned i = 0; i < size; i++)
        if (in[i] != byte(1 - rank, size, i)) {
            fprintf(stderr, "a byte of %u is wrong\n", size);
            MPI_Abort(MPI_COMM_WORLD, 3);
        }
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
    int rank, count;
    double took[MOST];

    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &count);
    if (count != 2) {
        fprintf(stderr, "%d ranks in place of 2\n", count);
        return 3;
    }
    for (int i = 0; i < LARGEST; i += 4096)
        out[i] = in[i] = 1;
    for (unsigned c = 0; c < sizeof cases / sizeof *cases; c++) {
        int size = cases[c].size, samples = cases[c].samples, trips = cases[c].trips;

        check(rank, size);
        MPI_Barrier(MPI_COMM_WORLD);
        /* The first tenth is not looked at. */
        for (int i = -samples / 10 - 1; i < samples; i++) {
            double start = MPI_Wtime();
            for (int j = 0; j < trips; j++)
                trip(rank, size);
            if (i >= 0)
                took[i] = (MPI_Wtime() - start) / trips / 2;
        }
        qsort(took, samples, sizeof *took, compare);
        if (rank == 0) {
            printf("%d %.4f\n", size, took[samples / 2] * 1e6);
            fflush(stdout);
        }
    }
    MPI_Finalize();
    return 0;
}
