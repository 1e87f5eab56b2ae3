/*
 * A stand-in for NVIDIA's libcuda.so.1: as much as its clients ask before they compute.
 *
 * VERSION and CUDA_VERSION come from the command line. It counts the GPUs whose nodes it can open
 * and heeds CUDA_VISIBLE_DEVICES as the CUDA programming guide has it.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "gpus.h"

typedef int CUresult;
typedef int CUdevice;
typedef struct { unsigned char bytes[16]; } CUuuid;

enum {
    CUDA_SUCCESS = 0,
    CUDA_ERROR_INVALID_VALUE = 1,
    CUDA_ERROR_NOT_INITIALIZED = 3,
    CUDA_ERROR_NO_DEVICE = 100,
    CUDA_ERROR_INVALID_DEVICE = 101,
    CUDA_ERROR_NOT_FOUND = 500,
    CUDA_ERROR_UNKNOWN = 999,
};

static const struct { CUresult code; const char *name, *text; } ERRORS[] = {
    { CUDA_SUCCESS, "CUDA_SUCCESS", "no error" },
    { CUDA_ERROR_INVALID_VALUE, "CUDA_ERROR_INVALID_VALUE", "invalid argument" },
    { CUDA_ERROR_NOT_INITIALIZED, "CUDA_ERROR_NOT_INITIALIZED", "initialization error" },
    { CUDA_ERROR_NO_DEVICE, "CUDA_ERROR_NO_DEVICE", "no CUDA-capable device is detected" },
    { CUDA_ERROR_INVALID_DEVICE, "CUDA_ERROR_INVALID_DEVICE", "invalid device ordinal" },
    { CUDA_ERROR_NOT_FOUND, "CUDA_ERROR_NOT_FOUND", "named symbol not found" },
    { CUDA_ERROR_UNKNOWN, "CUDA_ERROR_UNKNOWN", "unknown error" },
};

/* Which driver this is, for a test that looks into a process. */
const char hrun_fake_driver[] = VERSION;

static int is_initialized, count, visible[MAX_GPUS];

/* The only GPU whose UUID starts so, or -1. */
static int gpu_of_uuid(const char *start, size_t length, const int *minors, int total)
{
    int found = -1;
    for (int i = 0; i < total; i++) {
        char uuid[UUID_LENGTH + 1];
        snprintf(uuid, sizeof uuid, UUID_FORMAT, minors[i]);
        if (strncmp(uuid, start, length) != 0)
            continue;
        if (found >= 0)
            return -1;
        found = minors[i];
    }
    return found;
}

/* The GPU one element of CUDA_VISIBLE_DEVICES names, or -1. */
static int gpu_of_element(const char *element, size_t length, const int *minors, int total)
{
    if (length > 4 && strncmp(element, "GPU-", 4) == 0)
        return gpu_of_uuid(element, length, minors, total);
    if (length == 0 || strspn(element, "0123456789") < length)
        return -1;
    int index = atoi(element);
    return index < total ? minors[index] : -1;
}

/* All GPUs without the variable; else those it names, in its order, up to the first bad one. */
static void choose_gpus(void)
{
    int minors[MAX_GPUS];
    int total = find_gpus(minors, gpu_can_be_opened);
    const char *list = getenv("CUDA_VISIBLE_DEVICES");
    if (!list) {
        memcpy(visible, minors, sizeof visible);
        count = total;
        return;
    }
    for (count = 0; count < MAX_GPUS; count++) {
        size_t length = strcspn(list, ",");
        visible[count] = gpu_of_element(list, length, minors, total);
        if (visible[count] < 0)
            return;
        list += length + (list[length] == ',');
    }
}

CUresult cuInit(unsigned flags)
{
    if (flags)
        return CUDA_ERROR_INVALID_VALUE;
    if (!can_open("/dev/nvidiactl"))
        return CUDA_ERROR_NO_DEVICE;
    if (!can_open("/dev/nvidia-uvm"))
        return CUDA_ERROR_UNKNOWN;
    choose_gpus();
    is_initialized = count > 0;
    return is_initialized ? CUDA_SUCCESS : CUDA_ERROR_NO_DEVICE;
}

CUresult cuDriverGetVersion(int *version)
{
    *version = CUDA_VERSION;
    return CUDA_SUCCESS;
}

