//! Carries out a plan, step by step; decides nothing and words no message.
//!
//! The process that starts is the process that becomes the command. Where somebody has to stay behind
//! for it, whoever calls says how ([`limits::Watch`]).
#![allow(clippy::disallowed_methods, reason = "this is where the plan is carried out")]

mod calls;
mod claim;
mod hold;
mod keepers;
pub mod limits;
mod meeting;
mod mountinfo;
mod overlay;
mod serve;
mod source;
mod unpack;

use std::borrow::Cow;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use self::calls::{
    assignment, brings_company, conceal, joined, leave, load, makes_pipes, mode, restrict, tmpfs,
    unshare,
};
pub use self::hold::Keep;
pub use self::keepers::{Init, Keepers, Supervised};
use self::meeting::{Found, Meeting, Who};
pub use self::serve::{DEVICE, Serve, Served};
pub use self::source::MARK as SOURCED;
pub use self::unpack::{Outlive, Unpack};
use crate::cpus::CpuList;
use crate::look::image::Image;
use crate::look::packed::PackedTree;
use crate::paths::inner;
use crate::plan::{Action, EnterBy, Map, Plan, ReadOnlyBy, Step, Variable};
use crate::sys::file::Making;
use crate::sys::line::Line;
use crate::sys::meeting::{Locked, Purpose, Tell};
use crate::sys::{copy, file, group, helper, meeting as namespaces, mount, process};
use crate::text::Text;
use crate::variables;

/// The host's root once that of the container is the root: it lies on top of it, where the kernel goes on the
/// way up from the root. With [`EnterBy::MoveMount`] it is the current directory.
const HOST: &str = "/..";

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
    /// The process that has what this one wanted for itself.
    pub holder: Option<String>,
}

