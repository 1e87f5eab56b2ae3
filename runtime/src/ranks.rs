//! Which processes of a node are ranks of one step, and so share namespaces.
//!
//! Every launcher says in a variable which step a rank belongs to; that of PMI-1 is known by the
//! process at the other end of the socket it gives each rank.

use std::ffi::OsStr;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use rustc_hash::FxHasher;

use crate::error::{Error, Result};
use crate::ids;
use crate::look::files::Kind;
use crate::look::host::Host;
use crate::origin::Origin;
use crate::plan::{Action, EnterBy, Note, Step, Task};
use crate::request::{Join, Request};

/// What a step is known by: variables that together name it, and what its file is called after.
const STEPS: [(&str, &[&str]); 4] = [
    ("pmix", &["PMIX_NAMESPACE"]),
    ("slurm", &["SLURM_JOB_ID", "SLURM_STEP_ID"]),
    ("pals", &["PALS_APID"]),
    ("flux", &["FLUX_JOB_ID"]),
];

/// A file's name is no longer; what is behind is told by a number.
const NAME_LIMIT: usize = 120;

/// What launchers call the number of a rank. Where one launcher starts another, the inner one's differ.
const NUMBERS: [&str; 8] = [
    "SLURM_PROCID",
    "PMIX_RANK",
    "PMI_RANK",
    "OMPI_COMM_WORLD_RANK",
    "MV2_COMM_WORLD_RANK",
    "PALS_RANKID",
    "FLUX_TASK_RANK",
    "JSM_NAMESPACE_RANK",
];

/// The file in which the ranks of this step meet, and who asked for it.
pub fn file(request: &Request, host: &Host) -> Option<(PathBuf, Origin)> {
    let (key, origin) = match &request.join {
        Some(asked) if matches!(asked.value, Join::Nobody | Join::Process(_)) => return None,
        Some(asked) => match &asked.value {
            Join::Tag(tag) => (format!("tag-{tag}"), asked.origin.clone()),
            _ => (step(host).or_else(|| parent(host))?, asked.origin.clone()),
        },
        None => (step(host)?, Origin::Default),
    };
    // Who is somebody else inside has other maps, and cannot be joined.
    let (uid, gid) = (ids::user(request, host).inside, ids::group(request, host).inside);
    let key = match (uid, gid) == (host.uid, host.gid) {
        true => key,
        false => format!("{key}-as-{uid}-{gid}"),
    };
    Some((directory(host).join(name(&key)), origin))
}

/// Refuses other ids inside where MPI would hang with them.
///
/// # Errors
///
/// Fails if the launcher's PMIx server would compare the ids with those of the job (PMIx,
/// `psec/native`).
pub fn check(request: &Request, host: &Host) -> Result<()> {
    let (uid, gid) = (ids::user(request, host).inside, ids::group(request, host).inside);
    if (uid, gid) == (host.uid, host.gid) || host.variable("PMIX_NAMESPACE").is_none() {
        return Ok(());
    }
    let asked = [
        request.uid.as_ref().map(|asked| &asked.origin),
        request.gid.as_ref().map(|asked| &asked.origin),
        request.root.as_ref(),
    ];
    let origin = asked.into_iter().flatten().next().unwrap_or(&Origin::Default);
    Err(Error::new(
        format!("be user {uid} and group {gid} inside"),
        "the launcher of this rank speaks PMIx, which takes nobody but the job's own user: MPI \
         would hang",
    )
    .asked_by(origin)
    .hint(
        "leave --root, --uid and --gid out, or start the ranks by srun --mpi=pmi2 or MPICH's \
         mpiexec;\nwithout MPI: srun --mpi=none, or env -u PMIX_NAMESPACE hrun ...",
    ))
}

/// Whether this process is a rank that a launcher has started.
pub fn is_rank(host: &Host) -> bool {
    step(host).is_some()
}

/// The launcher and the step that variables name.
pub fn named_step<'a>(
    variable: &dyn Fn(&str) -> Option<&'a OsStr>,
) -> Option<(&'static str, String)> {
    STEPS.iter().find_map(|(launcher, variables)| {
        let values: Option<Vec<&OsStr>> = variables.iter().map(|name| variable(name)).collect();
        let values: Vec<_> = values?.iter().map(|value| value.to_string_lossy()).collect();
        Some((*launcher, values.join(".")))
    })
}

