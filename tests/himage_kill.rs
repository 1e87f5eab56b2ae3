//! Commands that are killed leave nothing that looks finished, and the next one goes on.

use std::ffi::OsString;
use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::support::keep::{Made, SAYS, Store};
use super::support::{Scratch, hrun};

/// Kills a command at a moment; whether it was at work then.
pub fn killed(command: &mut Command, after: Duration) -> bool {
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let until = Instant::now() + after;
    while Instant::now() < until {
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        std::thread::sleep(Duration::from_micros(200));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    true
}

/// Moments between nothing and a time, by chance; the seed is what a failure is repeated with.
pub struct Moments {
    pub state: u64,
    pub longest: Duration,
}

/// A seed nobody has had before.
pub fn seed() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64 | 1
}

impl Iterator for Moments {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        Some(self.longest.mul_f64((self.state % 10_000) as f64 / 10_000.0))
    }
}

/// Kills each command so many times, in stores that are full already and in new ones.
fn kill_each(times: usize) {
    let made = Made::new();
    made.skopeo("oci:layout:app", "docker-archive:docker.tar:app");
    made.sh("gzip < docker.tar > docker.tar.gz; tar -C bundle/rootfs -c . | xz -1 > root.tar.xz; chmod a+r *");
    let seed = seed();
    let mut work = 0;
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
        let moments = Moments { state: seed, longest: started.elapsed() };
        let store = Store::new();
        for (number, moment) in moments.take(times).enumerate() {
            let case = format!("{source}, seed {seed}, number {number}, after {moment:?}");
            work += usize::from(killed(&mut store.command(words("app")), moment));
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
                work += usize::from(killed(&mut store.command(["remove", "app"]), moment / 8));
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
    assert!(work > times, "{work} commands were at work when they were killed");
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
        let moments = Moments { state: seed, longest: started.elapsed() };
        clear();
        for (number, moment) in moments.take(times).enumerate() {
            killed(&mut store.command(words()), moment);
            if !dest.exists() {
                store.himage(words()).ok();
            }
            let away = ["--no-home", "--no-cwd"].map(std::path::PathBuf::from);
            let said = hrun(away.into_iter().chain([dest.clone()])).ok();
            assert_eq!(said, SAYS, "{command} {name}, seed {seed}, number {number}");
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
        for moment in (Moments { state: seed, longest: started.elapsed() }).take(times) {
            killed(&mut store.command(words), moment);
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
