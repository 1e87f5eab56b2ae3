//! The command's environment, in the order of DESIGN §5, each variable with its origin.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use super::tree::Tree;
use crate::edits::{Edits, SetVariable};
use crate::envfile::{self, Assignment, Fault, Value};
use crate::error::{Error, Result};
use crate::look::containers;
use crate::look::files::Kind;
use crate::look::host::Host;
use crate::look::image::Image;
use crate::origin::Origin;
use crate::plan::{Note, Variable};
use crate::request::{Asked, EnvEdit, Request};
use crate::sys::glob_matches;

/// Host variables that name files of the host for loaders and interpreters.
const DROPPED: [&str; 7] = [
    "LD_LIBRARY_PATH",
    "LD_PRELOAD",
    "LD_AUDIT",
    "PYTHONHOME",
    "PERL5LIB",
    "GCONV_PATH",
    "LOCPATH",
];

/// Host variables that say where an MPI is installed, as a launcher that was moved sets them for its
/// ranks; the image's own MPI would look for its parts there.
const INSTALLATIONS: [&str; 5] =
    ["OPAL_PREFIX", "PMIX_PREFIX", "PMIX_INSTALL_PREFIX", "PRTE_PREFIX", "I_MPI_ROOT"];

/// Host variables that `--clean-env` keeps: who the caller is, the terminal, and how launchers
/// tell a rank what it is and which devices it has.
const KEPT_WHEN_CLEAN: [&str; 26] = [
    "HOME",
    "USER",
    "LOGNAME",
    "TERM",
    "TZ",
    "LANG",
    "SLURM_*",
    "SLURMD_*",
    "PMI_*",
    "PMI2_*",
    "PMIX_*",
    "OMPI_*",
    "PRTE_*",
    "PALS_*",
    "FLUX_*",
    "HYDI_*",
    "HYDRA_*",
    "MPI_LOCAL*",
    "OMP_*",
    "CUDA_VISIBLE_DEVICES",
    "NVIDIA_VISIBLE_DEVICES",
    "ROCR_VISIBLE_DEVICES",
    "HIP_VISIBLE_DEVICES",
    "ZE_AFFINITY_MASK",
    "GPU_DEVICE_ORDINAL",
    "TMPDIR",
];

/// What PATH is when neither image nor user sets it.
pub(super) const STANDARD_PATH: &str =
    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// How many bytes references to variables may stand for in all: more than the kernel gives any
/// program, and less than lines take that each double the one before.
const ROOM: usize = 64 << 20;

/// The environment while it is being built.
struct Environment<'a> {
    host: &'a Host,
    image: &'a Image,
    tree: &'a Tree<'a>,
    variables: BTreeMap<OsString, (OsString, Origin)>,
    /// What is left of [`ROOM`]; nothing if it was not enough.
    room: Cell<Option<usize>>,
}

/// Decides the whole environment of the command.
///
/// # Errors
///
/// Fails on an environment file that cannot be read, with file and line.
pub fn decide(
    request: &Request,
    host: &Host,
    image: &Image,
    tree: &Tree,
    injected: &Edits,
    notes: &mut Vec<Note>,
) -> Result<Vec<Variable>> {
    let variables = BTreeMap::new();
    let room = Cell::new(Some(ROOM));
    let mut environment = Environment { host, image, tree, variables, room };
    environment.take_from_host(request);
    environment.drop_missing(&INSTALLATIONS, notes);
    let host_path = environment.remove("PATH").unwrap_or_default();
    environment.set("PATH", STANDARD_PATH, &Origin::Default);
    environment.apply_image()?;
    environment.append_to_path(&host_path);
    environment.append("PATH", &injected.path);
    environment.append("LD_LIBRARY_PATH", &injected.library_path);
    environment.drop_missing(&["TMPDIR"], notes);
    for name in &injected.unset {
        environment.remove(name);
    }
    for SetVariable { name, value, origin } in &injected.variables {
        environment.variables.insert(name.clone(), (value.clone(), origin.clone()));
    }
    for Asked { value: edit, origin } in &request.env {
        environment.apply(edit, origin)?;
    }
    environment.set("HRUN_RUNNING", "1", &Origin::Default);
    let name = (image.file().as_os_str().to_owned(), Origin::Default);
    environment.variables.insert(OsString::from(containers::IMAGE), name);
    Ok(environment.finish())
}

