//! The command's environment, in the order of DESIGN §5, each variable with its origin.

use std::env::split_paths;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use super::passed::{self, Verdict};
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
use crate::text::Text;
use crate::variables::{Change, STANDARD_PATH, Variables};

/// The shells that source an image's scripts; the first that the image has. Apptainer reads them as
/// bash does.
const SHELLS: [&str; 2] = ["/bin/bash", "/bin/sh"];

/// What scripts of an image see of the host's environment: who the caller is, and which of several
/// programs in the image is meant (SCIF).
const SEEN_BY_SCRIPTS: [&str; 5] =
    ["HOME", "USER", "LOGNAME", "APPTAINER_APPNAME", "SINGULARITY_APPNAME"];

/// The environment of the command.
pub struct Decided {
    /// All variables; where the image's scripts have a say, as far as it can be foreseen.
    pub variables: Vec<Variable>,
    /// What has a say in it.
    pub sourced: Option<Sourced>,
}

/// Scripts of the image that set variables, and what is done when they have run.
pub struct Sourced {
    /// The shell that runs them.
    pub shell: Text,
    /// The scripts, in order.
    pub scripts: Vec<Text>,
    /// What the shell starts with.
    pub start: Vec<Variable>,
    /// What the host sets, where the scripts do not.
    pub host: Vec<Variable>,
    /// What comes after both.
    pub changes: Vec<Change>,
    /// Who says that they are run.
    pub origin: Origin,
}

/// The environment while it is being built.
struct Environment<'a> {
    host: &'a Host,
    image: &'a Image,
    variables: Variables,
    sourced: Option<Sourced>,
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
) -> Result<Decided> {
    let mut environment =
        Environment { host, image, variables: Variables::default(), sourced: None };
    environment.take_from_host(request, tree, notes);
    let host_path = environment.variables.get("PATH").unwrap_or_default().to_owned();
    environment.change(Change::Remove { name: "PATH".into() })?;
    match shell(image, tree, notes) {
        Some(shell) => environment.source(shell, injected)?,
        None => {
            environment.set("PATH", STANDARD_PATH.as_ref(), &Origin::Default)?;
            environment.apply_image()?;
        }
    }
    environment.append_to_path(&host_path, tree)?;
    environment.append("PATH", injected.path.iter().map(Text::from).collect())?;
    environment
        .append("LD_LIBRARY_PATH", injected.library_path.iter().map(Text::from).collect())?;
    for name in &injected.unset {
        environment.change(Change::Remove { name: (*name).into() })?;
    }
    for SetVariable { name, value, origin } in &injected.variables {
        environment.assign(name, Value::literal(value.as_bytes()), origin)?;
    }
    for Asked { value: edit, origin } in &request.env {
        environment.apply(edit, origin)?;
    }
    environment.set("HRUN_RUNNING", OsStr::new("1"), &Origin::Default)?;
    environment.set(containers::IMAGE, image.file().as_os_str(), &Origin::Default)?;
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
    known: Vec<(OsString, OsString)>,
    origin: &Origin,
) -> Result<Decided> {
    let mut environment =
        Environment { host, image, variables: Variables::default(), sourced: None };
    for (name, value) in known {
        environment.variables.add(&name, &value, origin);
    }
    // The terminal is the caller's.
    if let Some(terminal) = host.variable("TERM") {
        environment.set("TERM", terminal, &Origin::Host)?;
    }
    for Asked { value: edit, origin } in &request.env {
        environment.apply(edit, origin)?;
    }
    Ok(environment.finish())
}

impl Decided {
    /// Sets a variable after everything else.
    pub fn set(&mut self, name: &str, value: &OsStr, origin: &Origin) {
        self.variables.retain(|variable| variable.name.as_bytes() != name.as_bytes());
        let (name, text) = (Text::from(name), Text::from(value.to_owned()));
        if let Some(sourced) = &mut self.sourced {
            let value = Value::literal(value.as_bytes());
            sourced.changes.push(Change::Set { name: name.clone(), value, origin: origin.clone() });
        }
        self.variables.push(Variable { name, value: text, origin: origin.clone() });
    }
}

