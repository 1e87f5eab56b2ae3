//! What is seen where: the cells of docs/kernels.md, as data.

/// Releases of Debian, whose kernels are booted, and why.
pub const SUITES: [(&str, &str); 4] = [
    ("bullseye", "no overlay in user namespaces, no mount_setattr(2)"),
    ("bookworm", ""),
    ("trixie", ""),
    ("sid", "the newest there is"),
];

/// Configurations of a kernel, as `tests/kernels/test.sh` calls them, and what they are.
pub const CONFIGURATIONS: [(&str, &str); 6] = [
    ("v2", "Control groups of version 2, a subtree of them the user's"),
    ("v1", "Control groups of version 1, handed over"),
    ("old", "System calls of Linux 4.18"),
    ("hidepid", "`hidepid=2`"),
    ("none", "`user.max_user_namespaces` is 0"),
    ("clone", "`kernel.unprivileged_userns_clone` is 0"),
];

/// The checks of `tests/kernels/checks.sh`, and what they try.
pub const CHECKS: [(&str, &str); 18] = [
    ("directory", "a directory, with destinations that it lacks"),
    ("packed", "a squashfs file, with a destination that it lacks"),
    ("ranks", "two ranks of a step"),
    ("ranks_pid", "the same with `--pid`"),
    ("pid", "`--pid`"),
    ("limits", "`--cpus`, `--pids-limit`"),
    ("limits_more", "`--cpuset`, `--memory`"),
    ("affinity", "`--cpus`, no group being the user's"),
    ("seccomp", "`--seccomp`, Docker's profile"),
    ("fakeroot", "`--seccomp=fakeroot`"),
    ("root", "`--root`"),
    ("write_fake", "`--write-fake`"),
    ("overlay", "`--overlay`"),
    ("join", "`--ps`, `--join-pid`"),
    ("join_pid", "the same with `--pid`"),
    ("escapes", "attempts to get out"),
    ("doctor", "`--doctor`"),
    ("left", "nothing is left behind"),
];

/// Where a check is made.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    pub suite: &'static str,
    pub configuration: &'static str,
}

/// What the table says of a check.
#[derive(Clone, Copy, Debug)]
pub enum Cell {
    /// It is as everywhere.
    Works,
    /// It works in another way, or with less: in a word, and why.
    Otherwise(&'static str, &'static str),
    /// hrun says why not: its words are in the line.
    Refused,
}

/// What is seen of checks in some places.
pub struct Row {
    pub checks: &'static [&'static str],
    pub when: fn(Place) -> bool,
    /// The line of the check; `*` stands for anything.
    pub line: &'static str,
    pub cell: Cell,
}

impl Row {
    /// What is seen of a check in a place; nothing where it is not made.
    pub fn of(check: &str, place: Place) -> Option<&'static Row> {
        ROWS.iter().find(|row| row.checks.contains(&check) && (row.when)(place))
    }
}

const EVERYWHERE: fn(Place) -> bool = |_| true;
const SWITCHED_OFF: fn(Place) -> bool = |place| place.configuration == "none";
const FOR_ROOT_ONLY: fn(Place) -> bool = |place| place.configuration == "clone";
const STARTS: fn(Place) -> bool = |place| !SWITCHED_OFF(place) && !FOR_ROOT_ONLY(place);
const WITHOUT_OVERLAY: fn(Place) -> bool = |place| place.suite == "bullseye";

/// Debian builds newer kernels without the controllers cpuset and memory of version 1.
pub fn has_little_of_v1(suite: &str) -> bool {
    matches!(suite, "trixie" | "sid")
}

/// All that start something; nothing can be joined where nothing runs.
const STARTING: &[&str] = &[
    "directory",
    "packed",
    "ranks",
    "ranks_pid",
    "pid",
    "limits",
    "limits_more",
    "affinity",
    "seccomp",
    "fakeroot",
    "root",
    "write_fake",
    "overlay",
];

const BY_BINDS: Cell = Cell::Otherwise(
    "by binds",
    "Linux 5.10 has no overlay in user namespaces. What the image lacks is shown by binding its \
     entries into a directory in memory ([ARCHITECTURE.md](ARCHITECTURE.md)); the command sees the same.",
);