/// What the ranks of this step call their control group; nothing if the process is no rank and
/// shares with nobody.
pub fn group(request: &Request, host: &Host) -> Option<String> {
    let met = file(request, host);
    let met = met.and_then(|(file, _)| Some(file.file_name()?.to_string_lossy().into_owned()));
    met.or_else(|| step(host).map(|key| name(&key)))
}

/// A number that no other rank of the step has, if a launcher has given this process one, and sharing
/// was left to hrun: what is asked for is shared whatever the process is.
///
/// What a rank starts inherits its variables, so several processes may have the same.
pub fn task(request: &Request, host: &Host) -> Option<u64> {
    let is_asked_for = request.join.as_ref().is_some_and(|asked| asked.value != Join::Nobody);
    if is_asked_for || !is_rank(host) {
        return None;
    }
    let mut hasher = FxHasher::default();
    let mut is_known = false;
    for name in NUMBERS {
        let value = host.variable(name);
        is_known |= value.is_some();
        value.hash(&mut hasher);
    }
    // 0 is nobody's.
    is_known.then(|| hasher.finish().max(1))
}

/// The same for what ranks share apart from their namespaces.
pub fn task_of_group(request: &Request, host: &Host) -> Option<Task> {
    let number = task(request, host)?;
    let met = file(request, host).map(|(file, _)| file);
    let file = met.or_else(|| Some(directory(host).join(name(&step(host)?))))?;
    Some(Task { file: file.into(), number })
}

/// Which of the ranks of a step on this node the process is, as launchers say it.
pub fn local_rank(host: &Host) -> Option<usize> {
    const RANKS: [&str; 6] = [
        "SLURM_LOCALID",
        "OMPI_COMM_WORLD_LOCAL_RANK",
        "MPI_LOCALRANKID",
        "PALS_LOCAL_RANKID",
        "FLUX_TASK_LOCAL_ID",
        "PMIX_LOCAL_RANK",
    ];
    let mut ranks = RANKS.iter().filter_map(|name| host.variable(name)?.to_str()?.parse().ok());
    ranks.next().filter(|_| is_rank(host))
}

/// Whether a batch system has started this process, directly or not.
pub fn is_in_job(host: &Host) -> bool {
    const JOBS: [&str; 8] = [
        "SLURM_JOB_ID",
        "PBS_JOBID",
        "LSB_JOBID",
        "FLUX_JOB_ID",
        "PALS_APID",
        "OAR_JOB_ID",
        "JOB_ID",
        "PMIX_NAMESPACE",
    ];
    JOBS.iter().any(|name| host.variable(name).is_some())
}

/// What the step is known by.
fn step(host: &Host) -> Option<String> {
    let named = named_step(&|name| host.variable(name));
    named.map(|(launcher, name)| format!("{launcher}-{name}")).or_else(|| {
        let socket = host.variable("PMI_FD")?.to_str()?.parse().ok()?;
        let (pid, started) = host.peer(socket)?;
        Some(format!("pmi-{pid}-{started}"))
    })
}

fn parent(host: &Host) -> Option<String> {
    let (pid, started) = host.parent()?;
    Some(format!("parent-{pid}-{started}"))
}

/// A directory of this node alone: a file system of several nodes has no common process numbers. All
/// ranks of a node find the same, whatever their environment is.
fn directory(host: &Host) -> PathBuf {
    let place = if shared_memory(host).is_ok() { SHARED_MEMORY } else { "/tmp" };
    Path::new(place).join(format!("hrun-{}", host.uid))
}

const SHARED_MEMORY: &str = "/dev/shm";

/// Whether ranks can meet in memory, or why not.
fn shared_memory(host: &Host) -> std::result::Result<(), Errno> {
    match host.find(Path::new(SHARED_MEMORY))? {
        Some((_, Kind::Directory)) => Ok(()),
        Some(_) => Err(Errno::ENOTDIR),
        None => Err(Errno::ENOENT),
    }
}

/// Says where ranks meet if it is not where they should: MPI wants shared memory as well.
pub fn note(host: &Host) -> Option<Note> {
    let errno = shared_memory(host).err().filter(|_| is_rank(host))?;
    Some(Note::warning(format!(
        "{SHARED_MEMORY} cannot be used ({}): the ranks of this step meet in {}",
        errno.desc(),
        directory(host).display()
    )))
}

