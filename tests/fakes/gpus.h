/*
 * The GPUs of the fake driver: the nodes /dev/nvidia0, /dev/nvidia1, ... that a process has.
 *
 * Like the real driver's, its libraries know a GPU by what the device cgroup, the mode and the
 * mounts leave of its node. Which GPU one is can be told by its UUID: the first byte is the minor.
 */
#ifndef GPUS_H
#define GPUS_H

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

/* A machine of another kind says so on the command line. */
#ifndef GPU_NAME
#define GPU_NAME "NVIDIA H100 80GB HBM3"
#endif
#define UUID_FORMAT "GPU-%02x5f3a7c-91d2-4b6e-8c04-6a1e2d9b7f30"

enum { MAX_GPUS = 64, LAST_MINOR = 247, UUID_LENGTH = 40 };

static const unsigned char UUID_REST[15] = {
    0x5f, 0x3a, 0x7c, 0x91, 0xd2, 0x4b, 0x6e, 0x8c, 0x04, 0x6a, 0x1e, 0x2d, 0x9b, 0x7f, 0x30,
};

static inline int can_open(const char *node)
{
    int file = open(node, O_RDWR | O_CLOEXEC);
    if (file < 0)
        return 0;
    close(file);
    return 1;
}

static inline int gpu_can_be_opened(int minor)
{
    char node[32];
    snprintf(node, sizeof node, "/dev/nvidia%d", minor);
    return can_open(node);
}

static inline int gpu_exists(int minor)
{
    char node[32];
    snprintf(node, sizeof node, "/dev/nvidia%d", minor);
    return access(node, F_OK) == 0;
}

/* The minor of a place on the bus, or -1 after the last; ascending unless BUS_ORDER lists them. */
static inline int minor_at(int place)
{
#ifdef BUS_ORDER
    static const int order[] = { BUS_ORDER };
    return place < (int)(sizeof order / sizeof *order) ? order[place] : -1;
#else
    return place <= LAST_MINOR ? place : -1;
#endif
}

/* Collects the minors a question is answered with yes for, as the driver counts its GPUs: in the
 * order of the bus; gives back how many. */
static inline int find_gpus(int minors[MAX_GPUS], int (*wanted)(int))
{
    int count = 0, minor;
    for (int place = 0; (minor = minor_at(place)) >= 0 && count < MAX_GPUS; place++)
        if (wanted(minor))
            minors[count++] = minor;
    return count;
}

#endif
