//! Carries out a plan, step by step; decides nothing and words no message.
//!
//! The process that starts is the process that becomes the command. Where somebody has to stay behind
//! for it, whoever calls says how ([`limits::Watch`]).
#![allow(clippy::disallowed_methods, reason = "this is where the plan is carried out")]

pub mod limits;
mod meeting;
mod mountinfo;
mod overlay;
mod serve;
mod source;
mod unpack;

use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::unistd::Pid;

use self::limits::Watch;
use self::meeting::{Found, Meeting};
pub use self::serve::{DEVICE, Serve, Served};
pub use self::source::MARK as SOURCED;
pub use self::unpack::{Outlive, Unpack};
use crate::cpus::CpuList;
use crate::look::packed::PackedTree;
use crate::paths::inner;
use crate::plan::{Action, Capabilities, EnterBy, Map, Plan, ReadOnlyBy, Step, Variable};
use crate::seccomp::{Filter, Flag};
use crate::sys::meeting::Locked;
use crate::sys::{MountFlags, copy, file, group, meeting as namespaces, mount, process};
use crate::text::Text;
use crate::variables;

/// Those who stay behind where a plan asks for it; `shim` has them.
#[derive(Clone, Copy)]
pub struct Keepers {
    /// Removes control groups.
    pub watch: Watch,
    /// Starts what serves a packed image.
    pub serve: Serve,
    /// Unpacks an image.
    pub unpack: Unpack,
    /// Removes what was unpacked.
    pub outlive: Outlive,
    /// Makes a PID namespace with an init, which ends only while it holds the file alone.
    pub isolate: fn(process::Alone, Option<Locked>) -> Result<Init, Errno>,
    /// Has `/proc` show a PID namespace that others have made.
    pub show: fn(process::Alone) -> Result<(), Errno>,
    /// Has a program started and ended when it has set its environment, which is given back.
    pub source: fn(process::Alone, &Path, &process::ExecImage) -> Result<Vec<u8>, Errno>,
    /// Goes on in a child, where nothing is given back; gives back the exit status of the child
    /// when it has ended, if it has one, and ends by its signal otherwise. What keeps an init stays
    /// open meanwhile.
    pub supervise: fn(process::Alone, Option<&Init>) -> Result<Option<u8>, Errno>,
}

/// The init of a PID namespace.
#[derive(Debug)]
pub struct Init {
    /// It ends when nobody has this open any more.
    pub line: OwnedFd,
    /// The process, if it is a child of this one and nobody else's commands are with it.
    pub child: Option<Pid>,
}

/// How a plan ended.
#[derive(Debug)]
pub enum Ended<'a> {
    /// A child carried it out, with this exit status.
    Status(u8),
    /// A step failed.
    Failed(Failed<'a>),
    /// It has no [`Action::Execute`] at its end.
    WithoutCommand,
}

/// The step that failed, and why; [`crate::hints::explain`] words it.
#[derive(Debug)]
pub struct Failed<'a> {
    /// The step.
    pub step: &'a Step,
    /// The kernel's error number.
    pub errno: Errno,
    /// The program that could not be executed, as far as one was found.
    pub program: Option<PathBuf>,
}

/// Becomes the plan's command, or stays while a child does. If the image is packed, and open already, it
/// need not be opened again.
pub fn apply<'a>(plan: &'a Plan, keepers: Keepers, opened: Option<&PackedTree>) -> Ended<'a> {
    let mut process = Process { keepers: Some(keepers), opened, ..Process::default() };
    let forks = |step: &Step| matches!(step.action, Action::Supervise | Action::Source { .. });
    if plan.steps.iter().any(forks) {
        // Before /proc may be of other processes than this.
        process.alone = process::Alone::look().ok();
    }
    for step in &plan.steps {
        match process.take(&step.action) {
            Ok(()) => {}
            Err(errno) => {
                if let Some((held, tree)) = process.copy {
                    copy::let_go(held, &tree);
                }
                return Ended::Failed(Failed { step, errno, program: process.program });
            }
        }
        if let Some(status) = process.status {
            return Ended::Status(status);
        }
    }
    Ended::WithoutCommand
}

/// Whether carrying out a plan begins by starting hrun again.
pub fn starts_again(plan: &Plan) -> bool {
    matches!(plan.steps.first(), Some(Step { action: Action::Scope { .. }, .. }))
        && limits::scope_name().is_ok_and(|name| !group::own_groups().contains(&name))
}

