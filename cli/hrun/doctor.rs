//! `hrun --doctor`: tries everything hrun needs from this machine, and explains what fails.
//!
//! The kernel's part is tried with the actions of real plans, in a child process.

use std::path::{Path, PathBuf};

use nix::errno::Errno;
use runtime::decide::{layout, limits, served};
use runtime::hints;
use runtime::inject::survey::{self, Finding};
use runtime::look::facts;
use runtime::look::host::Host;
use runtime::look::kernel::{Feature, Kernel};
use runtime::plan::{Action, Capabilities, EnterBy, Layer, Map, ReadOnlyBy};
use runtime::request::{Format, Request};
use runtime::text::{Text, shown};
use runtime::{Result, error};
use serde::Serialize;
use shim::trial;

use crate::{config, report};

/// What came of examining one thing.
#[derive(Debug, Serialize)]
struct Check {
    name: &'static str,
    status: Status,
    found: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    details: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<String>,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    /// As it should be.
    Ok,
    /// hrun works, with less or more slowly.
    Warning,
    /// hrun cannot work.
    Failed,
}

/// Everything that was found, for `--doctor=json`.
#[derive(Debug, Serialize)]
struct Examination {
    hrun: &'static str,
    kernel: String,
    works: bool,
    checks: Vec<Check>,
}

/// Examines the machine and prints what came of it; the exit status is 0 if hrun can work.
///
/// # Errors
///
/// Fails if standard output does.
pub fn examine(request: &Request, host: &Host, kernel: &Kernel, format: Format) -> Result<u8> {
    let mut checks = vec![identity(host), directory("home directory", home(host))];
    checks.push(directory("temporary directory", Some(PathBuf::from("/tmp"))));
    checks.push(directory("shared memory", Some(PathBuf::from("/dev/shm"))));
    checks.push(configuration(host));
    checks.extend(kernel_checks(host, kernel));
    checks.push(packed_images(host));
    checks.push(Check::from(limits::survey(request, host)));
    let root = request.driver_root.as_ref();
    let devices = survey::look(host, root, &request.cdi_directories);
    checks.extend(devices.into_iter().map(Check::from));
    let works = checks.iter().all(|check| check.status != Status::Failed);
    let examination = Examination {
        hrun: env!("CARGO_PKG_VERSION"),
        kernel: kernel.release().to_owned(),
        works,
        checks,
    };
    match format {
        Format::Json => report::print_json(&examination)?,
        Format::Text | Format::Oci => report::print(&text(&examination))?,
    };
    Ok(if works { 0 } else { error::STATUS_FAILED })
}

fn text(examination: &Examination) -> String {
    let mut text = format!("hrun {} on Linux {}\n", examination.hrun, examination.kernel);
    for check in &examination.checks {
        let label = match check.status {
            Status::Ok => "ok     ",
            Status::Warning => "warning",
            Status::Failed => "FAILED ",
        };
        text.push_str(&format!("{label}  {:24}{}\n", check.name, shown(&check.found)));
        for line in &check.details {
            text.push_str(&format!("           {}\n", shown(line)));
        }
        for line in check.remedy.iter().flat_map(|remedy| remedy.lines()) {
            text.push_str(&format!("           {}\n", shown(line)));
        }
    }
    let verdict = if examination.works { "hrun works here" } else { "hrun cannot work here" };
    text.push_str(&format!("{verdict}\n"));
    text
}

fn check(name: &'static str, status: Status, found: impl Into<String>) -> Check {
    Check { name, status, found: found.into(), details: Vec::new(), remedy: None }
}

impl From<Finding> for Check {
    fn from(finding: Finding) -> Self {
        let Finding { subject: name, is_fine, found, details, remedy } = finding;
        // hrun works without devices.
        let status = if is_fine { Status::Ok } else { Status::Warning };
        Check { name, status, found, details, remedy }
    }
}

impl Check {
    fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }
}

