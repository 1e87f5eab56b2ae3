/*
 * A stand-in for nvidia-smi: loads libnvidia-ml.so.1 by that name and prints what it says.
 *
 * The exit status is NVML's code, as nvidia-smi documents: 9 where the driver does not answer, 12
 * where the library cannot be loaded.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

/* Before glibc 2.34 these were in libdl; the old names are in both. */
__asm__(".symver dlopen, dlopen@GLIBC_2.2.5");
__asm__(".symver dlsym, dlsym@GLIBC_2.2.5");
__asm__(".symver dlerror, dlerror@GLIBC_2.2.5");

enum { LIBRARY_NOT_FOUND = 12, FUNCTION_NOT_FOUND = 13 };

static void *library;

static void *function(const char *name)
{
    void *found = dlsym(library, name);
    if (!found) {
        fprintf(stderr, "nvidia-smi: %s\n", dlerror());
        exit(FUNCTION_NOT_FOUND);
    }
    return found;
}

static void check(int code, const char *what)
{
    if (code == 0)
        return;
    const char *(*text)(int) = function("nvmlErrorString");
    fprintf(stderr, "nvidia-smi: %s failed: %s\n", what, text(code));
    exit(code);
}

static void print_driver(void)
{
    int (*driver_version)(char *, unsigned) = function("nvmlSystemGetDriverVersion");
    int (*cuda_version)(int *) = function("nvmlSystemGetCudaDriverVersion_v2");
    char version[80];
    int cuda;
    check(driver_version(version, sizeof version), "nvmlSystemGetDriverVersion");
    check(cuda_version(&cuda), "nvmlSystemGetCudaDriverVersion_v2");
    printf("NVIDIA-SMI %s  Driver Version: %s  CUDA Version: %d.%d\n", VERSION, version,
           cuda / 1000, cuda % 1000 / 10);
}

static void print_gpu(unsigned index)
{
    int (*get_handle)(unsigned, void **) = function("nvmlDeviceGetHandleByIndex_v2");
    int (*get_name)(void *, char *, unsigned) = function("nvmlDeviceGetName");
    int (*get_uuid)(void *, char *, unsigned) = function("nvmlDeviceGetUUID");
    void *gpu;
    char name[96], uuid[96];
    check(get_handle(index, &gpu), "nvmlDeviceGetHandleByIndex_v2");
    check(get_name(gpu, name, sizeof name), "nvmlDeviceGetName");
    check(get_uuid(gpu, uuid, sizeof uuid), "nvmlDeviceGetUUID");
    printf("GPU %u: %s (UUID: %s)\n", index, name, uuid);
}

int main(void)
{
    library = dlopen("libnvidia-ml.so.1", RTLD_NOW);
    if (!library) {
        fprintf(stderr, "nvidia-smi: %s\n", dlerror());
        return LIBRARY_NOT_FOUND;
    }
    int (*init)(void) = function("nvmlInit_v2");
    int (*get_count)(unsigned *) = function("nvmlDeviceGetCount_v2");
    unsigned count;
    check(init(), "nvmlInit_v2");
    print_driver();
    check(get_count(&count), "nvmlDeviceGetCount_v2");
    for (unsigned index = 0; index < count; index++)
        print_gpu(index);
    return 0;
}
