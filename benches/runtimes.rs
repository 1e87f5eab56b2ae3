//! hrun and its peers as data: what runs a command in the image, and how.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::floor;
use crate::measure::output;
use crate::work::Places;

/// The command that is timed: a static program that ends at once.
pub const EXIT: &str = "/bench/exit";

/// The command whose system calls are counted: Debian's, linked to the C library.
pub const TRUE: &str = "/bin/true";

/// One way to run a command.
pub struct Entry {
    /// What the tables call it.
    pub name: &'static str,
    /// The Debian package.
    pub package: &'static str,
    /// The command line; [`Places::fill`] says what stands in braces.
    pub line: &'static str,
    /// Variables set for it.
    pub variables: &'static [(&'static str, &'static str)],
    /// How many variables more it finds, as a launcher sets them.
    pub job: usize,
    /// The option that prints a version.
    pub version: &'static str,
    /// A file of this machine without which there is nothing to measure.
    pub needs: &'static str,
    /// What it does less, or otherwise, than hrun.
    pub note: &'static str,
    /// The command line that takes away what it leaves behind, processes included.
    pub cleanup: &'static str,
    /// How long what it leaves running takes to end, so that it does not disturb the next.
    pub settle: Duration,
    /// Takes many times as long as the others, and leaves caches cold for whoever has the next turn.
    pub is_heavy: bool,
}

/// What most entries are.
pub const PLAIN: Entry = Entry {
    name: "",
    package: "",
    line: "",
    variables: &[],
    job: 0,
    version: "",
    needs: "/",
    note: "",
    cleanup: "",
    settle: Duration::ZERO,
    is_heavy: false,
};

/// Runs the command outside, without any container: what every start costs anyway.
pub const BARE: Entry =
    Entry { name: "bare", line: "{image}{command}", note: "no container", ..PLAIN };

/// A static program that executes the command, outside: what every runtime pays for being one.
pub const EXEC: Entry = Entry {
    name: "exec",
    line: "{programs}/floor -- {image}{command}",
    note: "no container: a static C program that executes the command",
    ..PLAIN
};

/// What is compared.
pub const HRUN: Entry = Entry {
    name: "hrun",
    line: "{programs}/hrun {image} {command}",
    version: "--version",
    note: "home, current directory, /tmp, /dev, /proc, /sys and five files of /etc",
    ..PLAIN
};

/// Everybody else, as cheap as each can be made while the command finds a home directory.
pub const PEERS: &[Entry] = &[
    Entry {
        name: "bwrap",
        package: "bubblewrap",
        line: "bwrap --ro-bind {image} / --dev-bind /dev /dev --bind /proc /proc --bind /sys /sys \
               --bind /tmp /tmp --bind {home} /home --chdir /home {command}",
        version: "--version",
        note: "does less: no file of /etc; the home directory covers /home, because bwrap cannot \
               make a mount point in an image of somebody else",
        ..PLAIN
    },
    Entry {
        name: "ch-run",
        package: "charliecloud",
        line: "ch-run --home {image} -- {command}",
        version: "--version",
        ..PLAIN
    },
    Entry {
        name: "unshare + chroot",
        package: "util-linux",
        line: "unshare --user --map-root-user --mount chroot {image} {command}",
        version: "--version",
        note: "does much less: no mounts at all, and the command is root; for information",
        ..PLAIN
    },
    Entry {
        name: "crun",
        package: "crun",
        line: "crun --root {work}/crun --cgroup-manager=disabled run --no-new-keyring \
               --bundle {work}/bundle{command} bench-{serial}",
        version: "--version",
        is_heavy: true,
        note: "the mounts of bwrap; the command is root, as runc wants it; no keyring, of which a \
               user may have 200",
        ..PLAIN
    },
    Entry {
        name: "runc",
        package: "runc",
        line: "runc --root {work}/runc run --no-new-keyring --bundle {work}/bundle{command} \
               bench-{serial}",
        version: "--version",
        note: "the same bundle as crun",
        is_heavy: true,
        ..PLAIN
    },
    Entry {
        name: "podman",
        package: "podman",
        line: "podman --root {work}/podman --runroot {work}/podman-run --cgroup-manager=cgroupfs \
               run --rm --read-only --network host --uts host --ipc private --cgroups disabled \
               --no-hosts --log-driver none --volume {home}:/home --rootfs {image} {command}",
        variables: &[("XDG_RUNTIME_DIR", "{work}/runtime")],
        version: "--version",
        note: "does more: namespaces for processes and IPC, a seccomp filter, a monitor process",
        cleanup: "podman --root {work}/podman --runroot {work}/podman-run system migrate",
        settle: Duration::from_millis(100),
        is_heavy: true,
        ..PLAIN
    },
    APPTAINER,
];

