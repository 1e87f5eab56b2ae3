/*
 * Tries to get out of a container, or at what is not the caller's:
 *
 *     escapes list            each attempt: group, name, what is tried, separated by tabs
 *     escapes try             each attempt: name, and the name of an error or "escaped"
 *     escapes hold            is the process outside, until its standard input ends
 *     escapes helpers         what is tried at each process that ps calls hrun..: its number and name, what, and
 *                             the name of an error or "escaped"
 *     escapes watch           how often, until its standard input ends, something of a process that ps calls
 *                             hrun could be opened that leads to files this process does not see
 *
 * Environment: OUTSIDE, a file of the host that no container shows; OUTSIDE_PID, a process of the same
 * user outside, which has that file open as descriptor 7; FOREIGN, a file of another user that a
 * container shows; LOCKED, a directory that the host has mounted with MS_RDONLY, MS_NOSUID, MS_NODEV and
 * MS_NOEXEC. Each attempt is a process of its own.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <sys/timex.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

enum { ESCAPED = 0, SECONDS = 10 };

static const char *outside, *foreign, *locked;
static pid_t stranger;

static int failed(long result)
{
    return result < 0 ? errno : ESCAPED;
}

static int opened(const char *path, int flags)
{
    return failed(open(path, flags | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0600));
}

static int wrote(const char *path, const char *text)
{
    int file = open(path, O_WRONLY | O_CLOEXEC);
    return file < 0 ? errno : failed(write(file, text, strlen(text)));
}

/* The file of the host, by a path from the present root and the present directory. */
static int sees_outside(void)
{
    int error = opened(outside, O_RDONLY);
    return error == ESCAPED ? error : opened(outside + 1, O_RDONLY);
}

/* A path in /proc of the process outside. */
static const char *of_stranger(const char *name)
{
    static char path[4352];
    snprintf(path, sizeof path, "/proc/%d/%s", stranger, name);
    return path;
}

static const char *below(const char *name)
{
    static char path[4352];
    snprintf(path, sizeof path, "%s%s", name, outside);
    return path;
}

/* Another user namespace in this one, in which the process has every capability. */
static int become_root(int more)
{
    char map[64];
    unsigned uid = geteuid();
    if (unshare(CLONE_NEWUSER | CLONE_NEWNS | more) < 0)
        return errno;
    snprintf(map, sizeof map, "0 %u 1", uid);
    return wrote("/proc/self/uid_map", map);
}

#define ATTEMPT(name) static int name(void)
#define AS_ROOT(more)                                                                            \
    do {                                                                                         \
        int error = become_root(more);                                                           \
        if (error)                                                                               \
            return error;                                                                        \
    } while (0)

/* The root directory. */

static int climb(void)
{
    for (int i = 0; i < 64; i++)
        if (chdir("..") < 0)
            return errno;
    return sees_outside();
}

ATTEMPT(dotdot) { return chdir("/") < 0 ? errno : climb(); }

ATTEMPT(chroot_climb)
{
    int root = open("/", O_PATH | O_DIRECTORY);
    AS_ROOT(0);
    if (chroot("/proc") < 0 || fchdir(root) < 0)
        return errno;
    int error = climb();
    return error && !chroot(".") ? sees_outside() : error;
}

ATTEMPT(chroot_directly)
{
    if (chroot("/proc/1/root") < 0)
        return errno;
    return sees_outside();
}

ATTEMPT(pivot_again)
{
    AS_ROOT(0);
    if (chdir("/") < 0 || mount("/", "/", 0, MS_BIND | MS_REC, 0) < 0 || chdir("/../..") < 0 ||
        syscall(SYS_pivot_root, ".", ".") < 0 || umount2(".", MNT_DETACH) < 0)
        return errno;
    return sees_outside();
}

ATTEMPT(pivot_directly)
{
    if (chdir("/") < 0 || syscall(SYS_pivot_root, ".", ".") < 0 || umount2(".", MNT_DETACH) < 0)
        return errno;
    return sees_outside();
}

ATTEMPT(umount_root)
{
    if (umount2("/", MNT_DETACH) < 0)
        return errno;
    return sees_outside();
}

ATTEMPT(umount_root_nested)
{
    AS_ROOT(0);
    return umount_root();
}

ATTEMPT(move_root)
{
    AS_ROOT(0);
    if (mount("/", "/proc", 0, MS_MOVE, 0) < 0)
        return errno;
    return sees_outside();
}