/// The shell that sources the image's scripts, if there are any.
fn shell(image: &Image, tree: &Tree, notes: &mut Vec<Note>) -> Option<&'static str> {
    let config = &image.config;
    if config.scripts.is_empty() {
        return None;
    }
    let shell = SHELLS
        .into_iter()
        .find(|shell| matches!(tree.find(Path::new(shell)), Some((_, Kind::File))));
    if shell.is_none() && !config.skipped.is_empty() {
        let lines = config.skipped.join("; ");
        notes.push(Note::warning(format!(
            "{} sets variables by scripts, and the image has no /bin/sh to run them; not applied: {lines}",
            config.source
        )));
    }
    shell
}

impl Environment<'_> {
    /// Takes what the host sets, but for what is of no use inside.
    fn take_from_host(&mut self, request: &Request, tree: &Tree, notes: &mut Vec<Note>) {
        for (name, value) in &self.host.variables {
            if !passed::is_passed(request, name, value) {
                continue;
            }
            // The first of several entries with one name is the one programs see.
            match passed::judge(request, tree, name, value) {
                Verdict::Stays => self.variables.add(name, value, &Origin::Host),
                Verdict::Goes(reason) => {
                    notes.push(Note::info(format!("{} is dropped: {reason}", name.display())));
                }
                Verdict::Becomes(other, reason) => {
                    let text = format!("{} becomes {other}: {reason}", name.display());
                    notes.push(Note::info(text));
                    self.variables.add(name, OsStr::new(other), &Origin::Default);
                }
            }
        }
    }

    /// Has the image's scripts set its variables, and sets what can be foreseen of them.
    ///
    /// They do not see what the host sets, so `${NAME:-value}` gives the image's value; of the host's
    /// variables those are left that they do not set.
    fn source(&mut self, shell: &str, injected: &Edits) -> Result<()> {
        let config = &self.image.config;
        let origin = Origin::Image(config.source.clone());
        let mut scope = Variables::default();
        scope.add(OsStr::new("PATH"), OsStr::new(STANDARD_PATH), &Origin::Default);
        for name in SEEN_BY_SCRIPTS {
            let set = injected.variables.iter().find(|set| set.name == name);
            match (set, self.variables.get(name)) {
                (Some(set), _) => scope.add(OsStr::new(name), &set.value, &set.origin),
                (None, Some(value)) => scope.add(OsStr::new(name), value, &Origin::Host),
                (None, None) => {}
            }
        }
        let start = scope.list();
        for Assignment { name, value, .. } in &config.environment {
            let change = set_change(name, value.clone(), &origin);
            scope.change(&change).map_err(|_| too_long(name, &origin))?;
        }
        let host = self.variables.list();
        let seen = scope.list().into_iter();
        let seen = seen
            .filter(|variable| variable.name.as_bytes() == b"PATH" || !start.contains(variable));
        let owned = |Variable { name, value, origin }: Variable| {
            (name.as_os_str().to_owned(), value.as_os_str().to_owned(), origin)
        };
        self.variables.set_image(seen.map(owned));
        let scripts = config.scripts.iter().map(Text::from).collect();
        let shell = Text::from(shell);
        self.sourced = Some(Sourced { shell, scripts, start, host, changes: Vec::new(), origin });
        Ok(())
    }

    /// Applies the image's own variables; each sees those before it. Who the caller is, no image
    /// can say.
    fn apply_image(&mut self) -> Result<()> {
        let config = &self.image.config;
        let is_callers = |name: &OsStr| ["HOME", "USER", "LOGNAME"].iter().any(|own| name == *own);
        let origin = Origin::Image(config.source.clone());
        for Assignment { name, value, .. } in
            config.environment.iter().filter(|set| !is_callers(&set.name))
        {
            self.assign(name, value.clone(), &origin)?;
        }
        Ok(())
    }

    fn apply(&mut self, edit: &EnvEdit, origin: &Origin) -> Result<()> {
        match edit {
            EnvEdit::File { path, expand } => {
                for assignment in self.read_file(path, *expand, origin)? {
                    let line = Origin::env_file(path, assignment.line);
                    self.assign(&assignment.name, assignment.value, &line)?;
                }
            }
            EnvEdit::Records(path) => {
                let records = envfile::parse_records(&self.read(path, origin)?);
                for record in records.map_err(|fault| line_error(path, fault, origin))? {
                    self.assign(&record.name, record.value, origin)?;
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
                self.assign(name, value, origin)?;
            }
            EnvEdit::Host(name) => {
                let found = self.host.variables.iter().find(|(key, _)| key == name);
                match found {
                    Some((name, value)) => {
                        self.assign(name, Value::literal(value.as_bytes()), origin)?;
                    }
                    None => self.change(Change::Remove { name: name.clone().into() })?,
                }
            }
            EnvEdit::Image if self.sourced.is_some() => self.change(Change::Image)?,
            EnvEdit::Image => self.apply_image()?,
            EnvEdit::Unset(glob) => self.change(Change::Unset { glob: glob.clone().into() })?,
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

    fn assign(&mut self, name: &OsStr, value: Value, origin: &Origin) -> Result<()> {
        let change = set_change(name, value, origin);
        self.variables.change(&change).map_err(|_| too_long(name, origin))?;
        self.record(change);
        Ok(())
    }

    fn set(&mut self, name: &str, value: &OsStr, origin: &Origin) -> Result<()> {
        self.assign(OsStr::new(name), Value::literal(value.as_bytes()), origin)
    }

    /// Adds the host's directories for programs that exist inside too.
    fn append_to_path(&mut self, host_path: &OsStr, tree: &Tree) -> Result<()> {
        let path = self.variables.get("PATH").unwrap_or_default();
        // Scripts may set another one.
        let known: Vec<PathBuf> = match self.sourced {
            Some(_) => Vec::new(),
            None => split_paths(path).collect(),
        };
        let is_inside = |path: &Path| matches!(tree.find(path), Some((_, Kind::Directory)));
        let directories = split_paths(host_path)
            .filter(|path| path.is_absolute() && !known.contains(path) && is_inside(path));
        let directories = directories.map(Text::from).collect();
        self.append("PATH", directories)
    }

    /// Adds directories that are not in a list of directories.
    fn append(&mut self, name: &str, directories: Vec<Text>) -> Result<()> {
        match directories.is_empty() {
            true => Ok(()),
            false => self.change(Change::Append { name: name.into(), directories }),
        }
    }

    fn change(&mut self, change: Change) -> Result<()> {
        let made = self.variables.change(&change);
        made.map_err(|_| too_long(OsStr::new("variables"), &Origin::Default))?;
        self.record(change);
        Ok(())
    }

    /// Remembers a change that is to be made when the image's scripts have run.
    fn record(&mut self, change: Change) {
        if let Some(sourced) = &mut self.sourced {
            sourced.changes.push(change);
        }
    }

    fn finish(self) -> Decided {
        Decided { variables: self.variables.list(), sourced: self.sourced }
    }
}

fn set_change(name: &OsStr, value: Value, origin: &Origin) -> Change {
    Change::Set { name: Text::from(name.to_owned()), value, origin: origin.clone() }
}

fn too_long(name: &OsStr, origin: &Origin) -> Error {
    let reason = "variables that stand for others have become longer than 64 MiB";
    Error::new(format!("set {}", name.display()), reason).asked_by(origin)
}

fn line_error(path: &Path, fault: Fault, origin: &Origin) -> Error {
    let attempt = format!("read environment file {}:{}", path.display(), fault.line);
    Error::new(attempt, fault.reason).asked_by(origin)
}