/// Without the set-user-id program it also has, which Debian packages apart.
pub const APPTAINER: Entry = Entry {
    name: "apptainer",
    package: "apptainer, of sid, which benches/apptainer.sh did not get",
    line: "apptainer exec --userns {image} {command}",
    variables: &[("APPTAINER_CONFIGDIR", "{work}/apptainer")],
    version: "--version",
    note: "the mounts of hrun, but /etc/localtime for /etc/machine-id; does more: /var/tmp, a shell \
           of its own that sets the image's variables, a process that stays until the command ends; \
           Debian's package, with the C library of its release",
    is_heavy: true,
    ..PLAIN
};

/// Peers that are given the driver of tests/install-gpus.sh; each costs what it takes longer than
/// without.
pub const GPU_PEERS: &[Entry] = &[Entry {
    name: "apptainer --nv",
    line: "apptainer exec --userns --nv {image} {command}",
    variables: &[
        ("APPTAINER_CONFIGDIR", "{work}/apptainer"),
        // What an image that Apptainer made would set.
        ("APPTAINERENV_LD_LIBRARY_PATH", "/.singularity.d/libs"),
    ],
    needs: DRIVER,
    note: "does less: 57 mounts of single files show the 36 of the 60 libraries that are both on \
           its list and in the loader's cache, and OpenGL of the machine's own",
    ..APPTAINER
}];

/// The variant the others are compared with.
pub const PLAINLY: &str = "plain";

/// The driver of tests/install-gpus.sh.
const DRIVER: &str = "/usr/local/nvidia/lib64/libcuda.so.1";

/// The variant with that driver.
pub const GPUS: &str = "--nv, 60 libraries";

/// hrun asked for more, or for the same in another way.
pub const VARIANTS: &[Entry] = &[
    Entry { name: PLAINLY, ..HRUN },
    Entry {
        name: "an image that lacks nothing",
        line: "{programs}/hrun {complete} {command}",
        ..HRUN
    },
    Entry {
        name: "without overlay",
        line: "{programs}/hrun --assume-missing=overlay {image} {command}",
        ..HRUN
    },
    Entry { name: "-W", line: "{programs}/hrun -W {image} {command}", ..HRUN },
    Entry {
        name: "10 binds more",
        line: "{programs}/hrun --bind {binds} {image} {command}",
        ..HRUN
    },
    Entry {
        name: "configuration of 60 lines, environment file of 30",
        line: "{programs}/hrun --set-env={work}/bench.env {image} {command}",
        variables: &[("XDG_CONFIG_HOME", "{work}/config")],
        ..HRUN
    },
    Entry { name: "100 variables of a job", job: 100, ..HRUN },
    Entry {
        name: GPUS,
        line: "{programs}/hrun --nv {image} {command}",
        needs: DRIVER,
        note: "the whole driver, by mounts of its directories",
        ..HRUN
    },
];

/// The least a start of hrun can take.
const FLOOR: Entry = Entry {
    name: "floor",
    line: "{programs}/floor STEP... -- {command}",
    note: "a C program that makes the system calls of hrun's plan and nothing else",
    ..PLAIN
};

/// A runtime of this machine.
pub struct Runtime {
    /// Where it came from.
    pub entry: &'static Entry,
    /// What it says of itself.
    pub version: String,
    /// The program and its arguments, with the braces that change from start to start.
    words: Vec<OsString>,
    variables: Vec<(String, String)>,
}