ATTEMPT(clone_tree)
{
    char path[64];
    AS_ROOT(0);
    int tree = syscall(SYS_open_tree, AT_FDCWD, "/..", 1 | 0x8000 | O_CLOEXEC);
    if (tree < 0)
        return errno;
    snprintf(path, sizeof path, "/proc/self/fd/%d", tree);
    return opened(below(path), O_RDONLY);
}

/* Descriptors that hrun has forgotten. */
ATTEMPT(descriptors)
{
    for (int file = 3; file < 1024; file++)
        if (fchdir(file) == 0 && climb() == ESCAPED)
            return ESCAPED;
    return EBADF;
}

/* Processes outside. */

ATTEMPT(proc_root) { return opened(below(of_stranger("root")), O_RDONLY); }
ATTEMPT(proc_cwd) { return opened(below(of_stranger("cwd")), O_RDONLY); }
ATTEMPT(proc_fd) { return opened(of_stranger("fd/7"), O_RDONLY); }
ATTEMPT(proc_exe) { return opened(of_stranger("exe"), O_RDONLY); }
ATTEMPT(proc_environ) { return opened(of_stranger("environ"), O_RDONLY); }
ATTEMPT(proc_mem) { return opened(of_stranger("mem"), O_RDWR); }
ATTEMPT(proc_one_root) { return opened(below("/proc/1/root"), O_RDONLY); }
ATTEMPT(proc_uid_map) { return wrote(of_stranger("uid_map"), "0 0 1"); }

ATTEMPT(proc_ancestors)
{
    char path[64], state;
    int pid = getppid(), parent = 0, error = ENOENT;
    for (int i = 0; pid > 1 && i < 64; i++, pid = parent) {
        snprintf(path, sizeof path, "/proc/%d/stat", pid);
        FILE *stat = fopen(path, "r");
        if (!stat || fscanf(stat, "%*d (%*[^)]) %c %d", &state, &parent) != 2)
            return error;
        fclose(stat);
        snprintf(path, sizeof path, "/proc/%d/root", pid);
        error = opened(below(path), O_RDONLY);
        if (error == ESCAPED)
            return error;
    }
    return error;
}

ATTEMPT(trace_attach) { return failed(ptrace(PTRACE_ATTACH, stranger, 0, 0)); }
ATTEMPT(trace_seize) { return failed(ptrace(PTRACE_SEIZE, stranger, 0, 0)); }

ATTEMPT(trace_as_root)
{
    AS_ROOT(0);
    return trace_attach();
}

static int touch_memory(int number)
{
    char byte[1];
    struct iovec here = {byte, 1}, there = {(void *)0x400000, 1};
    return failed(syscall(number, stranger, &here, 1, &there, 1, 0));
}

ATTEMPT(memory_read) { return touch_memory(SYS_process_vm_readv); }
ATTEMPT(memory_write) { return touch_memory(SYS_process_vm_writev); }

ATTEMPT(take_descriptor)
{
    int process = syscall(SYS_pidfd_open, stranger, 0);
    return process < 0 ? errno : failed(syscall(SYS_pidfd_getfd, process, 7, 0));
}

ATTEMPT(compare) { return failed(syscall(SYS_kcmp, getpid(), stranger, 0, 0, 7)); }
ATTEMPT(kill_init) { return failed(kill(1, 0)); }
ATTEMPT(limits_of_init)
{
    struct rlimit limit = {0, 0};
    return failed(prlimit(1, RLIMIT_CORE, &limit, NULL));
}

/* Namespaces. */

static int enter(const char *path, int kind)
{
    int namespace = open(path, O_RDONLY | O_CLOEXEC);
    return namespace < 0 ? errno : failed(setns(namespace, kind));
}

ATTEMPT(enter_mounts) { return enter(of_stranger("ns/mnt"), CLONE_NEWNS); }
ATTEMPT(enter_users) { return enter(of_stranger("ns/user"), CLONE_NEWUSER); }
ATTEMPT(enter_mounts_of_init) { return enter("/proc/1/ns/mnt", CLONE_NEWNS); }

ATTEMPT(enter_by_pidfd)
{
    int process = syscall(SYS_pidfd_open, stranger, 0);
    return process < 0 ? errno : failed(setns(process, CLONE_NEWUSER | CLONE_NEWNS));
}

ATTEMPT(parent_of_namespace)
{
    enum { NS_GET_PARENT = 0xb702 };
    int own = open("/proc/self/ns/user", O_RDONLY | O_CLOEXEC);
    int parent = ioctl(own, NS_GET_PARENT);
    return parent < 0 ? errno : failed(setns(parent, CLONE_NEWUSER));
}