fn identity(host: &Host) -> Check {
    let passwd = host.read("/etc/passwd").unwrap_or_default();
    let found = format!("uid {}, gid {}", host.uid, host.gid);
    if runtime::passwd::find_user(&passwd, host.uid).is_some() {
        return check("you", Status::Ok, found);
    }
    if !host.getent("passwd", &[host.uid]).is_empty() {
        return check("you", Status::Ok, found + ", known to the name services");
    }
    let found = found + ", unknown to /etc/passwd and to getent";
    check("you", Status::Warning, found).remedy(
        "programs inside see the name $USER; install libc-bin for getent, or tell your site",
    )
}

fn home(host: &Host) -> Option<PathBuf> {
    host.path_variable("HOME")
}

/// A directory the command usually sees and writes to.
fn directory(name: &'static str, path: Option<PathBuf>) -> Check {
    let Some(path) = path else {
        return check(name, Status::Warning, "HOME is not set").remedy("export HOME");
    };
    let shown = path.display().to_string();
    match (path.is_dir(), is_writable(&path)) {
        (true, Ok(())) => check(name, Status::Ok, shown),
        (true, Err(errno)) => check(name, Status::Warning, format!("{shown}: {}", errno.desc()))
            .remedy("programs that write there fail, with and without hrun"),
        _ => check(name, Status::Warning, format!("{shown} does not exist"))
            .remedy("it is left out of containers"),
    }
}

fn is_writable(path: &Path) -> std::result::Result<(), Errno> {
    use nix::unistd::{AccessFlags, access};
    access(path, AccessFlags::W_OK | AccessFlags::X_OK)
}

fn configuration(host: &Host) -> Check {
    let files = config::files(host);
    let present = files.iter().filter(|file| host.read_named(file).is_ok());
    let present: Vec<String> = present.map(|file| file.display().to_string()).collect();
    let found = if present.is_empty() { "no files".to_owned() } else { present.join(", ") };
    match config::read(host) {
        Ok(_) => check("configuration", Status::Ok, found),
        Err(error) => check("configuration", Status::Failed, found).remedy(error.to_string()),
    }
}

/// Tries what a run does, from the namespaces to the last mount.
fn kernel_checks(host: &Host, kernel: &Kernel) -> Vec<Check> {
    let facts = facts::look(None);
    let mut checks = Vec::new();
    let unshare = Action::Unshare {
        uid: Map { inside: host.uid, outside: host.uid },
        gid: Map { inside: host.gid, outside: host.gid },
    };
    let limit =
        facts.max_user_namespaces.map_or(String::new(), |n| format!(", {n} of them allowed"));
    let namespaces = trial::attempt(std::slice::from_ref(&unshare));
    checks.push(match namespaces {
        Ok(()) => check("user namespaces", Status::Ok, format!("work{limit}")),
        Err(failure) => failed("user namespaces", failure.errno)
            .remedy(hints::for_unshare(failure.errno, &facts).unwrap_or_default()),
    });
    if namespaces.is_err() {
        return checks;
    }
    let Some(stage) = layout::free_stage(host, &[]) else {
        checks.push(
            check("stage", Status::Failed, "no directory to mount hrun's own files on")
                .remedy("make one of /srv, /mnt, /media, /opt"),
        );
        return checks;
    };
    let stage = Stage { unshare, path: stage };
    for (name, remedy, actions) in stage.required() {
        checks.push(match trial::attempt(&actions) {
            Ok(()) => check(name, Status::Ok, "works"),
            Err(failure) => failed(name, failure.errno)
                .remedy(hints::for_mount(failure.errno, &facts).unwrap_or(remedy.to_owned())),
        });
    }
    for (feature, name, remedy, actions) in stage.optional() {
        let tried = trial::attempt(&actions);
        let used = kernel.has(feature, host);
        checks.push(match (tried, used) {
            (Ok(()), true) => check(name, Status::Ok, "works"),
            (Ok(()), false) => check(name, Status::Ok, "works, but is not used").remedy(remedy),
            (Err(failure), false) => {
                let found = format!("does not work: {}", failure.errno.desc());
                check(name, Status::Warning, found).remedy(remedy)
            }
            (Err(failure), true) => failed(name, failure.errno)
                .remedy(format!("use --assume-missing={}; {remedy}", feature.name())),
        });
    }
    checks
}