/// Takes actions of a plan without becoming a command, to see which of them work.
///
/// # Errors
///
/// The index of the action that failed, and its errno.
pub fn attempt(actions: &[Action]) -> Result<(), (usize, Errno)> {
    let mut process = Process::default();
    for (index, action) in actions.iter().enumerate() {
        process.take(action).map_err(|errno| (index, errno))?;
    }
    Ok(())
}

/// What changes while a plan is carried out.
#[derive(Default)]
struct Process<'a> {
    /// Who stays behind; without them nobody does.
    keepers: Option<Keepers>,
    /// The image, if it is packed.
    opened: Option<&'a PackedTree>,
    /// Looked at before other processes take the place of this one in `/proc`.
    alone: Option<process::Alone>,
    /// Keeps the init of the PID namespace.
    init: Option<Init>,
    /// How the child that carried out the rest has ended.
    status: Option<u8>,
    /// The container's root is the root, and the host's root is the current directory.
    is_inside: bool,
    program: Option<PathBuf>,
    /// The meeting this rank is at.
    meeting: Option<Meeting>,
    /// The copy of the image that this process holds.
    copy: Option<(Locked, PathBuf)>,
    /// What scripts of the image have set.
    sourced: Option<source::Set>,
    /// What other ranks have done already.
    done: Done,
}

/// What of a plan is done by another rank of the step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Done {
    #[default]
    Nothing,
    /// The user namespace is there.
    Namespaces,
    /// Everything up to [`Action::Admit`].
    Layout,
}