ATTEMPT(enter_own_network) { return enter("/proc/self/ns/net", CLONE_NEWNET); }
ATTEMPT(map_root) { return wrote("/proc/self/uid_map", "0 0 1"); }
ATTEMPT(map_group) { return wrote("/proc/self/gid_map", "0 0 1"); }

ATTEMPT(map_somebody_else)
{
    if (unshare(CLONE_NEWUSER) < 0)
        return errno;
    return wrote("/proc/self/uid_map", "0 20002 1");
}

ATTEMPT(map_group_with_setgroups)
{
    char map[64];
    snprintf(map, sizeof map, "0 %u 1", getegid());
    if (unshare(CLONE_NEWUSER) < 0)
        return errno;
    int error = wrote("/proc/self/setgroups", "allow");
    return error ? error : wrote("/proc/self/gid_map", map);
}

/* Mounts. */

ATTEMPT(write_locked)
{
    char path[4352];
    snprintf(path, sizeof path, "%s/new", locked);
    return opened(path, O_WRONLY | O_CREAT);
}

ATTEMPT(remount_locked)
{
    if (mount(0, locked, 0, MS_REMOUNT | MS_BIND, 0) < 0)
        return errno;
    return write_locked();
}

ATTEMPT(remount_locked_nested)
{
    AS_ROOT(0);
    return remount_locked();
}

ATTEMPT(remount_root_nested)
{
    AS_ROOT(0);
    if (mount(0, "/", 0, MS_REMOUNT | MS_BIND, 0) < 0)
        return errno;
    return opened("/bin/new", O_WRONLY | O_CREAT);
}

static int remount_with(unsigned long flags)
{
    return failed(mount(0, locked, 0, MS_REMOUNT | MS_BIND | MS_RDONLY | flags, 0));
}

ATTEMPT(remount_suid) { return remount_with(MS_NODEV | MS_NOEXEC); }
ATTEMPT(remount_dev) { return remount_with(MS_NOSUID | MS_NOEXEC); }
ATTEMPT(remount_exec) { return remount_with(MS_NOSUID | MS_NODEV); }

ATTEMPT(remount_suid_nested)
{
    AS_ROOT(0);
    return remount_suid();
}

ATTEMPT(superblock_of_root) { return failed(mount(0, "/", 0, MS_REMOUNT, 0)); }
ATTEMPT(umount_below_dev) { return failed(umount2("/dev/pts", MNT_DETACH)); }

ATTEMPT(umount_below_dev_nested)
{
    AS_ROOT(0);
    return umount_below_dev();
}

ATTEMPT(umount_proc_nested)
{
    AS_ROOT(0);
    return failed(umount2("/proc", MNT_DETACH));
}

static int mount_new(const char *kind)
{
    AS_ROOT(0);
    return failed(mount("none", "/proc", kind, 0, 0));
}

ATTEMPT(mount_device)
{
    AS_ROOT(0);
    return failed(mount("/dev/vda", "/proc", "ext4", MS_RDONLY, 0));
}

ATTEMPT(mount_proc) { return mount_new("proc"); }
ATTEMPT(mount_sysfs) { return mount_new("sysfs"); }
ATTEMPT(mount_devtmpfs) { return mount_new("devtmpfs"); }
ATTEMPT(mount_debugfs) { return mount_new("debugfs"); }
ATTEMPT(mount_securityfs) { return mount_new("securityfs"); }

ATTEMPT(handle)
{
    struct file_handle *file = calloc(1, sizeof *file + MAX_HANDLE_SZ);
    int mount, root = open("/", O_RDONLY | O_DIRECTORY);
    file->handle_bytes = MAX_HANDLE_SZ;
    if (name_to_handle_at(AT_FDCWD, "/", file, &mount, 0) < 0)
        return errno;
    return failed(open_by_handle_at(root, file, O_RDONLY));
}

/* Files and devices. */

ATTEMPT(foreign_read) { return opened(foreign, O_RDONLY); }
ATTEMPT(foreign_write) { return opened(foreign, O_WRONLY | O_TRUNC); }
ATTEMPT(foreign_take) { return failed(chown(foreign, geteuid(), -1)); }
ATTEMPT(foreign_mode) { return failed(chmod(foreign, 0666)); }
ATTEMPT(own_program) { return opened("/proc/self/exe", O_WRONLY); }
ATTEMPT(node_character) { return failed(mknod("/tmp/escapes-node", S_IFCHR | 0666, makedev(1, 1))); }
ATTEMPT(node_block) { return failed(mknod("/tmp/escapes-node", S_IFBLK | 0666, makedev(8, 0))); }

ATTEMPT(node_nested)
{
    AS_ROOT(0);
    return node_character();
}