/// Decides the environment of a command that joins a container: that of a process in it, as it was
/// started, and what was asked for.
///
/// # Errors
///
/// As [`decide`].
pub fn of_container(
    request: &Request,
    host: &Host,
    image: &Image,
    tree: &Tree,
    known: Vec<(OsString, OsString)>,
    origin: &Origin,
) -> Result<Vec<Variable>> {
    let known = known.into_iter().map(|(name, value)| (name, (value, origin.clone())));
    let mut environment =
        Environment { host, image, tree, variables: known.collect(), room: Cell::new(Some(ROOM)) };
    // The terminal is the caller's.
    if let Some(terminal) = host.variable("TERM") {
        let terminal = (terminal.to_owned(), Origin::Host);
        environment.variables.insert(OsString::from("TERM"), terminal);
    }
    for Asked { value: edit, origin } in &request.env {
        environment.apply(edit, origin)?;
    }
    Ok(environment.finish())
}

impl Environment<'_> {
    fn take_from_host(&mut self, request: &Request) {
        let matches = |globs: &[Asked<OsString>], name: &OsStr| {
            globs.iter().any(|glob| glob_matches(&glob.value, name))
        };
        for (name, value) in &self.host.variables {
            let drops = match &request.drop_env {
                Some(globs) => matches(globs, name),
                None => DROPPED.iter().any(|dropped| name == dropped),
            };
            let cleans = request.clean_env.is_some()
                && !KEPT_WHEN_CLEAN.iter().any(|glob| glob_matches(OsStr::new(glob), name));
            if (drops || cleans) && !matches(&request.keep_env, name) {
                continue;
            }
            // The first of several entries with one name is the one programs see.
            let entry = self.variables.entry(name.clone());
            entry.or_insert_with(|| (value.clone(), Origin::Host));
        }
    }

    /// Applies the image's own variables; each sees those before it. Who the caller is, no image
    /// can say.
    fn apply_image(&mut self) -> Result<()> {
        let config = &self.image.config;
        let is_callers = |name: &OsStr| ["HOME", "USER", "LOGNAME"].iter().any(|own| name == *own);
        for assignment in config.environment.iter().filter(|set| !is_callers(&set.name)) {
            let origin = Origin::Image(config.source.clone());
            self.assign(assignment, &origin)?;
        }
        Ok(())
    }

    /// Adds directories that hrun makes to a list of directories.
    fn append(&mut self, name: &str, directories: &[PathBuf]) {
        for directory in directories {
            let entry = self.variables.entry(name.into());
            let (list, _) = entry.or_insert_with(|| (OsString::new(), Origin::Default));
            if !list.is_empty() {
                list.push(":");
            }
            list.push(directory);
        }
    }

    /// Adds the host's directories for programs that exist inside too.
    fn append_to_path(&mut self, host_path: &OsStr) {
        let Some((path, _)) = self.variables.get_mut(OsStr::new("PATH")) else { return };
        let mut items: Vec<PathBuf> = std::env::split_paths(&path).collect();
        let mut joined = std::mem::take(path).into_vec();
        for directory in std::env::split_paths(host_path) {
            let is_new = directory.is_absolute() && !items.contains(&directory);
            if is_new && matches!(self.tree.find(&directory), Some((_, Kind::Directory))) {
                if !joined.is_empty() {
                    joined.push(b':');
                }
                joined.extend_from_slice(directory.as_os_str().as_bytes());
                items.push(directory);
            }
        }
        *path = OsString::from_vec(joined);
    }

    /// Drops variables that name a directory that is not there inside: whoever looks there fails.
    fn drop_missing(&mut self, names: &[&str], notes: &mut Vec<Note>) {
        for name in names {
            let Some((directory, _)) = self.variables.get(OsStr::new(name)) else { continue };
            let directory = Path::new(directory);
            if directory.is_absolute() && self.tree.find(directory).is_none() {
                let text = format!("{name} is dropped: no {} inside", directory.display());
                notes.push(Note::info(text));
                self.remove(name);
            }
        }
    }

    fn apply(&mut self, edit: &EnvEdit, origin: &Origin) -> Result<()> {
        match edit {
            EnvEdit::File { path, expand } => {
                for assignment in self.read_file(path, *expand, origin)? {
                    let line = Origin::env_file(path, assignment.line);
                    self.assign(&assignment, &line)?;
                }
            }
            EnvEdit::Records(path) => {
                let records = envfile::parse_records(&self.read(path, origin)?);
                for record in records.map_err(|fault| line_error(path, fault, origin))? {
                    self.assign(&record, origin)?;
                }
            }
            EnvEdit::Assign { name, value, expand } => {
                let value = if *expand {
                    Value::expandable(value.as_bytes()).map_err(|reason| {
                        Error::new(format!("set {}", name.display()), reason).asked_by(origin)
                    })?
                } else {
                    Value::literal(value.as_bytes())
                };
                self.assign(&Assignment { name: name.clone(), value, line: 0 }, origin)?;
            }
            EnvEdit::Host(name) => {
                let found = self.host.variables.iter().find(|(key, _)| key == name);
                match found {
                    Some((name, value)) => {
                        self.variables.insert(name.clone(), (value.clone(), origin.clone()));
                    }
                    None => drop(self.variables.remove(name)),
                }
            }
            EnvEdit::Image => self.apply_image()?,
            EnvEdit::Unset(glob) => self.variables.retain(|name, _| !glob_matches(glob, name)),
        }
        Ok(())
    }

    fn read(&self, path: &Path, origin: &Origin) -> Result<Vec<u8>> {
        self.host.read_named(path).map_err(|errno| {
            let hint = (errno == Errno::ENOENT)
                .then(|| "to set one variable, write --set-env=NAME=VALUE".to_owned());
            Error::new(format!("read environment file {}", path.display()), errno)
                .asked_by(origin)
                .hint_if_some(hint)
        })
    }

    /// With `--env-no-expand`, quotes and comments mean what they always do, and `$` itself.
    fn read_file(&self, path: &Path, expand: bool, origin: &Origin) -> Result<Vec<Assignment>> {
        let file = self.read(path, origin)?;
        let parse = if expand { envfile::parse } else { envfile::parse_literal };
        parse(&file).map_err(|fault| line_error(path, fault, origin))
    }

    fn assign(&mut self, assignment: &Assignment, origin: &Origin) -> Result<()> {
        let value = assignment.value.expand(&|name| {
            let (value, _) = self.variables.get(name)?;
            self.room.set(self.room.get().and_then(|room| room.checked_sub(value.len())));
            self.room.get().map(|_| value.clone())
        });
        if self.room.get().is_none() {
            let reason = "variables that stand for others have become longer than 64 MiB";
            let attempt = format!("set {}", assignment.name.display());
            return Err(Error::new(attempt, reason).asked_by(origin));
        }
        self.variables.insert(assignment.name.clone(), (value, origin.clone()));
        Ok(())
    }

    fn set(&mut self, name: &str, value: &str, origin: &Origin) {
        self.variables.insert(OsString::from(name), (OsString::from(value), origin.clone()));
    }

    fn remove(&mut self, name: &str) -> Option<OsString> {
        self.variables.remove(OsStr::new(name)).map(|(value, _)| value)
    }

    fn finish(self) -> Vec<Variable> {
        let variables = self.variables.into_iter();
        variables
            .map(|(name, (value, origin))| Variable {
                name: name.into(),
                value: value.into(),
                origin,
            })
            .collect()
    }
}

fn line_error(path: &Path, fault: Fault, origin: &Origin) -> Error {
    let attempt = format!("read environment file {}:{}", path.display(), fault.line);
    Error::new(attempt, fault.reason).asked_by(origin)
}