/// The first that fits counts.
const ROWS: &[Row] = &[
    Row { checks: &["left"], when: EVERYWHERE, line: "nothing", cell: Cell::Works },
    Row {
        checks: &["write_fake", "overlay"],
        when: WITHOUT_OVERLAY,
        line: "hrun: cannot write to a layer over the image: Linux 5.10.* has no overlay in user \
               namespaces|from: --*|hint: it takes Linux 5.11 and an image on a local file system or \
               NFS;|or run a copy of the image with --write|*status 125",
        cell: Cell::Refused,
    },
    Row {
        checks: STARTING,
        when: SWITCHED_OFF,
        line: "hrun: cannot make user and mount namespaces: No space left on device|hint: user \
               namespaces are switched off here (user.max_user_namespaces is 0);|ask the \
               administrator for: sysctl -w user.max_user_namespaces=65536|status 125",
        cell: Cell::Refused,
    },
    Row {
        checks: STARTING,
        when: FOR_ROOT_ONLY,
        line: "hrun: cannot make user and mount namespaces: Operation not permitted|hint: user \
               namespaces are for root only here (kernel.unprivileged_userns_clone is 0);|ask the \
               administrator for: sysctl -w kernel.unprivileged_userns_clone=1|status 125",
        cell: Cell::Refused,
    },
    Row {
        checks: &["doctor"],
        when: SWITCHED_OFF,
        line: "FAILED user namespaces No space left on device|user namespaces are switched off here \
               (user.max_user_namespaces is 0);|ask the administrator for: sysctl -w \
               user.max_user_namespaces=65536|*|hrun cannot work here|status 125",
        cell: Cell::Otherwise(
            "says so",
            "The same words, and `hrun cannot work here`; status 125.",
        ),
    },
    Row {
        checks: &["doctor"],
        when: FOR_ROOT_ONLY,
        line: "FAILED user namespaces Operation not permitted|user namespaces are for root only here \
               (kernel.unprivileged_userns_clone is 0);|ask the administrator for: sysctl -w \
               kernel.unprivileged_userns_clone=1|*|hrun cannot work here|status 125",
        cell: Cell::Otherwise(
            "says so",
            "The same words, and `hrun cannot work here`; status 125.",
        ),
    },
    Row {
        checks: &["directory"],
        when: WITHOUT_OVERLAY,
        line: "from the host|from the host|tmpfs|status 0",
        cell: BY_BINDS,
    },
    Row {
        checks: &["directory"],
        when: STARTS,
        line: "from the host|from the host|overlay|status 0",
        cell: Cell::Works,
    },
    Row {
        checks: &["packed"],
        when: WITHOUT_OVERLAY,
        line: "from the host|from the host|tmpfs|status 0|same",
        cell: BY_BINDS,
    },
    Row {
        checks: &["packed"],
        when: STARTS,
        line: "from the host|from the host|overlay|status 0|same",
        cell: Cell::Works,
    },
    Row {
        checks: &["ranks", "ranks_pid"],
        when: STARTS,
        line: "status 3|shared|reads|contained",
        cell: Cell::Works,
    },
    Row {
        checks: &["pid"],
        when: STARTS,
        line: "hrun-init|status 7|Killed|status 137|status 3|up|caught",
        cell: Cell::Works,
    },
    Row {
        checks: &["limits"],
        when: |place| place.configuration == "v1" && has_little_of_v1(place.suite),
        line: "cpu 50000|memory|pids 20|cpuset|nproc 2|status 0",
        cell: Cell::Works,
    },
    Row {
        checks: &["limits"],
        when: |place| place.configuration == "v1",
        line: "cpu 50000|memory*|pids 20|cpuset*|nproc 2|status 0",
        cell: Cell::Works,
    },
    Row {
        checks: &["limits"],
        when: STARTS,
        line: "cpu 50000 100000|memory*|pids 20|cpuset*|nproc 2|status 0",
        cell: Cell::Works,
    },
    Row {
        checks: &["limits_more"],
        when: |place| place.configuration == "v1" && has_little_of_v1(place.suite),
        line: "hrun: cannot keep the command to the CPUs 0: this machine has no control groups with \
               the controller cpuset|from: --cpuset 0|hint: ask the administrator to hand a control \
               group with the controller cpuset to you, and name it by --cgroup-parent \
               (docs/limits.md);|or leave --limits=require out|status 125|hrun: warning: limits: not \
               in force: 64M of memory (this machine has no control groups with the controller \
               memory)|status 0",
        cell: Cell::Refused,
    },
    Row {
        checks: &["limits_more"],
        when: STARTS,
        line: "cpu*|memory 67108864|pids*|cpuset 0|nproc 1|status 0|Killed|hrun: warning: the \
               memory limit of 64M was reached, and the kernel has killed for it|status 137",
        cell: Cell::Works,
    },
    Row {
        checks: &["affinity"],
        when: STARTS,
        line: "hrun: warning: limits: 1 CPU by affinity, CPUs * (no control group here is yours to \
               make others in)|1",
        cell: Cell::Otherwise(
            "by affinity",
            "hrun says so: `hrun: warning: limits: 1 CPU by affinity` ([limits.md](limits.md)).",
        ),
    },
    Row {
        checks: &["seccomp"],
        when: |place| place.configuration == "old",
        line: "getpid 0|keyctl 1|mount 1|clone3 38|pidfd_open 38|status 0",
        cell: Cell::Works,
    },
    Row {
        checks: &["seccomp"],
        when: STARTS,
        line: "getpid 0|keyctl 1|mount 1|clone3 38|pidfd_open 22|status 0",
        cell: Cell::Works,
    },
    Row {
        checks: &["fakeroot"],
        when: STARTS,
        line: "chown: /tmp/file: Invalid argument|given",
        cell: Cell::Works,
    },
    Row { checks: &["root"], when: STARTS, line: "0|mounted|status 0", cell: Cell::Works },
    Row { checks: &["write_fake"], when: STARTS, line: "x|status 0", cell: Cell::Works },
    Row { checks: &["overlay"], when: STARTS, line: "kept|status 0", cell: Cell::Works },
    Row {
        checks: &["join", "join_pid"],
        when: STARTS,
        line: "listed 1 image|first /etc|status 0|same",
        cell: Cell::Works,
    },
    Row {
        checks: &["escapes"],
        when: |place| WITHOUT_OVERLAY(place) && STARTS(place),
        line: "bare userfaults|inside userfaults|all made|inside --root superblock_of_root|inside \
               --root userfaults|all made|inside --cap-keep=all superblock_of_root|inside \
               --cap-keep=all userfaults|all made",
        cell: Cell::Otherwise(
            "as outside",
            "Two attempts meet no error here, and get nobody out: every user of Linux 5.10 may use \
             userfaultfd(2) for faults in the kernel, in a container or not \
             (`vm.unprivileged_userfaultfd`); and where the root directory is made by binds it is in \
             memory and the container's own, so its root may remount it.",
        ),
    },
    Row {
        checks: &["escapes"],
        when: STARTS,
        line: "all made|all made|all made",
        cell: Cell::Works,
    },
    Row {
        checks: &["doctor"],
        when: |place| WITHOUT_OVERLAY(place) && STARTS(place),
        line: "ok user namespaces work, * of them allowed|ok pivot_root works|warning mount_setattr \
               does not work: Function not implemented|Linux 5.12 has it; hrun makes mounts \
               read-only one by one instead|warning overlay does not work: Operation not \
               permitted|Linux 5.11 has it, and the module must be loaded (modprobe overlay); hrun \
               makes missing mount points by binds instead|warning overlay with a layer does not \
               work: Operation not permitted|--write-fake and --overlay need it|ok packed images can \
               be served|ok limits cpu, cpuset, memory, pids by control groups|hrun works here|status 0",
        cell: Cell::Otherwise(
            "works, warns",
            "It warns of what this kernel lacks, mount_setattr(2) and overlay, and says what hrun does \
             instead.",
        ),
    },
    Row {
        checks: &["doctor"],
        when: |place| place.configuration == "old",
        line: "ok user namespaces work, * of them allowed|ok pivot_root works|warning mount_setattr \
               does not work: Function not implemented|Linux 5.12 has it; hrun makes mounts \
               read-only one by one instead|ok overlay works|ok overlay with a layer works|ok packed \
               images can be served|ok limits cpu, cpuset, memory, pids by control groups|hrun works \
               here|status 0",
        cell: Cell::Otherwise(
            "works, warns",
            "It warns that there is no mount_setattr(2); mounts are made read-only one by one instead.",
        ),
    },
    Row {
        checks: &["doctor"],
        when: |place| place.configuration == "v1" && has_little_of_v1(place.suite),
        line: "ok user namespaces work, * of them allowed|ok pivot_root works|ok mount_setattr \
               works|ok overlay works|ok overlay with a layer works|ok packed images can be served|ok \
               limits cpu, pids by control groups|not cpuset: this machine has no control groups with \
               the controller cpuset (docs/limits.md)|hrun works here|status 0",
        cell: Cell::Otherwise(
            "works, says so",
            "Debian builds this kernel without the controllers cpuset and memory of version 1; \
             `--doctor` lists what there is.",
        ),
    },
    Row {
        checks: &["doctor"],
        when: STARTS,
        line: "ok user namespaces work, * of them allowed|ok pivot_root works|ok mount_setattr \
               works|ok overlay works|ok overlay with a layer works|ok packed images can be served|ok \
               limits cpu, cpuset, memory, pids by control groups|hrun works here|status 0",
        cell: Cell::Works,
    },
];