ATTEMPT(device_mem) { return opened("/dev/mem", O_RDWR); }
ATTEMPT(device_port) { return opened("/dev/port", O_RDWR); }
ATTEMPT(device_kmsg) { return opened("/dev/kmsg", O_WRONLY); }
ATTEMPT(device_disk) { return opened("/dev/vda", O_RDONLY); }
ATTEMPT(device_msr) { return opened("/dev/cpu/0/msr", O_RDWR); }
ATTEMPT(kcore) { return opened("/proc/kcore", O_RDONLY); }

ATTEMPT(file_to_others)
{
    int file = open("/tmp", O_TMPFILE | O_RDWR, 0700);
    return file < 0 ? errno : failed(fchown(file, 20002, 20002));
}

ATTEMPT(trusted_attribute)
{
    int file = open("/tmp", O_TMPFILE | O_RDWR, 0700);
    return file < 0 ? errno : failed(fsetxattr(file, "trusted.escapes", "x", 1, 0));
}

/* Settings of the kernel. */

ATTEMPT(core_pattern) { return wrote("/proc/sys/kernel/core_pattern", "|/tmp/escapes"); }
ATTEMPT(modprobe) { return wrote("/proc/sys/kernel/modprobe", "/tmp/escapes"); }
ATTEMPT(sysctl_vm) { return wrote("/proc/sys/vm/overcommit_memory", "1"); }
ATTEMPT(sysctl_hostname) { return wrote("/proc/sys/kernel/hostname", "escapes"); }
ATTEMPT(sysctl_forward) { return wrote("/proc/sys/net/ipv4/ip_forward", "1"); }
ATTEMPT(sysrq) { return wrote("/proc/sysrq-trigger", "h"); }
ATTEMPT(uevent_helper) { return wrote("/sys/kernel/uevent_helper", "/tmp/escapes"); }
ATTEMPT(power_state) { return wrote("/sys/power/state", "freeze"); }
ATTEMPT(oom_score) { return wrote("/proc/self/oom_score_adj", "-1000"); }
ATTEMPT(cgroup_root) { return wrote("/sys/fs/cgroup/cgroup.procs", "0"); }
ATTEMPT(release_agent) { return wrote("/sys/fs/cgroup/memory/release_agent", "/tmp/escapes"); }
ATTEMPT(hostname) { return failed(sethostname("escapes", 7)); }
ATTEMPT(domainname) { return failed(setdomainname("escapes", 7)); }
ATTEMPT(restart) { return failed(syscall(SYS_reboot, 0xfee1dead, 672274793, 0, 0)); }
ATTEMPT(swap) { return failed(syscall(SYS_swapon, "/tmp/escapes", 0)); }
ATTEMPT(accounting) { return failed(acct(NULL)); }
ATTEMPT(quota) { return failed(syscall(SYS_quotactl, 0x800002 << 8, "/dev/vda", 0, 0)); }
ATTEMPT(log_clear) { return failed(syscall(SYS_syslog, 5, 0, 0)); }
ATTEMPT(ports) { return failed(syscall(SYS_ioperm, 0x80, 1, 1)); }
ATTEMPT(port_level) { return failed(syscall(SYS_iopl, 3)); }
ATTEMPT(module_load) { return failed(syscall(SYS_init_module, "", 0, "")); }
ATTEMPT(module_remove) { return failed(syscall(SYS_delete_module, "escapes", O_NONBLOCK)); }
ATTEMPT(kexec) { return failed(syscall(SYS_kexec_load, 0, 0, 0, 0)); }
ATTEMPT(hang_up) { return failed(syscall(SYS_vhangup)); }

ATTEMPT(time_of_day)
{
    struct timeval now;
    gettimeofday(&now, NULL);
    return failed(settimeofday(&now, NULL));
}

ATTEMPT(time_rate)
{
    struct timex rate = {.modes = ADJ_TICK, .tick = 10000};
    return failed(adjtimex(&rate));
}

/* Spying and resources. */

ATTEMPT(bpf_program)
{
    unsigned long attributes[16] = {5 | 2UL << 32};
    return failed(syscall(SYS_bpf, 5, attributes, sizeof attributes));
}

ATTEMPT(perf_of_all)
{
    unsigned attributes[32] = {1, sizeof attributes};
    return failed(syscall(SYS_perf_event_open, attributes, -1, 0, -1, 0));
}

