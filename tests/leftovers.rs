//! Nothing of a run outlives it, however it ends.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::mount::MsFlags;

use super::support::live::PATIENCE;
use super::support::machine::{cover, set_propagation, with_own_mounts};
use super::support::scratch::{fingerprint, own};
use super::support::{Image, Scratch, WAYS, command, lacks, tester};

const RUNS: u64 = 1000;
/// Every second run is killed.
const KILLED_EACH: u64 = 2;
const AT_ONCE: usize = 4;
/// hrun needs about a millisecond, or three on a busy machine.
const LATEST_KILL_MICROSECONDS: u64 = 3000;

/// Set in every run to [`mark`], so that its processes can be told from those of other tests.
const MARK: &str = "HRUN_TEST_LEFTOVERS";

fn mark() -> String {
    std::process::id().to_string()
}

/// A run's number decides everything about it, together with the seed.
struct Runs {
    seed: u64,
    image: Image,
    layers: Scratch,
}

impl Runs {
    fn random(&self, number: u64) -> u64 {
        // splitmix64: numbers without a pattern from numbers in a row.
        let mut bits = self.seed.wrapping_add(number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// Kinds of runs: plain, with mount points to make, with a layer; in each way that has it.
    fn options(&self, number: u64) -> Vec<String> {
        let bind = "--bind=/usr/share:/opt/made/for/this".to_owned();
        let way = WAYS[(number / 5 % 3) as usize];
        let way = way.iter().map(|option| (*option).to_owned());
        match number % 5 {
            0 => way.collect(),
            1 => way.chain([bind]).collect(),
            2 => way.chain(["--private-tmp".to_owned(), "--contain".to_owned()]).collect(),
            3 => vec!["--write-fake".to_owned(), bind],
            _ => vec![format!("--overlay={}/{number}", self.layers.path().display())],
        }
    }

    fn run(&self, number: u64) {
        let mut command = command(self.options(number));
        command.arg(self.image.path()).env(MARK, mark());
        if number.is_multiple_of(KILLED_EACH) {
            command.args(["sleep", "60"]);
            return self.kill(command, number);
        }
        // Where the command can write is its own matter; what it leaves there is not hrun's.
        let script = format!(
            "echo > /tmp/{number}; busybox rm /tmp/{number}; touch /etc/written 2>/dev/null; exit 0"
        );
        let output = command.args(["sh", "-c", &script]).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        let options = self.options(number);
        assert!(output.status.success(), "run {number}: {options:?}\n{errors}");
        assert_eq!(errors, "", "run {number}: {options:?}");
    }

    /// Kills hrun at a random moment after it has started.
    fn kill(&self, mut command: Command, number: u64) {
        let mut child = command.spawn().unwrap();
        let exe = PathBuf::from(format!("/proc/{}/exe", child.id()));
        let spawned = Instant::now();
        while fs::read_link(&exe).unwrap() == *START_AS_TESTER {
            assert!(spawned.elapsed() < PATIENCE, "run {number} does not start");
        }
        let moment = Duration::from_micros(self.random(number) % LATEST_KILL_MICROSECONDS);
        let started = Instant::now();
        while started.elapsed() < moment {
            std::hint::spin_loop();
        }
        child.kill().unwrap();
        let status = child.wait().unwrap();
        assert_eq!(status.code(), None, "run {number} ended by itself: {status}");
    }
}

/// The program that becomes `hrun` as the tester.
static START_AS_TESTER: LazyLock<PathBuf> =
    LazyLock::new(|| fs::canonicalize("/usr/bin/setpriv").unwrap());

/// What must be the same before and after.
#[derive(Debug, PartialEq, Eq)]
struct World {
    directories: Vec<BTreeSet<PathBuf>>,
    image: Vec<String>,
    mounts: String,
    processes: Vec<String>,
}

impl World {
    fn look(runs: &Runs) -> Self {
        let home = tester().home.clone();
        let directories = ["/tmp", "/var/tmp", "/dev/shm", "/srv", "/mnt"].map(PathBuf::from);
        World {
            directories: directories.iter().chain([&home]).map(|path| names_in(path)).collect(),
            image: fingerprint(runs.image.path()),
            mounts: fs::read_to_string("/proc/thread-self/mountinfo").unwrap(),
            processes: marked_processes(),
        }
    }
}

fn names_in(directory: &Path) -> BTreeSet<PathBuf> {
    fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect()
}

/// The processes whose environment has the mark of these runs.
fn marked_processes() -> Vec<String> {
    let mark = format!("{MARK}={}\0", mark());
    let processes = fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().path());
    let is_marked = |process: &PathBuf| {
        let environment = fs::read(process.join("environ")).unwrap_or_default();
        environment.windows(mark.len()).any(|bytes| bytes == mark.as_bytes())
    };
    let describe =
        |process: PathBuf| fs::read_to_string(process.join("status")).unwrap_or_default();
    processes.filter(is_marked).map(describe).collect()
}

fn seed() -> u64 {
    std::env::var("HRUN_TEST_SEED").map_or(20_260_101, |seed| seed.parse().unwrap())
}

/// Empty directories for temporary files and home, which no other test uses, and mounts that
/// would be seen here if hrun let them out.
fn surroundings_of_our_own() {
    let home = &tester().home;
    for directory in ["/tmp", "/var/tmp", "/dev/shm"].map(Path::new).into_iter().chain([&**home]) {
        cover(directory, "size=64m");
    }
    own(home);
    set_propagation("/", MsFlags::MS_SHARED);
}

fn all_runs(runs: &Runs) {
    let next = AtomicU64::new(0);
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= RUNS {
                        break;
                    }
                    runs.run(number);
                }
            });
        }
    });
}

#[test]
fn nothing_outlives_a_thousand_runs_of_which_half_are_killed() {
    if lacks("root") {
        return;
    }
    with_own_mounts(|| {
        surroundings_of_our_own();
        let runs = Runs { seed: seed(), image: Image::tiny(), layers: Scratch::new() };
        eprintln!("to repeat: HRUN_TEST_SEED={}", runs.seed);
        let before = World::look(&runs);
        all_runs(&runs);
        assert_eq!(before, World::look(&runs));
    });
}