impl Process<'_> {
    fn take(&mut self, action: &Action) -> Result<(), Errno> {
        match (self.done, action) {
            (Done::Layout, Action::Admit) => self.done = Done::Nothing,
            (Done::Layout, _) => return Ok(()),
            (Done::Namespaces, Action::Unshare { .. }) => return Ok(()),
            _ => {}
        }
        match action {
            Action::Limit { shared, places, says } => {
                let keepers = self.keepers.ok_or(Errno::ENOSYS)?;
                limits::enter(shared.as_deref(), places, says.as_deref(), keepers.watch)
            }
            Action::Scope { program, properties } => limits::scope(program.as_path(), properties),
            Action::Affinity { cpus } => {
                let cpus = CpuList::parse(cpus).ok_or(Errno::EINVAL)?;
                group::set_affinity(cpus.iter())
            }
            Action::Meet { file, layout } => self.meet(file.as_path(), *layout),
            Action::Admit => self.meeting.take().map_or(Ok(()), Meeting::leave),
            Action::Isolate => self.isolate(),
            Action::Supervise => self.supervise(),
            Action::Join { pid, processes } => namespaces::join(*pid, *processes),
            Action::Unshare { uid, gid } => unshare(*uid, *gid),
            Action::Tmpfs { target, mode, size } => tmpfs(target, *mode, size.as_deref()),
            Action::Directory { path, mode } => process::make_directory(path.as_path(), *mode),
            Action::File { path, mode, contents } => {
                file::make_file(path.as_path(), *mode, contents.as_bytes())
            }
            Action::Link { path, target } => process::make_link(target.as_path(), path.as_path()),
            Action::Bind { source, target, recursive } => {
                mount::bind(self.outside(source), target.as_path(), *recursive)
            }
            Action::Serve { image, offset, first, target } => {
                let keepers = self.keepers.ok_or(Errno::ENOSYS)?;
                let (image, offset) = (image.as_path(), *offset);
                let is_it = |it: &&PackedTree| it.path() == image && it.offset() == offset;
                let opened = self.opened.filter(is_it);
                let served = Served { image, offset, first, opened };
                serve::mount(keepers.serve, &served, target.as_path())
            }
            Action::Unpack { image, offset, tree, mark, says } => {
                let keepers = self.keepers.ok_or(Errno::ENOSYS)?;
                let (image, tree) = ((image.as_path(), *offset), tree.as_path());
                let held = unpack::hold(keepers.unpack, image, tree, mark, *says)?;
                self.copy = Some((held, tree.to_path_buf()));
                Ok(())
            }
            Action::Outlive { tree, stage } => {
                let keepers = self.keepers.ok_or(Errno::ENOSYS)?;
                let (held, _) = self.copy.take().ok_or(Errno::EINVAL)?;
                unpack::leave(keepers.outlive, tree.as_path(), stage.as_path(), held)
            }
            Action::Overlay { target, below, layer, no_exec } => {
                let below = below.as_ref().map(|below| self.outside(below));
                overlay::mount(target.as_path(), below, layer.as_ref(), *no_exec)
            }
            Action::ReadOnly { target, recursive, by } => {
                self.read_only(target.as_path(), *recursive, *by)
            }
            Action::Enter { root, by } => self.enter(root.as_path(), *by),
            Action::Unmount { target } => mount::detach(target.as_path()),
            Action::Leave { by } => leave(*by),
            Action::ChangeDirectory { path } => mount::change_directory(path.as_path()),
            Action::Restrict { capabilities } => restrict(*capabilities),
            Action::Filter { filter } => load(filter),
            Action::Source { shell, scripts, environment } => {
                self.source(shell, scripts, environment)
            }
            Action::Execute { arguments, search, environment, changes } => {
                if let Some(set) = self.sourced.take() {
                    let environment = source::finish(set, environment, changes)?;
                    return self.execute(arguments, &variables::search(&environment), &environment);
                }
                self.execute(arguments, search, environment)
            }
        }
    }

    /// Has the image's scripts set variables.
    fn source(
        &mut self,
        shell: &Text,
        scripts: &[Text],
        environment: &[Variable],
    ) -> Result<(), Errno> {
        let keepers = self.keepers.ok_or(Errno::ENOSYS)?;
        let alone = self.alone.ok_or(Errno::EINVAL)?;
        self.sourced = Some(source::run(keepers.source, alone, shell, scripts, environment)?);
        Ok(())
    }

    /// Meets the other ranks of the step, if there are any.
    fn meet(&mut self, file: &Path, layout: Option<u64>) -> Result<(), Errno> {
        let (mut meeting, found) = Meeting::attend(file, layout)?;
        if let Some(line) = meeting.as_mut().and_then(Meeting::take_line) {
            self.init = Some(Init { line, child: None });
        }
        self.meeting = meeting;
        self.done = match found {
            Found::Nobody => Done::Nothing,
            Found::Others => Done::Namespaces,
            Found::Same => Done::Layout,
        };
        Ok(())
    }

    fn isolate(&mut self) -> Result<(), Errno> {
        let keepers = self.keepers.ok_or(Errno::ENOSYS)?;
        let alone = self.alone.ok_or(Errno::EINVAL)?;
        let Some(meeting) = &mut self.meeting else {
            self.init = Some((keepers.isolate)(alone, None)?);
            return Ok(());
        };
        meeting.remember()?;
        if let Some(line) = meeting.join_processes()? {
            (keepers.show)(alone)?;
            self.init = Some(Init { line, child: None });
            return Ok(());
        }
        let mut init = (keepers.isolate)(alone, Some(meeting.file_again()?))?;
        // Ranks that come later keep it too, and it ends with the last of them.
        if let Some(child) = init.child.take() {
            meeting.set_init(child.as_raw().unsigned_abs());
        }
        self.init = Some(init);
        Ok(())
    }

    fn supervise(&mut self) -> Result<(), Errno> {
        let keepers = self.keepers.ok_or(Errno::ENOSYS)?;
        let alone = self.alone.ok_or(Errno::EINVAL)?;
        self.status = (keepers.supervise)(alone, self.init.as_ref())?;
        Ok(())
    }

    /// A host path as it can be reached: from the current directory, once the root has changed.
    fn outside<'a>(&self, path: &'a Text) -> &'a Path {
        let path = path.as_path();
        match inner(path, Path::new("/")) {
            Some(rest) if self.is_inside && rest.as_os_str().is_empty() => Path::new("."),
            Some(rest) if self.is_inside => rest,
            _ => path,
        }
    }

    fn read_only(&self, target: &Path, recursive: bool, by: ReadOnlyBy) -> Result<(), Errno> {
        if by == ReadOnlyBy::MountSetattr {
            return mount::set_read_only(target, recursive);
        }
        mount::remount_read_only(target)?;
        if recursive {
            let mountinfo = Text::from("/proc/self/mountinfo");
            for below in mountinfo::mounts_below(self.outside(&mountinfo), target)? {
                match mount::remount_read_only(&below) {
                    // Listed, but out of reach by its path: below a closed directory, or under
                    // the host's root, which lies on the container's until it is left.
                    Ok(())
                    | Err(Errno::ENOENT | Errno::ENOTDIR | Errno::EINVAL | Errno::EACCES) => {}
                    Err(errno) => return Err(errno),
                }
            }
        }
        Ok(())
    }

    /// Changes the root and makes the host's root the current directory.
    fn enter(&mut self, root: &Path, by: EnterBy) -> Result<(), Errno> {
        // Opened in the new mount namespace: a bind takes no source from another one.
        let host = mount::open_directory(Path::new("/"))?;
        match by {
            EnterBy::PivotRoot => mount::pivot_root(root)?,
            EnterBy::MoveMount => {
                mount::change_directory(root)?;
                mount::move_mount(Path::new("."), Path::new("/"))?;
                mount::chroot_here()?;
            }
        }
        self.is_inside = true;
        mount::change_directory_to(&host)?;
        file::leave_open(host);
        Ok(())
    }

    /// Tries the directories one after the other, as execvp(3) does.
    fn execute(
        &mut self,
        arguments: &[Text],
        search: &[Text],
        environment: &[Variable],
    ) -> Result<(), Errno> {
        let command = arguments.first().ok_or(Errno::EINVAL)?;
        if command.as_bytes().is_empty() {
            return Err(Errno::ENOENT);
        }
        let environment: Vec<OsString> = environment.iter().map(assignment).collect();
        let image = process::ExecImage::new(
            arguments.iter().map(Text::as_os_str),
            environment.iter().map(OsString::as_os_str),
        )?;
        if command.as_bytes().contains(&b'/') {
            self.program = Some(command.as_path().to_path_buf());
            return Err(image.execute(command.as_path()));
        }
        let mut failure = Errno::ENOENT;
        for directory in search {
            let path = directory.as_path().join(command.as_path());
            match image.execute(&path) {
                Errno::ENOENT | Errno::ENOTDIR => {}
                // Another directory may have one that can be executed.
                Errno::EACCES => {
                    failure = Errno::EACCES;
                    self.program.get_or_insert(path);
                }
                errno => {
                    self.program = Some(path);
                    return Err(errno);
                }
            }
        }
        if self.program.is_none() {
            // Found, but its interpreter was not.
            let paths = search.iter().map(|directory| directory.as_path().join(command.as_path()));
            self.program = paths.into_iter().find(|path| path.exists());
        }
        Err(failure)
    }
}