CUresult cuDeviceGetCount(int *result)
{
    if (!is_initialized)
        return CUDA_ERROR_NOT_INITIALIZED;
    *result = count;
    return CUDA_SUCCESS;
}

CUresult cuDeviceGet(CUdevice *device, int ordinal)
{
    if (!is_initialized)
        return CUDA_ERROR_NOT_INITIALIZED;
    if (ordinal < 0 || ordinal >= count)
        return CUDA_ERROR_INVALID_DEVICE;
    *device = ordinal;
    return CUDA_SUCCESS;
}

CUresult cuDeviceGetName(char *name, int length, CUdevice device)
{
    if (device < 0 || device >= count)
        return CUDA_ERROR_INVALID_DEVICE;
    snprintf(name, length, "%s", GPU_NAME);
    return CUDA_SUCCESS;
}

CUresult cuDeviceGetUuid(CUuuid *uuid, CUdevice device)
{
    if (device < 0 || device >= count)
        return CUDA_ERROR_INVALID_DEVICE;
    uuid->bytes[0] = visible[device];
    memcpy(uuid->bytes + 1, UUID_REST, sizeof UUID_REST);
    return CUDA_SUCCESS;
}

CUresult cuDeviceGetUuid_v2(CUuuid *uuid, CUdevice device)
{
    return cuDeviceGetUuid(uuid, device);
}

CUresult cuGetErrorName(CUresult error, const char **name)
{
    for (size_t i = 0; i < sizeof ERRORS / sizeof *ERRORS; i++)
        if (ERRORS[i].code == error) {
            *name = ERRORS[i].name;
            return CUDA_SUCCESS;
        }
    *name = NULL;
    return CUDA_ERROR_INVALID_VALUE;
}

CUresult cuGetErrorString(CUresult error, const char **text)
{
    for (size_t i = 0; i < sizeof ERRORS / sizeof *ERRORS; i++)
        if (ERRORS[i].code == error) {
            *text = ERRORS[i].text;
            return CUDA_SUCCESS;
        }
    *text = NULL;
    return CUDA_ERROR_INVALID_VALUE;
}

/* The private tables of the real driver, which nobody else has. */
CUresult cuGetExportTable(const void **table, const CUuuid *which)
{
    (void)which;
    *table = NULL;
    return CUDA_ERROR_NOT_FOUND;
}

CUresult cuGetProcAddress(const char *, void **, int, uint64_t);
CUresult cuGetProcAddress_v2(const char *, void **, int, uint64_t, int *);

static const struct { const char *name; int since; void *function; } FUNCTIONS[] = {
    /* Of two with one name, the newer first. */
    { "cuGetProcAddress", 12000, cuGetProcAddress_v2 },
    { "cuGetProcAddress", 11030, cuGetProcAddress },
    { "cuGetProcAddress_v2", 12000, cuGetProcAddress_v2 },
    { "cuDeviceGetUuid", 11040, cuDeviceGetUuid_v2 },
    { "cuDeviceGetUuid", 9020, cuDeviceGetUuid },
    { "cuDeviceGetUuid_v2", 11040, cuDeviceGetUuid_v2 },
    { "cuInit", 2000, cuInit },
    { "cuDriverGetVersion", 2020, cuDriverGetVersion },
    { "cuDeviceGetCount", 2000, cuDeviceGetCount },
    { "cuDeviceGet", 2000, cuDeviceGet },
    { "cuDeviceGetName", 2000, cuDeviceGetName },
    { "cuGetErrorName", 6000, cuGetErrorName },
    { "cuGetErrorString", 6000, cuGetErrorString },
    { "cuGetExportTable", 3000, cuGetExportTable },
};

CUresult cuGetProcAddress_v2(const char *name, void **function, int version, uint64_t flags,
                             int *is_missing)
{
    (void)flags;
    *function = NULL;
    for (size_t i = 0; i < sizeof FUNCTIONS / sizeof *FUNCTIONS && !*function; i++)
        if (version >= FUNCTIONS[i].since && strcmp(FUNCTIONS[i].name, name) == 0)
            *function = FUNCTIONS[i].function;
    if (is_missing)
        *is_missing = !*function;
    return *function ? CUDA_SUCCESS : CUDA_ERROR_NOT_FOUND;
}

CUresult cuGetProcAddress(const char *name, void **function, int version, uint64_t flags)
{
    return cuGetProcAddress_v2(name, function, version, flags, NULL);
}
