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

#define GPU_NAME "NVIDIA H100 80GB HBM3"
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

/* Collects the minors a question is answered with yes for, ascending; gives back how many. */
static inline int find_gpus(int minors[MAX_GPUS], int (*wanted)(int))
{
    int count = 0;
    for (int minor = 0; minor <= LAST_MINOR && count < MAX_GPUS; minor++)
        if (wanted(minor))
            minors[count++] = minor;
    return count;
}

#endif