fn unshare(uid: Map, gid: Map) -> Result<(), Errno> {
    process::unshare_user_and_mounts()?;
    // Without this the kernel refuses a group map of an unprivileged user (user_namespaces(7)).
    file::write_setting("/proc/self/setgroups", "deny")?;
    let map = |map: Map| format!("{} {} 1", map.inside, map.outside);
    file::write_setting("/proc/self/uid_map", &map(uid))?;
    file::write_setting("/proc/self/gid_map", &map(gid))
}

fn tmpfs(target: &Text, mode: u32, size: Option<&str>) -> Result<(), Errno> {
    let mut options = format!("mode={mode:o}");
    if let Some(size) = size {
        options.push_str(",size=");
        options.push_str(size);
    }
    let flags = MountFlags::MS_NOSUID | MountFlags::MS_NODEV;
    mount::mount_filesystem("tmpfs", target.as_path(), flags, Path::new(&options))
}

fn leave(by: EnterBy) -> Result<(), Errno> {
    match by {
        EnterBy::PivotRoot => mount::detach(Path::new(".")),
        // The initial ramfs stays below, out of reach.
        EnterBy::MoveMount => Ok(()),
    }
}

fn restrict(capabilities: Capabilities) -> Result<(), Errno> {
    process::set_no_new_privileges()?;
    match capabilities {
        Capabilities::Dropped => process::drop_capabilities(),
        Capabilities::DroppedForRoot => {
            process::bound_capabilities(0)?;
            process::drop_capabilities()
        }
        Capabilities::Kept => Ok(()),
        Capabilities::Exactly { kept, ambient } => {
            process::bound_capabilities(kept.bits())?;
            process::keep_capabilities(kept.bits(), ambient)
        }
    }
}

fn load(filter: &Filter) -> Result<(), Errno> {
    let flag = |flag: &Flag| match flag {
        Flag::Log => process::FILTER_LOG,
        Flag::SpecAllow => process::FILTER_SPEC_ALLOW,
    };
    let flags = filter.flags.iter().map(flag).fold(0, |flags, flag| flags | flag);
    process::load_filter(flags, filter.program.iter().map(|instruction| instruction.parts()))
}

fn assignment(variable: &Variable) -> OsString {
    let mut text = variable.name.as_os_str().to_owned();
    text.push(OsStr::new("="));
    text.push(variable.value.as_os_str());
    text
}