/// A name for a file: letters that are safe, and not too many.
fn name(key: &str) -> String {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "._-".contains(letter);
    let plain: String = key.chars().map(|l| if is_plain(l) { l } else { '_' }).collect();
    if plain == key && plain.len() <= NAME_LIMIT {
        return plain;
    }
    let mut hasher = FxHasher::default();
    key.hash(&mut hasher);
    let start: String = plain.chars().take(NAME_LIMIT).collect();
    format!("{start}-{:x}", hasher.finish())
}

/// The one step that takes the place of all those of a layout, if a container is to be joined.
///
/// # Errors
///
/// Fails where a container's root is not that of its mount namespace.
pub fn join(request: &Request, host: &Host, steps: Vec<Step>) -> Result<Vec<Step>> {
    let Some((asked, Join::Process(pid))) =
        request.join.as_ref().map(|asked| (asked, &asked.value))
    else {
        return Ok(steps);
    };
    let step = Action::Join { pid: *pid, processes: host.has_other_processes(*pid) };
    if steps.iter().any(|step| step.action == Action::Leave { by: EnterBy::MoveMount }) {
        let reason = "on a node without a disk, containers cannot be joined from outside";
        return Err(Error::new(step.describe(), reason).asked_by(&asked.origin));
    }
    Ok(joined(step, &asked.origin))
}

/// A step that joins a container; only children come to be in another PID namespace.
pub fn joined(step: Action, origin: &Origin) -> Vec<Step> {
    let is_supervised = matches!(step, Action::Join { processes: true, .. });
    let supervise = is_supervised.then(|| Action::Supervise.asked_by(origin));
    [step.asked_by(origin)].into_iter().chain(supervise).collect()
}

/// Puts the meeting around the steps that the first rank alone takes.
pub fn meet(steps: Vec<Step>, file: PathBuf, task: Option<u64>, origin: &Origin) -> Vec<Step> {
    let Some(leave) = steps.iter().position(|step| matches!(step.action, Action::Leave { .. }))
    else {
        return steps;
    };
    // Who comes to a mount namespace finds himself at its root, which here is not the container's.
    let is_moved = steps[leave].action == Action::Leave { by: EnterBy::MoveMount };
    let layout = (!is_moved).then(|| {
        let mut hasher = FxHasher::default();
        steps[..=leave].iter().for_each(|step| step.action.hash(&mut hasher));
        // 0 is nobody's.
        hasher.finish().max(1)
    });
    let mut met = Vec::with_capacity(steps.len() + 5);
    met.push(Action::Meet { file: file.into(), layout, task }.asked_by(origin));
    for (index, step) in steps.into_iter().enumerate() {
        met.push(step);
        if index == leave {
            met.push(Action::Admit.asked_by(origin));
        }
    }
    met
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_have_names_of_their_own() {
        let host = |pairs: &[(&str, &str)]| {
            pairs.iter().fold(Host::fake("/nowhere"), |host, (name, value)| {
                host.with_variable(name, *value)
            })
        };
        let step = |pairs: &[(&str, &str)]| step(&host(pairs));
        assert_eq!(step(&[("SLURM_JOB_ID", "7")]), None, "a batch script is no step");
        let slurm = [("SLURM_JOB_ID", "7"), ("SLURM_STEP_ID", "0")];
        assert_eq!(step(&slurm), Some("slurm-7.0".to_owned()));
        let pmix = [slurm[0], slurm[1], ("PMIX_NAMESPACE", "slurm.pmix.7.0")];
        assert_eq!(step(&pmix), Some("pmix-slurm.pmix.7.0".to_owned()));
        assert_eq!(step(&[("PMI_FD", "x")]), None);
    }

    #[test]
    fn names_of_files_are_safe_and_differ() {
        assert_eq!(name("slurm-7.0"), "slurm-7.0");
        let strange = ["pmix-a/../b", "pmix-a_.._b", "pmix-\u{e9}", "pmix-a b"];
        let names: Vec<String> = strange.iter().map(|key| name(key)).collect();
        assert!(names.iter().all(|name| !name.contains('/')), "{names:?}");
        assert_ne!(names[0], names[1]);
        let long = "x".repeat(300);
        assert!(name(&long).len() < 150 && name(&long) != name(&(long.clone() + "y")));
    }
}
