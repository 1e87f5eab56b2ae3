//! Launchers of ranks, started by the lines of docs/mpi.md.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::Command;

use super::image::real;
use super::run::as_tester;
use super::slurm::cluster;

/// A launcher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Launcher {
    /// What the guide's table calls it.
    pub name: &'static str,
    /// Where this machine has it; below the wheels' directory if it is not absolute.
    path: &'static str,
}

const fn launcher(name: &'static str, path: &'static str) -> Launcher {
    Launcher { name, path }
}

/// All of the guide's table, two ranks each.
pub const LAUNCHERS: [Launcher; 7] = [
    launcher("Open MPI 4's mpirun", "/usr/bin/mpirun.openmpi"),
    launcher("Open MPI 5's mpirun", "openmpi/bin/mpirun"),
    launcher("MPICH 4's mpiexec", "/usr/bin/mpiexec.hydra"),
    launcher("MPICH 5's mpiexec", "mpich/bin/mpiexec.hydra"),
    launcher("Intel MPI's mpiexec", "impi_rt/bin/mpiexec.hydra"),
    launcher("srun, PMI-2", "/usr/bin/srun"),
    launcher("srun, PMIx", "/usr/bin/srun"),
];

impl Launcher {
    pub fn is_srun(&self) -> bool {
        self.path.ends_with("srun")
    }

    /// Whether it speaks PMIx to its ranks.
    pub fn speaks_pmix(&self) -> bool {
        self.name.contains("Open MPI") || self.name.contains("PMIx")
    }

    /// Its line of the guide, with a command in place of the guide's `hrun img app`.
    #[track_caller]
    pub fn command<S: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = S>) -> Command {
        let line = typed(self.name);
        let [_, options @ .., "hrun", "img", "app"] = &*line else {
            panic!("another command in {line:?}")
        };
        let mut command = match self.path {
            _ if self.is_srun() => cluster().command("srun"),
            path if path.starts_with('/') => as_tester(Path::new(path)),
            path => as_tester(&real("wheels").join(path)),
        };
        if self.is_srun() {
            // It tells of having waited for nodes.
            command.arg("--quiet");
        }
        // One node, no ssh, and maybe one processor.
        command.env("OMPI_MCA_plm", "isolated").env("OMPI_MCA_rmaps_base_oversubscribe", "1");
        command.env("PRTE_MCA_rmaps_default_mapping_policy", ":oversubscribe");
        command.args(options).args(words);
        command
    }
}

/// The names of the launchers in the guide.
pub fn names() -> Vec<&'static str> {
    let lines = guide().lines().filter_map(|line| line.strip_suffix(" hrun img app` |"));
    lines.map(|line| line[2..].split(" | ").next().unwrap()).collect()
}

fn guide() -> &'static str {
    let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/mpi.md");
    fs::read_to_string(guide).unwrap().leak()
}

/// The words of the code in a row of a table of the guide.
#[track_caller]
pub fn typed(row: &str) -> Vec<&'static str> {
    let start = format!("| {row} | `");
    let mut lines =
        guide().lines().filter_map(|line| line.strip_prefix(&start)?.strip_suffix("` |"));
    let line = lines.next().unwrap_or_else(|| panic!("no row '{row}' in docs/mpi.md"));
    line.split_whitespace().collect()
}