ATTEMPT(userfaults) { return failed(syscall(SYS_userfaultfd, O_CLOEXEC)); }
ATTEMPT(fanotify) { return failed(syscall(SYS_fanotify_init, 4, O_RDONLY)); }
ATTEMPT(packets) { return failed(socket(AF_PACKET, SOCK_RAW, 0)); }
ATTEMPT(raw_socket) { return failed(socket(AF_INET, SOCK_RAW, 1)); }
ATTEMPT(real_time)
{
    struct sched_param priority = {.sched_priority = 99};
    return failed(sched_setscheduler(0, SCHED_FIFO, &priority));
}

ATTEMPT(network_down)
{
    struct ifreq interface = {.ifr_name = "lo"};
    int any = socket(AF_INET, SOCK_DGRAM, 0);
    return any < 0 ? errno : failed(ioctl(any, SIOCSIFFLAGS, &interface));
}

ATTEMPT(nicer) { return failed(setpriority(PRIO_PROCESS, 0, -20)); }

ATTEMPT(raise_limit)
{
    struct rlimit limit = {1 << 30, 1 << 30};
    return failed(setrlimit(RLIMIT_NOFILE, &limit));
}

ATTEMPT(type_for_others)
{
    int terminal = open("/dev/ptmx", O_RDWR | O_NOCTTY);
    return terminal < 0 ? errno : failed(ioctl(terminal, TIOCSTI, "x"));
}

/* Who one is. */

ATTEMPT(another_user) { return failed(setresuid(20002, 20002, 20002)); }
ATTEMPT(another_group) { return failed(setresgid(20002, 20002, 20002)); }
ATTEMPT(no_groups) { return failed(syscall(SYS_setgroups, 0, NULL)); }
ATTEMPT(setgroups_allow) { return wrote("/proc/self/setgroups", "allow"); }
ATTEMPT(new_privileges) { return failed(prctl(PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0)); }
ATTEMPT(key_to_others)
{
    enum { CHOWN = 4, PROCESS = -2 };
    int key = syscall(SYS_add_key, "user", "escapes", "x", 1, PROCESS);
    return key < 0 ? errno : failed(syscall(SYS_keyctl, CHOWN, key, 20002, -1));
}

enum { USER_KEYRING = -4 };

ATTEMPT(key_of_stranger)
{
    enum { SEARCH = 10 };
    return failed(syscall(SYS_keyctl, SEARCH, USER_KEYRING, "user", "hrun-outside", 0));
}

