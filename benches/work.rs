//! The places a run of the benchmark uses, and the files it makes for runtimes that need some.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process;

use serde_json::{Value, json};

use crate::runtimes::{EXIT, TRUE};

/// How many directories are bound where binds are counted.
const BINDS: usize = 10;

/// Directories, and what stands for them in command lines.
pub struct Places {
    /// `{programs}`: hrun and the floor, where the user can execute them.
    pub programs: PathBuf,
    /// `{home}`: the user's home directory, where everything is started.
    home: PathBuf,
    /// `{image}`: Debian's root directory with [`EXIT`]; it lacks the user's home directory.
    image: PathBuf,
    /// `{complete}`: the same, lacking nothing.
    complete: PathBuf,
    /// `{ranks}`: the same with MPI libraries and programs of `make bench-ranks`.
    ranks: PathBuf,
    /// `{python}`: the same with Python, and beside it what `make bench-packed` has packed of it.
    python: PathBuf,
    /// `{meeting}`: where ranks of the floor program find a living rank.
    pub meeting: PathBuf,
    /// `{work}`: a directory for this run, removed at its end.
    pub work: PathBuf,
    /// The name of a job that is this run's alone.
    pub job: String,
}

impl Places {
    /// Goes to the home directory and makes the directory for this run in it.
    ///
    /// # Errors
    ///
    /// Says which directory is missing or cannot be made.
    pub fn make() -> Result<Self, String> {
        let variable =
            |name| env::var_os(name).map(PathBuf::from).ok_or(format!("{name}: run `make bench`"));
        let (images, programs) = (variable("HRUN_TEST_IMAGES")?, variable("HRUN_TEST_PROGRAMS")?);
        let home = variable("HOME")?;
        env::set_current_dir(&home).map_err(|error| format!("{}: {error}", home.display()))?;
        let job = format!("bench-{}", process::id());
        let work = home.join(format!(".hrun-{job}"));
        let [image, complete, ranks, python] =
            ["bench", "complete", "ranks", "python"].map(|name| images.join(name));
        let uid = nix::unistd::geteuid();
        let meeting = PathBuf::from(format!("/dev/shm/hrun-{uid}/{job}"));
        let places = Places { programs, home, image, complete, ranks, python, meeting, work, job };
        places.fill_work().map_err(|error| format!("{}: {error}", places.work.display()))?;
        Ok(places)
    }

    fn fill_work(&self) -> std::io::Result<()> {
        for directory in
            ["apptainer", "config/hrun", "crun", "runc", "podman", "podman-run", "runtime", "tmp"]
        {
            fs::create_dir_all(self.work.join(directory))?;
        }
        for number in 0..BINDS {
            fs::create_dir_all(self.work.join(format!("binds/{number}")))?;
        }
        for command in [EXIT, TRUE] {
            // The command is part of the bundle: {work}/bundle{command}.
            let bundle = PathBuf::from(format!("{}/bundle{command}", self.work.display()));
            fs::create_dir_all(&bundle)?;
            fs::write(bundle.join("config.json"), self.bundle(command).to_string())?;
        }
        fs::write(self.work.join("config/hrun/config.toml"), config_file())?;
        fs::write(self.work.join("bench.env"), env_file())
    }

    /// Puts directories in place of their names in braces.
    pub fn fill(&self, text: &str) -> String {
        let binds: Vec<String> = (0..BINDS)
            .map(|number| format!("{}/binds/{number}:/mnt/{number}", self.work.display()))
            .collect();
        let filled = text.replace("{binds}", &binds.join(","));
        self.names().iter().fold(filled, |text, (name, directory)| {
            text.replace(&format!("{{{name}}}"), &directory.display().to_string())
        })
    }

    /// Puts names in place of directories: a record says nothing about where it was made.
    pub fn hide(&self, text: &str) -> String {
        self.names().iter().fold(text.to_owned(), |text, (name, directory)| {
            text.replace(&directory.display().to_string(), &name.to_uppercase())
        })
    }

    /// Inner directories before outer ones.
    fn names(&self) -> [(&'static str, &Path); 8] {
        [
            ("meeting", &self.meeting),
            ("work", &self.work),
            ("ranks", &self.ranks),
            ("python", &self.python),
            ("image", &self.image),
            ("complete", &self.complete),
            ("programs", &self.programs),
            ("home", &self.home),
        ]
    }

    /// A bundle of an OCI runtime with the mounts the other peers are given.
    fn bundle(&self, command: &str) -> Value {
        let bind = |source: &Path, destination: &str| {
            json!({
                "destination": destination, "type": "bind", "source": source, "options": ["rbind"]
            })
        };
        let same = ["/proc", "/dev", "/sys", "/tmp"].map(|path| bind(Path::new(path), path));
        let mounts: Vec<Value> = same.into_iter().chain([bind(&self.home, "/home")]).collect();
        let map = |id: u32| json!([{ "containerID": 0, "hostID": id, "size": 1 }]);
        json!({
            "ociVersion": "1.0.2",
            "root": { "path": self.image, "readonly": true },
            "process": {
                "args": [command], "cwd": "/home", "env": ["PATH=/usr/bin:/bin", "HOME=/home"],
                "user": { "uid": 0, "gid": 0 }, "noNewPrivileges": true
            },
            "mounts": mounts,
            "linux": {
                "namespaces": [{ "type": "user" }, { "type": "mount" }],
                "uidMappings": map(nix::unistd::geteuid().as_raw()),
                "gidMappings": map(nix::unistd::getegid().as_raw()),
            }
        })
    }
}

impl Drop for Places {
    fn drop(&mut self) {
        // What is left belongs to podman's other user ids; make bench says where it is.
        if let Err(error) = fs::remove_dir_all(&self.work) {
            eprintln!("left behind: {}: {error}", self.work.display());
        }
    }
}

/// 60 lines as a site writes them: comments, binds that may be missing, variables.
fn config_file() -> String {
    let mut lines: Vec<String> =
        (1..=15).map(|line| format!("# Explanation, line {line}")).collect();
    lines.push("bind = [".to_owned());
    lines
        .extend((0..20).map(|line| format!("  \"/site/software{line}:/opt/{line}:ro,optional\",")));
    lines.push("]".to_owned());
    lines.push("set-env = [".to_owned());
    lines.extend((0..20).map(|line| format!("  \"SITE_{line}=/opt/{line}/share:$HOME/{line}\",")));
    lines.push("]".to_owned());
    lines.push("quiet = true\n".to_owned());
    lines.join("\n")
}

/// 30 lines with names to expand and quotes.
fn env_file() -> String {
    let line = |line| format!("export BENCH_{line}=\"$HOME/lib{line}:${{PATH}}\" # line {line}\n");
    (1..=30).map(line).collect()
}
