//! Commands that are killed leave nothing that looks finished, and the next one goes on.

use std::ffi::OsString;
use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::support::keep::{Made, SAYS, Store};
use super::support::{Scratch, hrun};

/// Kills a command at a moment; whether it was at work then.
fn killed(command: &mut Command, after: Duration) -> bool {
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
struct Moments {
    state: u64,
    longest: Duration,
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
    let seed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64 | 1;
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
    kill_unpacking(&made, seed, times);
}

/// An image that is unpacked to a directory of its own.
fn kill_unpacking(made: &Made, seed: u64, times: usize) {
    let place = Scratch::new();
    let store = Store::new();
    let dest = place.join("app");
    let words = || [OsString::from("import"), made.path("layout").into(), dest.clone().into()];
    let started = Instant::now();
    store.himage(words()).ok();
    let moments = Moments { state: seed, longest: started.elapsed() };
    fs::remove_dir_all(&dest).unwrap();
    for moment in moments.take(times) {
        killed(&mut store.command(words()), moment);
        if !dest.exists() {
            store.himage(words()).ok();
        }
        let away = ["--no-home", "--no-cwd"].map(std::path::PathBuf::from);
        assert_eq!(hrun(away.into_iter().chain([dest.clone()])).ok(), SAYS);
        fs::remove_dir_all(&dest).unwrap();
    }
    // The last one has swept what killed ones left.
    store.himage(words()).ok();
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1);
}

#[test]
fn a_killed_command_leaves_nothing_that_looks_finished() {
    kill_each(5);
}

#[test]
#[ignore = "takes minutes"]
fn a_command_is_killed_at_fifty_moments() {
    kill_each(50);
}