static const struct attempt {
    int (*try)(void);
    const char *group, *name, *what;
    /* The user may do it outside, to what is his own. */
    int is_fine_outside;
} attempts[] = {
#define ROW(group, name, what) {name, group, #name, what, 0}
#define INSIDE(group, name, what) {name, group, #name, what, 1}
#define ROOT "The root directory"
    INSIDE(ROOT, dotdot, "climb above / with .."),
    INSIDE(ROOT, chroot_climb, "chroot(2) in a user namespace, with a directory kept open, and climb"),
    INSIDE(ROOT, chroot_directly, "chroot(2) to /proc/1/root"),
    INSIDE(ROOT, pivot_again, "pivot_root(2) in a user namespace, and unmount what was the root"),
    INSIDE(ROOT, pivot_directly, "pivot_root(2) onto itself, and unmount"),
    INSIDE(ROOT, umount_root, "unmount /"),
    INSIDE(ROOT, umount_root_nested, "unmount / in a user namespace"),
    INSIDE(ROOT, move_root, "move / somewhere else"),
    INSIDE(ROOT, clone_tree, "open_tree(2) of what is above /"),
    INSIDE(ROOT, descriptors, "climb from every open descriptor"),
#define PROCESSES "Processes outside"
    INSIDE(PROCESSES, proc_root, "/proc/PID/root"),
    INSIDE(PROCESSES, proc_cwd, "/proc/PID/cwd"),
    INSIDE(PROCESSES, proc_fd, "/proc/PID/fd"),
    INSIDE(PROCESSES, proc_exe, "/proc/PID/exe"),
    INSIDE(PROCESSES, proc_environ, "/proc/PID/environ"),
    INSIDE(PROCESSES, proc_mem, "/proc/PID/mem"),
    ROW(PROCESSES, proc_one_root, "/proc/1/root"),
    INSIDE(PROCESSES, proc_ancestors, "/proc/PID/root of parent, grandparent and so on"),
    ROW(PROCESSES, proc_uid_map, "write /proc/PID/uid_map"),
    INSIDE(PROCESSES, trace_attach, "ptrace(2), attach"),
    INSIDE(PROCESSES, trace_seize, "ptrace(2), seize"),
    INSIDE(PROCESSES, trace_as_root, "ptrace(2) from a user namespace"),
    INSIDE(PROCESSES, memory_read, "process_vm_readv(2)"),
    INSIDE(PROCESSES, memory_write, "process_vm_writev(2)"),
    INSIDE(PROCESSES, take_descriptor, "pidfd_getfd(2)"),
    INSIDE(PROCESSES, compare, "kcmp(2)"),
    ROW(PROCESSES, kill_init, "a signal to process 1"),
    ROW(PROCESSES, limits_of_init, "prlimit(2) of process 1"),
#define NAMESPACES "Namespaces"
    ROW(NAMESPACES, enter_mounts, "setns(2) to the host's mounts"),
    ROW(NAMESPACES, enter_users, "setns(2) to the host's users"),
    ROW(NAMESPACES, enter_mounts_of_init, "setns(2) to the mounts of process 1"),
    ROW(NAMESPACES, enter_by_pidfd, "setns(2) by a process outside"),
    ROW(NAMESPACES, parent_of_namespace, "setns(2) to the parent of the own user namespace"),
    ROW(NAMESPACES, enter_own_network, "setns(2) to the host's network"),
    ROW(NAMESPACES, map_root, "write the own uid_map again"),
    ROW(NAMESPACES, map_group, "write the own gid_map again"),
    ROW(NAMESPACES, map_somebody_else, "map another user in a user namespace"),
    ROW(NAMESPACES, map_group_with_setgroups, "map a group where setgroups(2) works"),
#define MOUNTS "Mounts"
    ROW(MOUNTS, write_locked, "write to what the host has mounted read-only"),
    ROW(MOUNTS, remount_locked, "remount it writable"),
    ROW(MOUNTS, remount_locked_nested, "remount it writable in a user namespace"),
    INSIDE(MOUNTS, remount_root_nested, "remount the image writable in a user namespace"),
    ROW(MOUNTS, remount_suid, "remount it without nosuid"),
    ROW(MOUNTS, remount_dev, "remount it without nodev"),
    ROW(MOUNTS, remount_exec, "remount it without noexec"),
    ROW(MOUNTS, remount_suid_nested, "remount it without nosuid in a user namespace"),
    ROW(MOUNTS, superblock_of_root, "remount the file system of /"),
    ROW(MOUNTS, umount_below_dev, "unmount what the host has mounted below /dev"),
    ROW(MOUNTS, umount_below_dev_nested, "the same in a user namespace"),
    ROW(MOUNTS, umount_proc_nested, "unmount /proc in a user namespace"),
    ROW(MOUNTS, mount_device, "mount a disk"),
    ROW(MOUNTS, mount_proc, "mount a new proc"),
    ROW(MOUNTS, mount_sysfs, "mount a new sysfs"),
    ROW(MOUNTS, mount_devtmpfs, "mount a devtmpfs"),
    ROW(MOUNTS, mount_debugfs, "mount a debugfs"),
    ROW(MOUNTS, mount_securityfs, "mount a securityfs"),
    ROW(MOUNTS, handle, "open_by_handle_at(2)"),
#define FILES "Files and devices"
    ROW(FILES, foreign_read, "read a file that is closed to the caller"),
    ROW(FILES, foreign_write, "write to it"),
    ROW(FILES, foreign_take, "change its owner"),
    ROW(FILES, foreign_mode, "change its mode"),
    ROW(FILES, own_program, "write to /proc/self/exe"),
    ROW(FILES, node_character, "make a character device"),
    ROW(FILES, node_block, "make a block device"),
    ROW(FILES, node_nested, "make a device in a user namespace"),
    ROW(FILES, device_mem, "open /dev/mem"),
    ROW(FILES, device_port, "open /dev/port"),
    ROW(FILES, device_kmsg, "write to /dev/kmsg"),
    ROW(FILES, device_disk, "read a disk"),
    ROW(FILES, device_msr, "open a processor's registers"),
    ROW(FILES, kcore, "open /proc/kcore"),
    ROW(FILES, file_to_others, "give a file to another user"),
    ROW(FILES, trusted_attribute, "set a trusted attribute"),
#define KERNEL "The kernel"
    ROW(KERNEL, core_pattern, "write kernel.core_pattern"),
    ROW(KERNEL, modprobe, "write kernel.modprobe"),
    ROW(KERNEL, sysctl_vm, "write vm.overcommit_memory"),
    ROW(KERNEL, sysctl_hostname, "write kernel.hostname"),
    ROW(KERNEL, sysctl_forward, "write net.ipv4.ip_forward"),
    ROW(KERNEL, sysrq, "write /proc/sysrq-trigger"),
    ROW(KERNEL, uevent_helper, "write /sys/kernel/uevent_helper"),
    ROW(KERNEL, power_state, "write /sys/power/state"),
    ROW(KERNEL, oom_score, "lower the own oom_score_adj"),
    ROW(KERNEL, cgroup_root, "move to the root of the control groups"),
    ROW(KERNEL, release_agent, "write a release_agent"),
    ROW(KERNEL, hostname, "sethostname(2)"),
    ROW(KERNEL, domainname, "setdomainname(2)"),
    ROW(KERNEL, restart, "reboot(2)"),
    ROW(KERNEL, swap, "swapon(2)"),
    ROW(KERNEL, accounting, "acct(2)"),
    ROW(KERNEL, quota, "quotactl(2)"),
    ROW(KERNEL, log_clear, "clear the kernel's log"),
    ROW(KERNEL, ports, "ioperm(2)"),
    ROW(KERNEL, port_level, "iopl(2)"),
    ROW(KERNEL, module_load, "init_module(2)"),
    ROW(KERNEL, module_remove, "delete_module(2)"),
    ROW(KERNEL, kexec, "kexec_load(2)"),
    ROW(KERNEL, hang_up, "vhangup(2)"),
    ROW(KERNEL, time_of_day, "settimeofday(2)"),
    ROW(KERNEL, time_rate, "adjtimex(2)"),
#define RESOURCES "Others' data and the node's resources"
    ROW(RESOURCES, bpf_program, "load a program for kprobes with bpf(2)"),
    ROW(RESOURCES, perf_of_all, "perf_event_open(2) of a whole processor"),
    ROW(RESOURCES, userfaults, "userfaultfd(2) for faults in the kernel"),
    ROW(RESOURCES, fanotify, "fanotify(7) with permission events"),
    ROW(RESOURCES, packets, "a packet(7) socket"),
    ROW(RESOURCES, raw_socket, "a raw(7) socket"),
    ROW(RESOURCES, real_time, "a real-time priority"),
    ROW(RESOURCES, nicer, "a nice value of -20"),
    ROW(RESOURCES, raise_limit, "a hard limit raised"),
    ROW(RESOURCES, network_down, "take a network interface down"),
    ROW(RESOURCES, type_for_others, "TIOCSTI on a terminal that is not one's own"),
    ROW(RESOURCES, key_to_others, "give a key to another user"),
    INSIDE(RESOURCES, key_of_stranger, "find a key of the user's keyring outside"),
#define IDENTITY "Identity"
    ROW(IDENTITY, another_user, "setresuid(2) to another user"),
    ROW(IDENTITY, another_group, "setresgid(2) to another group"),
    ROW(IDENTITY, no_groups, "setgroups(2) to no group"),
    ROW(IDENTITY, setgroups_allow, "allow setgroups(2)"),
    ROW(IDENTITY, new_privileges, "take no_new_privs back"),
};

