/*
 * A stand-in for NVIDIA's libnvidia-ml.so.1: what nvidia-ml-py and nvidia-smi begin with.
 *
 * VERSION and CUDA_VERSION come from the command line. As NVML does, it counts the GPUs a process
 * may not open as well, and refuses a handle to them.
 */
#include <stddef.h>

#include "gpus.h"

typedef int nvmlReturn_t;
typedef int *nvmlDevice_t;

enum {
    NVML_SUCCESS = 0,
    NVML_ERROR_UNINITIALIZED = 1,
    NVML_ERROR_INVALID_ARGUMENT = 2,
    NVML_ERROR_NO_PERMISSION = 4,
    NVML_ERROR_INSUFFICIENT_SIZE = 7,
    NVML_ERROR_DRIVER_NOT_LOADED = 9,
};

static int is_initialized, count, minors[MAX_GPUS];

nvmlReturn_t nvmlInitWithFlags(unsigned flags)
{
    (void)flags;
    if (!can_open("/dev/nvidiactl"))
        return NVML_ERROR_DRIVER_NOT_LOADED;
    count = find_gpus(minors, gpu_exists);
    is_initialized = 1;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlInit_v2(void) { return nvmlInitWithFlags(0); }

nvmlReturn_t nvmlInit(void) { return nvmlInitWithFlags(0); }

nvmlReturn_t nvmlShutdown(void)
{
    if (!is_initialized)
        return NVML_ERROR_UNINITIALIZED;
    is_initialized = 0;
    return NVML_SUCCESS;
}

const char *nvmlErrorString(nvmlReturn_t error)
{
    switch (error) {
    case NVML_SUCCESS: return "Success";
    case NVML_ERROR_UNINITIALIZED: return "Uninitialized";
    case NVML_ERROR_INVALID_ARGUMENT: return "Invalid Argument";
    case NVML_ERROR_NO_PERMISSION: return "Insufficient Permissions";
    case NVML_ERROR_INSUFFICIENT_SIZE: return "Insufficient Size";
    case NVML_ERROR_DRIVER_NOT_LOADED: return "Driver Not Loaded";
    default: return "Unknown Error";
    }
}

/* What a text of some length comes to where the caller has room for so many bytes. */
static nvmlReturn_t fits(int length, unsigned room)
{
    return (unsigned)length < room ? NVML_SUCCESS : NVML_ERROR_INSUFFICIENT_SIZE;
}

nvmlReturn_t nvmlSystemGetDriverVersion(char *version, unsigned room)
{
    if (!is_initialized)
        return NVML_ERROR_UNINITIALIZED;
    return fits(snprintf(version, room, "%s", VERSION), room);
}

nvmlReturn_t nvmlSystemGetCudaDriverVersion_v2(int *version)
{
    *version = CUDA_VERSION;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlSystemGetCudaDriverVersion(int *version)
{
    return nvmlSystemGetCudaDriverVersion_v2(version);
}

nvmlReturn_t nvmlDeviceGetCount_v2(unsigned *result)
{
    if (!is_initialized)
        return NVML_ERROR_UNINITIALIZED;
    *result = count;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetHandleByIndex_v2(unsigned index, nvmlDevice_t *device)
{
    if (!is_initialized)
        return NVML_ERROR_UNINITIALIZED;
    if (index >= (unsigned)count)
        return NVML_ERROR_INVALID_ARGUMENT;
    if (!gpu_can_be_opened(minors[index]))
        return NVML_ERROR_NO_PERMISSION;
    *device = &minors[index];
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetIndex(nvmlDevice_t device, unsigned *index)
{
    *index = device - minors;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetMinorNumber(nvmlDevice_t device, unsigned *minor)
{
    *minor = *device;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetName(nvmlDevice_t device, char *name, unsigned room)
{
    (void)device;
    return fits(snprintf(name, room, "%s", GPU_NAME), room);
}

nvmlReturn_t nvmlDeviceGetUUID(nvmlDevice_t device, char *uuid, unsigned room)
{
    return fits(snprintf(uuid, room, UUID_FORMAT, *device), room);
}