/// Whether squashfs and SIF files can be run; directories can in any case.
fn packed_images(host: &Host) -> Check {
    match served::lack(host) {
        None => check("packed images", Status::Ok, "can be served"),
        Some((reason, remedy)) => check("packed images", Status::Warning, reason).remedy(remedy),
    }
}

fn failed(name: &'static str, errno: Errno) -> Check {
    check(name, Status::Failed, errno.desc())
}

/// Makes the actions to try.
struct Stage {
    unshare: Action,
    path: PathBuf,
}

type Required = (&'static str, &'static str, Vec<Action>);
type Optional = (Feature, &'static str, &'static str, Vec<Action>);

impl Stage {
    fn start(&self) -> Vec<Action> {
        let target = self.text("");
        vec![self.unshare.clone(), Action::Tmpfs { target, mode: 0o755, size: None }]
    }

    fn text(&self, name: &str) -> Text {
        if name.is_empty() { Text::from(&self.path) } else { Text::from(self.path.join(name)) }
    }

    fn with(&self, actions: impl IntoIterator<Item = Action>) -> Vec<Action> {
        self.start().into_iter().chain(actions).collect()
    }

    fn directory(&self, name: &str) -> Action {
        Action::Directory { path: self.text(name), mode: 0o755 }
    }

    fn bind(&self, source: &str, name: &str) -> Action {
        let (source, target) = (Text::from(source), self.text(name));
        Action::Bind { source, target, recursive: true }
    }

    /// What no run can do without.
    fn required(&self) -> Vec<Required> {
        let remedy = "a security module or a container around hrun forbids it";
        let mut required = vec![("private memory", remedy, self.start())];
        for (name, source) in
            [("bind of /dev", "/dev"), ("bind of /proc", "/proc"), ("bind of /sys", "/sys")]
        {
            required.push((name, remedy, self.with([self.directory("d"), self.bind(source, "d")])));
        }
        let target = self.text("");
        let by = ReadOnlyBy::Remount;
        let read_only = Action::ReadOnly { target, recursive: false, by };
        required.push(("read-only mounts", remedy, self.with([read_only])));
        let restrict = Action::Restrict { capabilities: Capabilities::Dropped };
        required.push((
            "giving up privileges",
            "PR_SET_NO_NEW_PRIVS must be allowed",
            vec![restrict],
        ));
        required
    }

    /// What a run uses if it is there.
    fn optional(&self) -> Vec<Optional> {
        let by = ReadOnlyBy::MountSetattr;
        let read_only = Action::ReadOnly { target: self.text(""), recursive: true, by };
        let by = EnterBy::PivotRoot;
        let pivot = [Action::Enter { root: self.text(""), by }, Action::Leave { by }];
        let below = Some(self.text("b"));
        let target = self.text("a");
        let overlay =
            Action::Overlay { target: target.clone(), below, layer: None, no_exec: false };
        let layer = Some(Layer { upper: self.text("b"), work: self.text("c") });
        let layer = Action::Overlay { target, below: None, layer, no_exec: false };
        let directories = ["a", "b", "c"].map(|name| self.directory(name));
        let with_directories = |action| self.with(directories.clone().into_iter().chain([action]));
        vec![
            (
                Feature::PivotRoot,
                "pivot_root",
                "the initial ramfs is the root here; hrun moves the image over it instead",
                self.with(pivot),
            ),
            (
                Feature::MountSetattr,
                "mount_setattr",
                "Linux 5.12 has it; hrun makes mounts read-only one by one instead",
                self.with([read_only]),
            ),
            (
                Feature::Overlay,
                "overlay",
                "Linux 5.11 has it, and the module must be loaded (modprobe overlay); hrun makes \
                 missing mount points by binds instead",
                with_directories(overlay),
            ),
            (
                Feature::Overlay,
                "overlay with a layer",
                "--write-fake and --overlay need it",
                with_directories(layer),
            ),
        ]
    }
}