enum { COUNT = sizeof attempts / sizeof *attempts };

static int list(void)
{
    for (int i = 0; i < COUNT; i++)
        printf("%s\t%s\t%s\t%s\n", attempts[i].group, attempts[i].name, attempts[i].what,
               attempts[i].is_fine_outside ? "inside" : "everywhere");
    return 0;
}

static int try(void)
{
    for (int i = 0; i < COUNT; i++) {
        int status;
        fflush(stdout);
        pid_t child = fork();
        if (child == 0) {
            alarm(SECONDS);
            _exit(attempts[i].try());
        }
        if (child < 0 || waitpid(child, &status, 0) != child)
            return 1;
        printf("%s ", attempts[i].name);
        if (WIFSIGNALED(status))
            printf("signal %d\n", WTERMSIG(status));
        else if (WEXITSTATUS(status) == ESCAPED)
            printf("escaped\n");
        else
            printf("%s\n", strerrorname_np(WEXITSTATUS(status)));
    }
    return 0;
}

/* What ps calls a process; empty if it is gone. */
static const char *name_of(pid_t process)
{
    static char name[32];
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/comm", process);
    int file = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t count = file < 0 ? 0 : read(file, name, sizeof name - 1);
    if (file >= 0)
        close(file);
    name[count > 0 ? count - 1 : 0] = 0;
    return name;
}

/* The next process after one in a list. */
static pid_t next_process(DIR *list)
{
    struct dirent *entry;
    while ((entry = readdir(list)))
        if (atoi(entry->d_name) > 0)
            return atoi(entry->d_name);
    return 0;
}

static int read_of(const char *name)
{
    char byte;
    int file = open(of_stranger(name), O_RDONLY | O_CLOEXEC);
    ssize_t count = file < 0 ? -1 : read(file, &byte, 1);
    /* Nothing at all is what a process has that ends just now. */
    int error = count < 0 ? errno : count ? ESCAPED : ESRCH;
    if (file >= 0)
        close(file);
    return error;
}

