//! The rows of the table.

use super::{Name, Row, Section, Takes, Times, Where, limits, ranks};

/// What most rows have in common.
pub(super) const FLAG: Row = Row {
    name: Name::Help,
    long: "",
    short: None,
    aliases: &[],
    short_aliases: &[],
    takes: Takes::Nothing,
    times: Times::Once,
    place: Where::Everywhere,
    section: Section::General,
    help: "",
    manual: "",
};

/// All options, in the order of help and manual.
pub const OPTIONS: &[Row] = &[
    Row {
        name: Name::Bind,
        long: "bind",
        short: Some('b'),
        aliases: &["volume"],
        short_aliases: &['B'],
        takes: Takes::Value("SRC[:DST[:OPT,...]]"),
        times: Times::Many,
        section: Section::Files,
        help: "Shows the host's SRC, a file or directory, at DST (default: the same path)",
        manual: "DST is created if the image lacks it; nothing is written to the image or the host. \
                 OPT is ro, rw, optional (a missing SRC is passed over) or norec (without what is \
                 mounted below SRC). Several binds may stand in one value, separated by commas; \
                 \\, and \\: are letters of a path. \
                 A DST below another bind works in any order of options. What hrun would show \
                 below DST by itself gives way.",
        ..FLAG
    },
    Row {
        name: Name::Mount,
        long: "mount",
        takes: Takes::Value("type=bind,src=SRC,dst=DST[,OPT...]"),
        times: Times::Many,
        section: Section::Files,
        help: "The same as --bind, as docker and podman write it",
        manual: "Understands src, source, dst, destination, target, ro, readonly, rw, optional and \
                 norec; paths may hold colons, and commas in double quotes: \"src=/a,b\".",
        ..FLAG
    },
    Row {
        name: Name::Cd,
        long: "cd",
        short: Some('c'),
        aliases: &["workdir", "pwd"],
        takes: Takes::Value("DIR"),
        section: Section::Files,
        help: "Starts the command in DIR",
        manual: "Without it the command starts in the current directory: see WHERE THE COMMAND \
                 STARTS.",
        ..FLAG
    },
    Row {
        name: Name::Home,
        long: "home",
        section: Section::Files,
        help: "Shows the home directory at its own path (the default)",
        ..FLAG
    },
    Row {
        name: Name::NoHome,
        long: "no-home",
        section: Section::Files,
        help: "Leaves the home directory out",
        ..FLAG
    },
    Row {
        name: Name::NoCwd,
        long: "no-cwd",
        section: Section::Files,
        help: "Leaves the current directory out",
        ..FLAG
    },
    Row {
        name: Name::PrivateTmp,
        long: "private-tmp",
        short: Some('t'),
        takes: Takes::OptionalValue("SIZE"),
        section: Section::Files,
        help: "Gives the command an empty /tmp in memory, SIZE (512m, 2g, 10%) at most",
        manual: "/var/tmp is another one, as large. A current directory below them is shown in them \
                 all the same; /tmp itself is hidden even where it is the current directory.",
        ..FLAG
    },
    Row {
        name: Name::Contain,
        long: "contain",
        section: Section::Files,
        help: "Hides home, current directory and /tmp; the home directory and /tmp are empty",
        manual: "/var/tmp is empty, too. The empty directories live in memory. Binds asked for by option, variable or \
                 configuration are still made.",
        ..FLAG
    },
    Row {
        name: Name::Write,
        long: "write",
        short: Some('w'),
        section: Section::Files,
        help: "Lets the command write to the image",
        manual: "Missing mount points are then created in the image, once it is sure that it is one \
                 and has COMMAND: a directory that looks like no image is refused, and so is an \
                 image that a store keeps.",
        ..FLAG
    },
    Row {
        name: Name::WriteFake,
        long: "write-fake",
        short: Some('W'),
        aliases: &["writable-tmpfs"],
        takes: Takes::OptionalValue("SIZE"),
        section: Section::Files,
        help: "Lets the command write to a layer in memory that is thrown away, SIZE at most",
        ..FLAG
    },
    Row {
        name: Name::Overlay,
        long: "overlay",
        takes: Takes::Value("DIR"),
        section: Section::Files,
        help: "Keeps what the command writes in DIR, for the next run",
        manual: "DIR is created if its parent exists. It must be on a local file system, and only \
                 one run at a time may use it.",
        ..FLAG
    },
    Row {
        name: Name::Unpack,
        long: "unpack",
        takes: Takes::OptionalValue("DIR"),
        section: Section::Files,
        help: "Runs a packed image from a copy that is unpacked in DIR, on this node",
        manual: "For nodes without /dev/fuse, and for jobs that read so much of an image that they are \
                 better off with files. Without DIR the copy is made in SLURM_TMPDIR, TMPDIR, /tmp or \
                 /var/tmp, the first of them on a local disk, else in memory. All that you run on the \
                 node from the same image shares it; it is removed when the last process in it has \
                 ended, or by the next start if the machine or everything was stopped. Image \
                 directories are run as they are.",
        ..FLAG
    },
    Row {
        name: Name::Store,
        long: "store",
        takes: Takes::Value("DIR"),
        section: Section::Files,
        help: "Looks in DIR for an image that is given by name",
        manual: "IMAGE is a name if there is no such file: debian:12 is what himage pull debian:12 has put \
                 there. Without it the store is $XDG_DATA_HOME/hrun, or ~/.local/share/hrun; himage \
                 uses the same, and the same variable and configuration. Of several, with colons \
                 between them, the first that has the image counts; an empty name is your own.",
        ..FLAG
    },
    Row {
        name: Name::Nv,
        long: "nv",
        aliases: &["nvidia"],
        takes: Takes::OptionalValue("optional"),
        section: Section::Devices,
        help: "Shows the host's NVIDIA driver, so that programs inside can use the GPUs",
        manual: "The libraries that belong to the running driver get their names in a directory of \
                 hrun's own, and the image's /etc/ld.so.cache is shown with these names in front; \
                 nothing is written to the image. nvidia-smi and its like are appended to PATH. \
                 Devices are those that open on the host, for this job; CUDA_VISIBLE_DEVICES passes \
                 as it is. A host without driver is an error in a job that was given GPUs, else a \
                 warning; with optional it is neither.",
        ..FLAG
    },
    Row {
        name: Name::Rocm,
        long: "rocm",
        aliases: &["amd"],
        takes: Takes::OptionalValue("optional"),
        section: Section::Devices,
        help: "Makes sure that programs inside can use the host's AMD GPUs",
        manual: "ROCm itself must be in the image. The nodes are the host's; what is missing or \
                 closed is said before the command starts, as with --nv.",
        ..FLAG
    },
    Row {
        name: Name::Intel,
        long: "intel",
        takes: Takes::OptionalValue("optional"),
        section: Section::Devices,
        help: "Makes sure that programs inside can use the host's Intel GPUs",
        manual: "Level Zero and OpenCL must be in the image. The nodes are the host's; what is \
                 missing or closed is said before the command starts, as with --nv.",
        ..FLAG
    },
    Row {
        name: Name::Gpus,
        long: "gpus",
        takes: Takes::Value("LIST"),
        section: Section::Devices,
        help: "Shows only these NVIDIA GPUs: all, none, or numbers, UUIDs, bus addresses",
        manual: "Implies --nv. Numbers count the GPUs that open for this job, in the order of their \
                 bus addresses, as nvidia-smi does. MIG devices are named by UUID. The other GPUs are \
                 not seen, and CUDA_VISIBLE_DEVICES is changed to mean what it meant before, among \
                 those that are left. NVIDIA_VISIBLE_DEVICES in the environment hrun is started in \
                 does the same where this option is not given.",
        ..FLAG
    },
    Row {
        name: Name::Device,
        long: "device",
        takes: Takes::Value("VENDOR/CLASS=NAME|NODE"),
        times: Times::Many,
        section: Section::Devices,
        help: "Shows a device that is described on the host (CDI), or a node of /dev",
        manual: "Descriptions are JSON and YAML files of the Container Device Interface in /etc/cdi \
                 and /var/run/cdi, as nvidia-ctk, AMD's and Intel's tools write them. Libraries, files \
                 and variables are shown as the description says; hooks are not run, but what those of \
                 NVIDIA do is done. Other devices of the same kind are hidden. Several may stand in one \
                 value, separated by commas.",
        ..FLAG
    },
    Row {
        name: Name::CdiDir,
        long: "cdi-dir",
        takes: Takes::Value("DIR"),
        times: Times::Many,
        section: Section::Devices,
        help: "Reads descriptions of devices from DIR too; the last DIR has the say",
        manual: "",
        ..FLAG
    },
    Row {
        name: Name::DriverRoot,
        long: "driver-root",
        takes: Takes::Value("DIR"),
        section: Section::Devices,
        help: "Looks for GPU drivers in DIR, which stands for /",
        manual: "For hosts whose driver is installed in a tree of its own.",
        ..FLAG
    },
    ranks::PID,
    ranks::JOIN,
    ranks::NO_JOIN,
    ranks::JOIN_TAG,
    ranks::JOIN_PID,
    ranks::JOIN_CT,
    limits::CPUS,
    limits::CPUSET,
    limits::MEMORY,
    limits::PIDS,
    limits::LIMITS,
    limits::PER_RANK,
    limits::PARENT,
    ranks::MPI,
    ranks::MPI_ROOT,
    ranks::MPI_GLIBC,
    Row {
        name: Name::SetEnv,
        long: "set-env",
        aliases: &["env-file"],
        takes: Takes::OptionalValue("FILE|NAME=VALUE"),
        times: Times::Many,
        section: Section::Environment,
        help: "Sets variables from FILE, or one variable; $NAME is expanded",
        manual: "Without a value the image's own variables are applied once more. The file's \
                 syntax is in section ENVIRONMENT FILES. All environment options count in the \
                 order they are given.",
        ..FLAG
    },
    Row {
        name: Name::SetEnv0,
        long: "set-env0",
        takes: Takes::Value("FILE"),
        times: Times::Many,
        section: Section::Environment,
        help: "Sets variables from NUL-separated records in FILE, taken as they are",
        ..FLAG
    },
    Row {
        name: Name::UnsetEnv,
        long: "unset-env",
        takes: Takes::Value("GLOB"),
        times: Times::Many,
        section: Section::Environment,
        help: "Removes the variables whose names match GLOB",
        manual: "GLOB is a shell pattern; the extended forms, !(A*|B*) and the like, work too.",
        ..FLAG
    },
    Row {
        name: Name::EnvNoExpand,
        long: "env-no-expand",
        times: Times::Many,
        section: Section::Environment,
        help: "Takes $ literally in the --set-env options that follow",
        ..FLAG
    },
    Row {
        name: Name::Env,
        long: "env",
        short: Some('e'),
        takes: Takes::Value("NAME[=VALUE]"),
        times: Times::Many,
        section: Section::Environment,
        help: "Sets one variable, literally; without a value takes the host's",
        ..FLAG
    },
    Row {
        name: Name::CleanEnv,
        long: "clean-env",
        aliases: &["cleanenv"],
        section: Section::Environment,
        help: "Starts from an empty environment instead of the host's",
        manual: "HOME, USER, LOGNAME, TERM, TZ, LANG and TMPDIR stay, and so does what job launchers and \
                 their sites hand to a rank: what it is, which GPUs and processors it has, how it reaches \
                 the others (SLURM_*, PBS_*, PMI*, OMPI_*, UCX_*, NCCL_* and the like), proxies; \
                 --keep-env keeps more.",
        ..FLAG
    },
    Row {
        name: Name::KeepEnv,
        long: "keep-env",
        takes: Takes::Value("GLOB"),
        times: Times::Many,
        section: Section::Environment,
        help: "Keeps host variables that --clean-env or --drop-env would remove",
        ..FLAG
    },
    Row {
        name: Name::DropEnv,
        long: "drop-env",
        takes: Takes::Value("GLOB"),
        times: Times::Many,
        section: Section::Environment,
        help: "Replaces the list of host variables that are not taken into the container",
        manual: "The list is by default LD_LIBRARY_PATH, LD_PRELOAD, LD_AUDIT, PYTHONHOME, \
                 PERL5LIB, GCONV_PATH and LOCPATH, which name files of the host, and BASH_FUNC_*, BASH_ENV \
                 and ENV, which shells run. The strongest \
                 layer that gives the option decides the whole list.",
        ..FLAG
    },
    Row {
        name: Name::Uid,
        long: "uid",
        short: Some('u'),
        takes: Takes::Value("N"),
        section: Section::Identity,
        help: "Shows the user as user id N inside",
        ..FLAG
    },
    Row {
        name: Name::Gid,
        long: "gid",
        short: Some('g'),
        takes: Takes::Value("N"),
        section: Section::Identity,
        help: "Shows the user's group as group id N inside",
        ..FLAG
    },
    Row {
        name: Name::Root,
        long: "root",
        aliases: &["fakeroot"],
        section: Section::Identity,
        help: "Shows the user as root inside, with capabilities over the container only",
        ..FLAG
    },
    Row {
        name: Name::Seccomp,
        long: "seccomp",
        takes: Takes::Value("PROFILE|fakeroot|unconfined"),
        section: Section::Rights,
        help: "Filters the command's system calls by PROFILE, a file as Docker and podman have it",
        manual: "PROFILE is JSON in their format or that of linux.seccomp of the OCI. Names of calls \
                 that this machine does not have are passed over, and noted with -v; one that no \
                 machine has is an error in a rule that forbids. Calls of 32-bit programs are filtered \
                 by the same names, whether or not socketcall or ipc carries them; those of kinds of programs that the profile is not \
                 about, and of x32, fail with ENOSYS. With fakeroot, calls that change the owner of a \
                 file or the ids of a process, and those that make device nodes, seem to succeed and \
                 do nothing, so that package managers work: hrun --root --write --seccomp=fakeroot. \
                 unconfined takes back what a configuration file says.",
        ..FLAG
    },
    Row {
        name: Name::CapKeep,
        long: "cap-keep",
        takes: Takes::Value("CAP,..."),
        times: Times::Many,
        section: Section::Rights,
        help: "Keeps these capabilities over the container, or all, and no other",
        manual: "Names are those of capabilities(7), with or without CAP_. The command has none \
                 without this option, and all with --root alone. They count in the container's \
                 namespaces only: the host's files, network and clock are not within their reach.",
        ..FLAG
    },
    Row {
        name: Name::CapDrop,
        long: "cap-drop",
        aliases: &["drop-caps"],
        takes: Takes::Value("CAP,..."),
        times: Times::Many,
        section: Section::Rights,
        help: "Takes these capabilities, or all, from what --root or --cap-keep give",
        manual: "With either option the bounding set is exactly what is left. Without them a user who \
                 is not root has a full one, from which nothing can be gained.",
        ..FLAG
    },
    Row {
        name: Name::DryRun,
        long: "dry-run",
        takes: Takes::OptionalValue("text|json|oci"),
        place: Where::CommandLine,
        section: Section::Diagnosis,
        help: "Prints what would be done, and who asked for it, and does nothing",
        manual: "json is what --plan reads; oci is a configuration for an OCI runtime.",
        ..FLAG
    },
    Row {
        name: Name::Plan,
        long: "plan",
        takes: Takes::Value("FILE"),
        place: Where::CommandLine,
        section: Section::Diagnosis,
        help: "Carries out a plan written by --dry-run=json; no IMAGE is given",
        ..FLAG
    },
    Row {
        name: Name::Doctor,
        long: "doctor",
        takes: Takes::OptionalValue("text|json"),
        place: Where::CommandLine,
        section: Section::Diagnosis,
        help: "Tries everything hrun needs from this machine and explains what fails",
        ..FLAG
    },
    Row {
        name: Name::Ps,
        long: "ps",
        takes: Takes::OptionalValue("text|json"),
        place: Where::CommandLine,
        section: Section::Diagnosis,
        help: "Lists your containers on this node: process, ranks, since when, step, image",
        manual: "The process is the oldest one; --join-pid takes it.",
        ..FLAG
    },
    Row {
        name: Name::AssumeMissing,
        long: "assume-missing",
        takes: Takes::Value("FEATURE,..."),
        section: Section::Diagnosis,
        help: "Does without a kernel feature: overlay, mount-setattr, pivot-root",
        manual: "For kernels that offer a feature and get it wrong, and for tests.",
        ..FLAG
    },
    Row {
        name: Name::NoConfig,
        long: "no-config",
        place: Where::CommandLine,
        section: Section::General,
        help: "Reads neither configuration files nor HRUN_* variables",
        ..FLAG
    },
    Row {
        name: Name::Verbose,
        long: "verbose",
        short: Some('v'),
        section: Section::General,
        help: "Says what hrun found and left out",
        ..FLAG
    },
    Row {
        name: Name::Quiet,
        long: "quiet",
        short: Some('q'),
        section: Section::General,
        help: "Prints no warnings; the command's own output is never touched",
        ..FLAG
    },
    Row {
        name: Name::Version,
        long: "version",
        short: Some('V'),
        place: Where::CommandLine,
        help: "Prints the version",
        ..FLAG
    },
    Row {
        name: Name::Help,
        long: "help",
        short: Some('h'),
        place: Where::CommandLine,
        help: "Prints this help",
        ..FLAG
    },
];