impl Runtime {
    /// Finds a runtime and runs the command in it once.
    ///
    /// # Errors
    ///
    /// Says why it cannot run here.
    pub fn find(entry: &'static Entry, places: &Places) -> Result<Self, String> {
        let mut words = entry.line.split_whitespace().map(|word| places.fill(word));
        let program = words.next().unwrap_or_default();
        let program = find_program(&program, entry)?.into_os_string();
        let words = [program].into_iter().chain(words.map(OsString::from)).collect();
        let variables = variables(entry, places);
        let mut runtime = Runtime { entry, version: String::new(), words, variables };
        if let Err(reason) = output(&mut runtime.command(EXIT)) {
            runtime.clean_up(places);
            return Err(reason);
        }
        runtime.version = runtime.ask_version();
        Ok(runtime)
    }

    /// The floor of a start of hrun.
    ///
    /// # Errors
    ///
    /// Says which step of the plan the floor program does not know, or how it failed.
    pub fn floor_of(hrun: &Runtime, places: &Places) -> Result<Self, String> {
        let plan = serde_json::from_str(&output(&mut hrun.dry_run())?);
        let plan = plan.map_err(|error| format!("the plan of hrun: {error}"))?;
        let mut words = vec![places.programs.join("floor").into_os_string()];
        words.extend(floor::steps(&plan)?);
        words.extend(["--".into(), "{command}".into()]);
        let entry = &FLOOR;
        let variables = hrun.variables.clone();
        let floor = Runtime { entry, version: String::new(), words, variables };
        output(&mut floor.command(EXIT))?;
        Ok(floor)
    }

    /// Makes a start of a program in the image, ready to be spawned.
    pub fn command(&self, program: &str) -> Command {
        self.one_of(1, program)
    }

    /// Makes one of so many starts that belong together; some runtimes have to be told how many.
    pub fn one_of(&self, count: usize, program: &str) -> Command {
        /// Containers that exist at the same time need names of their own.
        static SERIAL: AtomicUsize = AtomicUsize::new(0);
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed).to_string();
        let mut words = self.words.iter().map(|word| match word.to_str() {
            Some(text) => {
                let text = text.replace("{command}", program).replace("{serial}", &serial);
                text.replace("{count}", &count.to_string()).into()
            }
            None => word.clone(),
        });
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words).envs(self.variables.iter().cloned());
        command
    }

    /// The start of hrun that only decides, and prints its plan.
    pub fn dry_run(&self) -> Command {
        let real = self.command(EXIT);
        let mut command = Command::new(real.get_program());
        command.args(["--quiet", "--dry-run=json"]).args(real.get_args());
        command.envs(self.variables.iter().cloned());
        command
    }

    /// Takes away what it left behind.
    pub fn clean_up(&self, places: &Places) {
        let mut words = self.entry.cleanup.split_whitespace().map(|word| places.fill(word));
        let Some(program) = words.next() else { return };
        let mut command = Command::new(program);
        command.args(words).envs(self.variables.iter().cloned());
        if let Err(reason) = output(&mut command) {
            eprintln!("{}: {reason}", self.entry.cleanup);
        }
    }

    fn ask_version(&self) -> String {
        if self.entry.version.is_empty() {
            return String::new();
        }
        let mut command = Command::new(&self.words[0]);
        let version = command.arg(self.entry.version).envs(self.variables.iter().cloned());
        output(version)
            .ok()
            .and_then(|text| text.lines().next().map(str::to_owned))
            .unwrap_or_default()
    }
}

fn variables(entry: &Entry, places: &Places) -> Vec<(String, String)> {
    let own = entry.variables.iter().map(|(name, value)| ((*name).to_owned(), places.fill(value)));
    let job = (0..entry.job).map(|number| {
        (format!("SLURM_BENCH_{number}"), format!("a value of the usual length, number {number}"))
    });
    own.chain(job).collect()
}

/// Looks a program up where an ordinary user's PATH need not lead: runc is in /usr/sbin.
fn find_program(name: &str, entry: &Entry) -> Result<PathBuf, String> {
    if name.contains('/') {
        return Ok(PathBuf::from(name));
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let mut directories = env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    let found = directories.find(|directory| directory.join(name).is_file());
    found
        .map(|directory| directory.join(name))
        .ok_or_else(|| format!("not installed; Debian has it in package {}", entry.package))
}