static int trace_seize_only(void) { return failed(ptrace(PTRACE_SEIZE, stranger, 0, 0)); }
static int at_root(void) { return opened(of_stranger("root/"), O_RDONLY | O_DIRECTORY); }
static int at_directory(void) { return opened(of_stranger("cwd/"), O_RDONLY | O_DIRECTORY); }
static int at_null(void) { return opened(of_stranger("fd/0"), O_RDONLY); }
static int at_program(void) { return opened(of_stranger("exe"), O_RDONLY); }
static int at_environment(void) { return read_of("environ"); }
static int at_maps(void) { return read_of("maps"); }
static int at_memory(void) { return opened(of_stranger("mem"), O_RDWR); }
static int at_namespace(void) { return opened(of_stranger("ns/mnt"), O_RDONLY); }
static int take_null(void)
{
    int process = syscall(SYS_pidfd_open, stranger, 0);
    return process < 0 ? errno : failed(syscall(SYS_pidfd_getfd, process, 0, 0));
}

static const struct {
    const char *what;
    int (*make)(void);
} at_helpers[] = {
    {"root", at_root},           {"cwd", at_directory},
    {"fd/0", at_null},           {"exe", at_program},   {"environ", at_environment},
    {"maps", at_maps},           {"mem", at_memory},    {"ns", at_namespace},
    {"attach", trace_attach},    {"seize", trace_seize_only},
    {"vm_readv", memory_read},   {"vm_writev", memory_write},
    {"pidfd_getfd", take_null},
};

static int helpers(void)
{
    DIR *list = opendir("/proc");
    while (list && (stranger = next_process(list))) {
        char name[32];
        strcpy(name, name_of(stranger));
        if (strncmp(name, "hrun", 4) || strpbrk(name, "0123456789"))
            continue;
        for (size_t i = 0; i < sizeof at_helpers / sizeof *at_helpers; i++) {
            int error = at_helpers[i].make();
            const char *result = error ? strerrorname_np(error) : "escaped";
            if (error != ESRCH && error != ENOENT)
                printf("%d %s %s %s\n", stranger, name, at_helpers[i].what, result);
        }
    }
    return 0;
}

/* Whether a file of another process leads where this one cannot go. */
static int leads_out(const char *name, const struct stat *root)
{
    struct stat there;
    int file = open(of_stranger(name), O_PATH | O_CLOEXEC);
    if (file < 0)
        return 0;
    int is_it = !fstat(file, &there) &&
                (there.st_dev != root->st_dev || there.st_ino != root->st_ino);
    close(file);
    /* It may have become the command just before. */
    return is_it && !strcmp(name_of(stranger), "hrun");
}

static int watch(void)
{
    struct pollfd input = {0, POLLIN, 0};
    struct stat root;
    int caught = 0, seen = 0;
    stat("/", &root);
    puts("ready");
    fflush(stdout);
    while (!poll(&input, 1, 0)) {
        DIR *list = opendir("/proc");
        while (list && (stranger = next_process(list))) {
            if (strcmp(name_of(stranger), "hrun"))
                continue;
            seen++;
            caught += leads_out("root", &root) + leads_out("cwd", &root);
            for (int number = 3; number < 24; number++) {
                char name[16];
                snprintf(name, sizeof name, "fd/%d", number);
                caught += leads_out(name, &root);
            }
        }
        closedir(list);
    }
    printf("%d of %d\n", caught, seen);
    return 0;
}

static int hold(void)
{
    char byte;
    int file = open(outside, O_RDONLY);
    if (file < 0 || dup2(file, 7) < 0 ||
        syscall(SYS_add_key, "user", "hrun-outside", "x", 1, USER_KEYRING) < 0)
        return 1;
    puts("ready");
    fflush(stdout);
    return read(0, &byte, 1) < 0;
}

int main(int argc, char **argv)
{
    if (argc == 2 && !strcmp(argv[1], "list"))
        return list();
    if (argc == 2 && !strcmp(argv[1], "helpers"))
        return helpers();
    if (argc == 2 && !strcmp(argv[1], "watch"))
        return watch();
    outside = getenv("OUTSIDE");
    if (argc == 2 && !strcmp(argv[1], "hold") && outside)
        return hold();
    foreign = getenv("FOREIGN");
    locked = getenv("LOCKED");
    if (!outside || !foreign || !locked || !getenv("OUTSIDE_PID"))
        return 2;
    stranger = atoi(getenv("OUTSIDE_PID"));
    return try();
}
