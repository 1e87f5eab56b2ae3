//! Commands that are killed leave nothing that looks finished, and the next one goes on.

use std::ffi::OsString;
use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::support::keep::{Made, SAYS, Store};
use super::support::{Scratch, hrun};

/// Kills commands at moments by chance, as often as they are to be at work then.
pub struct Killer {
    random: u64,
    /// The latest moment; comes nearer after a command that had ended before it was killed.
    longest: Duration,
    left: usize,
    tries: usize,
}

impl Killer {
    /// For a command that takes about so long; the seed is what a failure is repeated with.
    pub fn new(seed: u64, longest: Duration, times: usize) -> Killer {
        Killer { random: seed, longest, left: times, tries: 20 * times }
    }

    /// Whether commands are to be killed still.
    pub fn goes_on(&self) -> bool {
        assert!(
            self.left == 0 || self.tries > 0,
            "{} more were to be at work when they are killed",
            self.left
        );
        self.left > 0
    }

    /// Kills one; whether it was at work then.
    pub fn kill(&mut self, command: &mut Command) -> bool {
        self.tries = self.tries.saturating_sub(1);
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let after = self.longest.mul_f64((self.random % 10_000) as f64 / 10_000.0);
        let was_at_work = killed(command, after);
        self.left = self.left.saturating_sub(was_at_work.into());
        self.longest = self.longest.mul_f64(if was_at_work { 1.02 } else { 0.9 });
        was_at_work
    }
}

/// Kills a command after a time; whether it was at work then.
fn killed(command: &mut Command, after: Duration) -> bool {
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let until = Instant::now() + after;
    while Instant::now() < until {
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        std::thread::sleep(Duration::from_micros(200));
    }
    let was_at_work = child.try_wait().unwrap().is_none();
    child.kill().unwrap();
    child.wait().unwrap();
    was_at_work
}

/// A seed nobody has had before.
pub fn seed() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64 | 1
}

/// Kills each command so many times, in stores that are full already and in new ones.
fn kill_each(times: usize) {
    let made = Made::new();
    made.skopeo("oci:layout:app", "docker-archive:docker.tar:app");
    made.sh("gzip < docker.tar > docker.tar.gz; tar -C bundle/rootfs -c . | xz -1 > root.tar.xz; chmod a+r *");
    let seed = seed();
    for (source, says) in [
        ("layout", true),
        ("docker.tar.gz", true),
        ("root.tar.xz", false),
        ("bundle/rootfs", false),
    ] {
        let words = |name: &str| -> Vec<OsString> {
            vec!["import".into(), made.path(source).into(), name.into()]
        };
        let started = Instant::now();
        Store::new().himage(words("app")).ok();
        let mut imports = Killer::new(seed, started.elapsed(), times);
        let store = Store::new();
        let started = Instant::now();
        let _ = store.himage(["remove", "app"]);
        let mut removals = Killer::new(seed, started.elapsed(), times);
        let mut number = 0;
        while imports.goes_on() || removals.goes_on() {
            number += 1;
            let case = format!("{source}, seed {seed}, number {number}");
            imports.kill(&mut store.command(words("app")));
            let verified = store.himage(["verify"]);
            assert_eq!(verified.status, Some(0), "{case}: {}", verified.stderr);
            // What has its name is complete.
            let named = store.path().join("names/docker.io/library/app:latest");
            if number % 2 == 0 || named.symlink_metadata().is_ok() {
                store.himage(words("app")).ok();
                match says {
                    true => assert_eq!(store.hrun(&["app"]).ok(), SAYS, "{case}"),
                    false => assert_eq!(
                        store.hrun(&["app", "cat", "/etc/layer"]).ok(),
                        "upper\n",
                        "{case}"
                    ),
                }
                removals.kill(&mut store.command(["remove", "app"]));
                let _ = store.himage(["remove", "app"]);
            }
        }
        store.himage(words("app")).ok();
        store.himage(["verify"]).ok();
        store.himage(["remove", "app"]).ok();
        for directory in ["blobs/sha256", "trees", "names", "tmp"] {
            assert_eq!(store.names(directory), [""; 0], "{source}, seed {seed}: {directory}");
        }
    }
    kill_writing(&made, seed, times);
    kill_reading(&made, seed, times);
}

/// What is written to a place of its own: whatever is there runs.
fn kill_writing(made: &Made, seed: u64, times: usize) {
    let store = Store::new();
    for (command, name) in
        [("import", "app"), ("import", "app.sqfs"), ("convert", "app"), ("convert", "app.sqfs")]
    {
        let place = Scratch::new();
        let dest = place.join(name);
        let words = || [OsString::from(command), made.path("layout").into(), dest.clone().into()];
        let clear = || match dest.is_dir() {
            true => fs::remove_dir_all(&dest).unwrap(),
            false => fs::remove_file(&dest).unwrap(),
        };
        let started = Instant::now();
        store.himage(words()).ok();
        let mut killer = Killer::new(seed, started.elapsed(), times);
        clear();
        while killer.goes_on() {
            killer.kill(&mut store.command(words()));
            if !dest.exists() {
                store.himage(words()).ok();
            }
            let away = ["--no-home", "--no-cwd"].map(std::path::PathBuf::from);
            let said = hrun(away.into_iter().chain([dest.clone()])).ok();
            assert_eq!(said, SAYS, "{command} {name}, seed {seed}");
            clear();
        }
        // The last one has swept what killed ones left.
        store.himage(words()).ok();
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1, "{command} {name}");
    }
}

/// What only reads changes nothing, whenever it ends.
fn kill_reading(made: &Made, seed: u64, times: usize) {
    let store = Store::new();
    store.himage(["import".into(), made.path("layout").into(), OsString::from("app")]).ok();
    for words in [&["list"][..], &["inspect", "app"], &["verify"]] {
        let started = Instant::now();
        let said = store.himage(words).ok();
        let mut killer = Killer::new(seed, started.elapsed(), times);
        while killer.goes_on() {
            killer.kill(&mut store.command(words));
        }
        assert_eq!(store.himage(words).ok(), said, "{words:?}, seed {seed}");
    }
    store.himage(["verify"]).ok();
    assert_eq!(store.hrun(&["app"]).ok(), SAYS);
}

#[test]
fn a_killed_command_leaves_nothing_that_looks_finished() {
    kill_each(5);
}

#[test]
#[ignore = "takes minutes: make test-full"]
fn a_command_is_killed_at_fifty_moments() {
    kill_each(50);
}