/// Becomes the plan's command, or stays while a child does. If the image is packed, and open already, it
/// need not be opened again.
pub fn apply(plan: &Plan, keepers: Keepers, image: Option<Image>) -> Ended<'_> {
    let making =
        Some(Making::begin(plan.steps.iter().filter_map(mode).fold(0, |all, mode| all | mode)));
    let mut process = Process { keepers: Some(keepers), image, making, ..Process::default() };
    process.has_company = plan.steps.iter().any(|step| brings_company(&step.action));
    if process.has_company || plan.steps.iter().any(|step| makes_pipes(&step.action)) {
        // What is opened by other calls than those for files takes the lowest number, too.
        helper::fill_standard_streams();
    }
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
                let Process { program, holder, .. } = process;
                return Ended::Failed(Failed { step, errno, program, holder });
            }
        }
        if let Some(status) = process.status {
            // A supervisor has closed what it does not need.
            std::mem::forget(process);
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
struct Process {
    /// Who stays behind; without them nobody does.
    keepers: Option<Keepers>,
    /// The image as it was looked at.
    image: Option<Image>,
    /// Others come into the namespaces of this process.
    has_company: bool,
    /// Looked at before other processes take the place of this one in `/proc`.
    alone: Option<process::Alone>,
    /// Keeps the init of the PID namespace.
    init: Option<Init>,
    /// How the child that carried out the rest has ended.
    status: Option<u8>,
    /// How the container's root became the root, if it did.
    inside: Option<EnterBy>,
    program: Option<PathBuf>,
    /// The meeting this rank is at.
    meeting: Option<Meeting>,
    /// The copy of the image that this process holds.
    copy: Option<(Locked, PathBuf)>,
    /// The layer that is held once it is mounted.
    layer: Option<hold::Layer>,
    /// The process that has what this one wanted for itself.
    holder: Option<String>,
    /// What scripts of the image have set.
    sourced: Option<source::Set>,
    /// What other ranks have done already.
    done: Done,
    /// What is given back to the command.
    making: Option<Making>,
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

impl Process {
    fn take(&mut self, action: &Action) -> Result<(), Errno> {
        match (self.done, action) {
            (Done::Layout, Action::Admit) => self.done = Done::Nothing,
            (Done::Layout, _) => return Ok(()),
            (Done::Namespaces, Action::Unshare { .. }) => return Ok(()),
            _ => {}
        }
        if let Action::Scope { .. } | Action::Execute { .. } = action
            && let Some(making) = self.making.take()
        {
            making.end();
        }
        self.carry_out(action)
    }

    fn carry_out(&mut self, action: &Action) -> Result<(), Errno> {
        match action {
            Action::Limit { shared, task, places, says } => {
                let keepers = self.keepers.ok_or(Errno::ENOSYS)?;
                let tell = self.tell(Purpose::Ranks);
                let shared = limits::shared(shared.as_deref(), task.as_ref(), tell)?;
                limits::enter(shared, places, says.as_deref(), keepers.watch)
            }
            Action::Scope { program, properties } => limits::scope(program.as_path(), properties),
            Action::Affinity { cpus } => {
                let cpus = CpuList::parse(cpus).ok_or(Errno::EINVAL)?;
                group::set_affinity(cpus.iter())
            }
            Action::Meet { file, layout, task } => {
                self.meet(file.as_path(), Who { layout: *layout, task: *task })
            }
            // With a supervisor, its child is the one that is written down.
            Action::Admit if self.alone.is_some() => Ok(()),
            Action::Admit => self.admit(std::process::id()),
            Action::Isolate => self.isolate(),
            Action::Supervise => self.supervise(),
            Action::Join { pid, processes } => {
                namespaces::join(*pid, *processes).map(|()| self.let_go_of_host())
            }
            Action::Unshare { uid, gid } => self.unshare(*uid, *gid),
            Action::Tmpfs { target, mode, size } => tmpfs(target, *mode, size.as_deref()),
            Action::Conceal { path } => conceal(path),
            Action::Directory { path, mode } => process::make_directory(path.as_path(), *mode),
            Action::File { path, mode, contents } => {
                file::make_file(path.as_path(), *mode, contents.as_bytes())
            }
            Action::Link { path, target } => process::make_link(target.as_path(), path.as_path()),
            Action::Bind { source, target, recursive } => {
                mount::bind(&self.outside(source), target.as_path(), *recursive)
            }
            Action::Serve { image, offset, first, target } => {
                self.serve((image.as_path(), *offset), first, target.as_path())
            }
            Action::Unpack { image, offset, tree, mark, says } => {
                let (image, tell) = ((image.as_path(), *offset), self.tell(Purpose::Copy));
                let unpack = self.keepers.ok_or(Errno::ENOSYS)?.unpack;
                let held = unpack::hold(unpack, image, tree.as_path(), mark, (*says, tell))?;
                self.copy = Some((held, tree.as_path().to_path_buf()));
                Ok(())
            }
            Action::Outlive { tree, stage } => {
                let keepers = self.keepers.ok_or(Errno::ENOSYS)?;
                let (held, _) = self.copy.take().ok_or(Errno::EINVAL)?;
                unpack::leave(keepers.outlive, tree.as_path(), stage.as_path(), held)
            }
            Action::Hold { file, stage, waits } => {
                self.hold(file.as_path(), stage.as_path(), *waits)
            }
            Action::Overlay { target, below, layer, no_exec } => {
                let below = below.as_ref().map(|below| self.outside(below));
                overlay::mount(target.as_path(), below.as_deref(), layer.as_ref(), *no_exec)?;
                self.layer.take().map_or(Ok(()), |held| held.ends_with(target.as_path()))
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
            Action::Execute { arguments, search, environment, changes, numbered } => {
                if let Some(set) = self.sourced.take() {
                    let environment = source::finish(set, environment, changes)?;
                    let search = variables::search(&environment);
                    return self.execute(arguments, &search, &environment, numbered);
                }
                self.execute(arguments, search, environment, numbered)
            }
        }
    }

    /// Holds a layer, or finds out which process does.
    fn hold(&mut self, file: &Path, stage: &Path, waits: bool) -> Result<(), Errno> {
        let keep = self.keepers.ok_or(Errno::ENOSYS)?.keep;
        let tell = waits.then(|| self.tell(Purpose::Layer));
        let held = hold::hold(keep, file, stage, tell);
        self.layer = held.inspect_err(|_| self.holder = hold::holder(file))?;
        Ok(())
    }

    /// Who is told of a long wait.
    fn tell(&self, purpose: Purpose) -> Tell {
        Tell { purpose, say: self.keepers.and_then(|keepers| keepers.say) }
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

    /// Makes the namespaces, and closes this process to those who come.
    fn unshare(&self, uid: Map, gid: Map) -> Result<(), Errno> {
        unshare(uid, gid)?;
        // Not before: the maps of a process that is closed are closed to itself, too.
        if self.has_company {
            process::close_to_others();
        }
        Ok(())
    }

    /// Mounts a packed image, with the file that is open already if it is that.
    fn serve(
        &self,
        (image, offset): (&Path, u64),
        first: &[Text],
        target: &Path,
    ) -> Result<(), Errno> {
        let keepers = self.keepers.ok_or(Errno::ENOSYS)?;
        let is_it = |it: &&PackedTree| it.path() == image && it.offset() == offset;
        let opened = self.image.as_ref().and_then(|image| image.files.packed());
        let served = Served { image, offset, first, opened: opened.filter(is_it) };
        serve::mount(keepers.serve, &served, target)
    }

    /// Meets the other ranks of the step, if there are any.
    fn meet(&mut self, file: &Path, who: Who) -> Result<(), Errno> {
        let (mut meeting, found) = Meeting::attend(file, who, self.tell(Purpose::Ranks))?;
        if let Some(line) = meeting.as_mut().and_then(Meeting::take_line) {
            self.init = Some(Init { line: line.leave(), child: None });
        }
        self.meeting = meeting;
        if found != Found::Nobody {
            self.let_go_of_host();
        }
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
            let (end, line) = Line::pipe()?;
            let child = Some((keepers.isolate)(alone, end)?);
            self.init = Some(Init { line: file::leave(line), child });
            return Ok(());
        };
        meeting.remember()?;
        let line = match meeting.join_processes()? {
            Some(line) => {
                (keepers.show)(alone)?;
                line
            }
            None => {
                let (end, line) = meeting.make_line()?;
                (keepers.isolate)(alone, end)?;
                line
            }
        };
        // Ranks that come later keep it too: it is nobody's to wait for.
        self.init = Some(Init { line: line.leave(), child: None });
        Ok(())
    }

    fn supervise(&mut self) -> Result<(), Errno> {
        let keepers = self.keepers.ok_or(Errno::ENOSYS)?;
        let alone = self.alone.ok_or(Errno::EINVAL)?;
        match (keepers.supervise)(alone, self.init.as_ref())? {
            Supervised::Child(pid) => self.admit(pid),
            Supervised::Ended(status) => {
                self.status = Some(status);
                Ok(())
            }
        }
    }

    /// Has others join this process, which they know by that number, when it has become the command.
    fn admit(&mut self, pid: u32) -> Result<(), Errno> {
        let Some(meeting) = self.meeting.take() else { return Ok(()) };
        let started = match self.alone {
            None => meeting.started(),
            // By its number inside, where it sees itself now.
            Some(_) => namespaces::start_time(std::process::id())?,
        };
        meeting.admit(pid, started)
    }

    /// Closes what this process has open of the host: it is in a container that others are in.
    fn let_go_of_host(&mut self) {
        self.image = None;
        file::close_left_open();
    }

    /// A host path as it can be reached, once the root has changed.
    fn outside<'a>(&self, path: &'a Text) -> Cow<'a, Path> {
        let path = path.as_path();
        let Some((rest, by)) = inner(path, Path::new("/")).zip(self.inside) else {
            return Cow::Borrowed(path);
        };
        match by {
            EnterBy::PivotRoot if rest.as_os_str().is_empty() => Cow::Borrowed(HOST.as_ref()),
            EnterBy::PivotRoot => Cow::Owned(Path::new(HOST).join(rest)),
            EnterBy::MoveMount if rest.as_os_str().is_empty() => Cow::Borrowed(Path::new(".")),
            EnterBy::MoveMount => Cow::Borrowed(rest),
        }
    }

    fn read_only(&self, target: &Path, recursive: bool, by: ReadOnlyBy) -> Result<(), Errno> {
        if by == ReadOnlyBy::MountSetattr {
            return mount::set_read_only(target, recursive);
        }
        mount::remount_read_only(target)?;
        if recursive {
            let mountinfo = Text::from("/proc/self/mountinfo");
            for below in mountinfo::mounts_below(&self.outside(&mountinfo), target)? {
                match mount::remount_read_only(&below) {
                    // Listed, but out of reach by its path: below a closed directory, or under
                    // the host's root, which lies on the container's until it is left.
                    Ok(()) | Err(Errno::EINVAL) => {}
                    Err(_) if !mount::is_in_reach(&below) => {}
                    Err(errno) => return Err(errno),
                }
            }
        }
        Ok(())
    }

    /// Changes the root.
    fn enter(&mut self, root: &Path, by: EnterBy) -> Result<(), Errno> {
        match by {
            EnterBy::PivotRoot => mount::pivot_root(root)?,
            EnterBy::MoveMount => {
                // Opened in the new mount namespace: a bind takes no source from another one.
                let host = mount::open_directory(Path::new("/"))?;
                mount::change_directory(root)?;
                mount::move_mount(Path::new("."), Path::new("/"))?;
                mount::chroot_here()?;
                mount::change_directory_to(&host)?;
            }
        }
        self.inside = Some(by);
        Ok(())
    }

    /// Tries the directories one after the other, as execvp(3) does.
    fn execute(
        &mut self,
        arguments: &[Text],
        search: &[Text],
        environment: &[Variable],
        numbered: &[Text],
    ) -> Result<(), Errno> {
        let command = arguments.first().ok_or(Errno::EINVAL)?;
        if command.as_bytes().is_empty() {
            return Err(Errno::ENOENT);
        }
        let own = || OsString::from(std::process::id().to_string());
        let numbered = numbered.iter().map(|name| joined(name.as_os_str(), &own()));
        let environment = environment.iter().map(assignment).chain(numbered);
        let environment: Vec<OsString> = environment.collect();
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
