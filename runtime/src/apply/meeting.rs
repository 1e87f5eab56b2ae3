//! The ranks of a step on one node find each other, and share their namespaces.
//!
//! Ranks in user namespaces of their own cannot read each other's memory, which MPI does for large
//! messages. So the first rank makes the namespaces, and the others join those of any rank that
//! lives. Nobody serves and nobody waits for a number of ranks: a file for each step lists the
//! members, and whoever makes something holds it alone by flock(2), while those who find all made
//! come together; the kernel lets go of the lock of a rank that dies. A member is known by its pid, the time it started and the numbers of its namespaces,
//! so a pid that is used again is told apart.
//!
//! A launcher gives each rank a number of its own. A process with the number of a member that lives
//! is no rank, but one of several commands that a rank has started: it has a line in the list, which
//! others do not join ([`claim`]).

use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use super::claim;
use crate::paths::{below, parent};
use crate::sys::line::Line;
use crate::sys::meeting::{self, Hold, Locked, Namespaces, Tell};

/// No more files of other steps are looked at by one start.
const SWEPT: usize = 16;

/// The bytes of a line, whatever is in it.
pub(super) const LINE: usize = 128;

/// After so many lines it is looked who has ended.
const FORGOTTEN: usize = 512;

/// What a rank found at the meeting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Nobody; it is the first, or the first that lives.
    Nobody,
    /// Ranks with another layout: it is in their user namespace, and in a mount namespace of its
    /// own.
    Others,
    /// Ranks with the same layout: it is in all their namespaces.
    Same,
}

/// A meeting: until it is left, nobody else comes but ranks that find somebody with their layout.
#[derive(Debug)]
pub(super) struct Meeting {
    file: Locked,
    who: Who,
    /// What was written of this process before it joined anything, and where that ends in the file.
    announced: Option<(Member, u64)>,
    /// Nobody joins this process.
    is_apart: bool,
    path: PathBuf,
    tell: Tell,
    /// When this process started, for those who come later.
    started: u64,
    /// Those it has joined, or made, as far as that is known.
    namespaces: Option<Namespaces>,
    /// The number by which the init of their PID namespace is kept, if they have one.
    init: Option<u32>,
    /// What keeps it, where others have made it.
    line: Option<Locked>,
    /// The PID namespace of ranks with another layout.
    others: Option<Processes>,
}

/// Who comes to a meeting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Who {
    /// What its mounts will look like; nothing if they are nobody's but its own.
    pub layout: Option<u64>,
    /// Which of the ranks it is, if that is known.
    pub task: Option<u64>,
}

/// A PID namespace.
#[derive(Debug)]
struct Processes {
    init: u32,
    namespace: OwnedFd,
    /// What keeps the init.
    line: Locked,
}

/// A rank that came before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Member {
    pub pid: u32,
    pub started: u64,
    pub namespaces: Namespaces,
    /// What its mounts look like; nothing if they are nobody's but its own.
    pub layout: Option<u64>,
    /// The number by which the init of the PID namespace is kept in which it is, if it is in one.
    pub init: Option<u32>,
    /// Which of the ranks it is, if that is known.
    pub task: Option<u64>,
    /// Nobody joins its mounts, whatever they look like.
    pub is_apart: bool,
}

/// What a rank has joined.
struct Joined {
    namespaces: Namespaces,
    init: Option<u32>,
    line: Option<Locked>,
}

impl Meeting {
    /// Comes to the meeting of a step; to none from inside a container of it, whose members are
    /// here already.
    ///
    /// Who finds a rank with its own layout has nothing to make, and shares the lock with others of
    /// whom that is true; everybody else is alone.
    ///
    /// # Errors
    ///
    /// The errno of mkdir(2), open(2) or flock(2); `EPERM` if the directory is somebody else's.
    pub(super) fn attend(
        path: &Path,
        who: Who,
        tell: Tell,
    ) -> Result<(Option<Self>, Found), Errno> {
        let directory = meeting::own_directory(parent(path).unwrap_or(Path::new("/")))?;
        let path = &below(&directory, Path::new(path.file_name().unwrap_or_default()));
        let started = meeting::start_time(std::process::id())?;
        let alone = |file, is_apart, others| {
            let (namespaces, init, line, announced, path) = (None, None, None, None, path.clone());
            Meeting {
                file,
                path,
                tell,
                who,
                announced,
                is_apart,
                started,
                namespaces,
                init,
                line,
                others,
            }
        };
        let same = |file, announced, Joined { namespaces, init, line }: Joined| {
            let namespaces = Some(namespaces);
            Meeting { announced, namespaces, init, line, ..alone(file, false, None) }
        };
        match Locked::open(path, Hold::Shared, tell)? {
            Some(file) => {
                let announced = announce(&file, who, started)?;
                let is_first = announced
                    .is_none_or(|(_, end)| claim::is_first(&file, end, who).unwrap_or(true));
                if is_first && let Some(joined) = join_same(&file, who.layout)? {
                    return Ok((Some(same(file, announced, joined)), Found::Same));
                }
            }
            // The first of its step, or one of the first, before anybody waits for it.
            None => sweep(&directory),
        }
        let file = Locked::make(path, Hold::Alone, tell)?;
        let contents = file.read()?;
        let is_apart = claim::is_held(&members(&contents), who);
        if !is_apart && let Some(joined) = join_same(&file, who.layout)? {
            return Ok((Some(same(file, None, joined)), Found::Same));
        }
        let (own, members) = (Namespaces::own_user()?, members(&contents));
        // The kernel lets nobody join the namespace he is in.
        if members.iter().any(|member| member.namespaces.user == own) {
            return Ok((None, Found::Nobody));
        }
        let is_other = |member: &Member| member.pid != std::process::id() && member.lives();
        if contents.len() != members.len() * LINE || !members.iter().any(is_other) {
            forget(&file)?;
        }
        for member in members.iter().filter(|member| is_apart || !member.is_like(who.layout)) {
            if member.namespaces.join_user(member.pid, member.started)? {
                let user = member.namespaces.user;
                let near = members.iter().filter(|it| it.namespaces.user == user && !it.is_apart);
                let mut near = near.filter(|_| !is_apart);
                let processes = near.find_map(|it| Processes::open(&file, it));
                return Ok((Some(alone(file, is_apart, processes)), Found::Others));
            }
        }
        Ok((Some(alone(file, is_apart, None)), Found::Nobody))
    }

    /// Takes note of the init of a PID namespace, before `/proc` is of other processes than this.
    ///
    /// # Errors
    ///
    /// `ENOENT` where `/proc` is not mounted.
    pub(super) fn remember(&mut self) -> Result<(), Errno> {
        self.namespaces = Some(Namespaces::own()?);
        Ok(())
    }

    /// Has children of this process be in the PID namespace of ranks with another layout, if there
    /// are any; gives back what keeps its init.
    ///
    /// # Errors
    ///
    /// The errno of setns(2).
    pub(super) fn join_processes(&mut self) -> Result<Option<Locked>, Errno> {
        let Some(Processes { init, namespace, line }) = self.others.take() else {
            return Ok(None);
        };
        meeting::join_pids(&namespace)?;
        self.init = Some(init);
        Ok(Some(line))
    }

    /// What keeps an init that is to be made, and what that waits for: ranks that come later keep it too, and it
    /// ends with the last of them.
    ///
    /// # Errors
    ///
    /// As [`Locked::again`], or the errno of fcntl(2).
    pub(super) fn make_line(&mut self) -> Result<(Line, Locked), Errno> {
        let number = std::process::id();
        let (end, line) = (self.file.again()?, self.file.again()?);
        // Whoever had this number before has not ended yet if it is still waited for.
        if !line.keep(number.into())? {
            return Err(Errno::EAGAIN);
        }
        self.init = Some(number);
        Ok((Line::Number(end, number.into()), line))
    }

    /// What keeps the init that others have made.
    pub(super) fn take_line(&mut self) -> Option<Locked> {
        self.line.take()
    }

    /// When this process started.
    pub(super) fn started(&self) -> u64 {
        self.started
    }

    /// Writes down the process that becomes the command. Others come when it has become that: until then it is
    /// closed to them, and holds the file.
    ///
    /// # Errors
    ///
    /// The errno of write(2); `ENOSPC` above all.
    pub(super) fn admit(self, pid: u32, started: u64) -> Result<(), Errno> {
        let namespaces = self.namespaces.map_or_else(Namespaces::own, Ok)?;
        let Meeting { file, who: Who { layout, task }, init, is_apart, announced, .. } = self;
        let own = Member { pid, started, namespaces, layout, init, task, is_apart };
        let end = match announced {
            Some((announced, end)) if announced == own => end,
            _ => file.append(&own.line())?,
        };
        // One of so many looks who has ended.
        if end.is_multiple_of((LINE * FORGOTTEN) as u64) {
            file.hold_alone_of(&self.path, self.tell)?;
            forget(&file)?;
        }
        file.leave();
        Ok(())
    }
}

/// Has this process be on the list before it joins anybody, if its number is known: of several with
/// one number the first on the list is the rank. Nobody joins it before it is where it says.
fn announce(file: &Locked, who: Who, started: u64) -> Result<Option<(Member, u64)>, Errno> {
    let Who { layout, task } = who;
    if task.is_none() || layout.is_none() {
        return Ok(None);
    }
    // It is the first that is joined most often, and then nothing more has to be written.
    let first = members(&file.first::<LINE>()?).into_iter().find(|first| first.is_like(layout));
    let (namespaces, init) = first
        .map_or((Namespaces { user: 0, mount: 0 }, None), |first| (first.namespaces, first.init));
    let pid = std::process::id();
    let own = Member { pid, started, namespaces, layout, init, task, is_apart: false };
    let end = file.append(&own.line())?;
    Ok(Some((own, end)))
}

/// Joins the namespaces of a rank with the same layout.
fn join_same(file: &Locked, layout: Option<u64>) -> Result<Option<Joined>, Errno> {
    // The first often lives longest, and spares reading the others.
    let first = members(&file.first::<LINE>()?);
    if let Some(joined) = join_any(file, first.iter(), layout)? {
        return Ok(Some(joined));
    }
    // Who came last has most of its time before it.
    join_any(file, members(&file.read()?).iter().skip(1).rev(), layout)
}

fn join_any<'a>(
    file: &Locked,
    members: impl Iterator<Item = &'a Member>,
    layout: Option<u64>,
) -> Result<Option<Joined>, Errno> {
    for member in members.filter(|it| it.is_like(layout)) {
        let Member { pid, started, namespaces, init, .. } = member;
        // Opened while /proc is the host's; an init that has ended lets nobody in.
        let processes = match init.map(|_| Processes::open(file, member)) {
            Some(None) => continue,
            opened => opened.flatten(),
        };
        if !namespaces.join(*pid, *started)? {
            continue;
        }
        let mut line = None;
        if let Some(processes) = processes {
            meeting::join_pids(&processes.namespace)?;
            line = Some(processes.line);
        }
        return Ok(Some(Joined { namespaces: *namespaces, init: *init, line }));
    }
    Ok(None)
}

impl Processes {
    /// Opens the PID namespace of a member, and keeps its init, unless that ends already.
    fn open(file: &Locked, member: &Member) -> Option<Self> {
        let init = member.init?;
        let (namespace, line) = (meeting::open_pids(member.pid)?, file.again().ok()?);
        let is_kept = line.keep(init.into()) == Ok(true) && member.lives();
        is_kept.then_some(Processes { init, namespace, line })
    }
}

/// Takes off a list whoever has ended, and what is no member at all.
fn forget(file: &Locked) -> Result<(), Errno> {
    let contents = file.read()?;
    if contents.is_empty() {
        return Ok(());
    }
    let living = members(&contents).into_iter().filter(Member::lives);
    file.shorten(&living.flat_map(|member| member.line()).collect::<Vec<u8>>())
}

impl Member {
    /// Whether its mounts are as these, for others too.
    fn is_like(&self, layout: Option<u64>) -> bool {
        layout.is_some() && self.layout == layout && !self.is_apart
    }

    /// What is written of it: its own numbers, and at the end what it claims.
    pub(super) fn line(&self) -> [u8; LINE] {
        let Member { pid, started, namespaces: Namespaces { user, mount }, layout, init, .. } =
            *self;
        let (layout, init) = (layout.unwrap_or(0), init.unwrap_or(0));
        let mut line = [b' '; LINE];
        // A start some 30,000 years after that of the kernel would be cut, and be nobody.
        let (own, claim) = line.split_at_mut(LINE - claim::SIZE);
        let mut own = &mut own[..];
        let apart = u8::from(self.is_apart);
        let _ = write!(own, "{pid:x} {started:x} {user:x} {mount:x} {layout:x} {init:x} {apart}");
        claim.copy_from_slice(&claim::words(self.task));
        line
    }

    /// Whether the process is still there, and not another of the same number.
    pub(super) fn lives(&self) -> bool {
        meeting::start_time(self.pid) == Ok(self.started)
    }
}

pub(super) fn members(file: &[u8]) -> Vec<Member> {
    let lines = file.chunks_exact(LINE).map(std::str::from_utf8);
    lines.filter_map(|line| member(line.ok()?)).collect()
}

/// Reads a line; one that hrun has not written is nobody.
fn member(line: &str) -> Option<Member> {
    let mut words = line.strip_suffix('\n')?.split_ascii_whitespace();
    let mut number = || u64::from_str_radix(words.next()?, 16).ok();
    let (pid, started, user, mount) = (number()?, number()?, number()?, number()?);
    let (layout, init, apart, task) = (number()?, number()?, number()?, number()?);
    if words.next().is_some() {
        return None;
    }
    Some(Member {
        pid: pid.try_into().ok()?,
        started,
        namespaces: Namespaces { user, mount },
        layout: (layout != 0).then_some(layout),
        init: u32::try_from(init).ok().filter(|init| *init != 0),
        task: (task != 0).then_some(task),
        is_apart: apart != 0,
    })
}

/// Removes files of steps whose ranks have all ended. What goes wrong is left to the next start.
fn sweep(directory: &Path) {
    for name in meeting::names(directory).into_iter().take(SWEPT) {
        let path = below(directory, Path::new(&name));
        let Ok(Some(file)) = Locked::try_open(&path) else { continue };
        let is_over = file.read().is_ok_and(|file| !members(&file).iter().any(Member::lives));
        if is_over {
            file.remove(&path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_as_it_was_written() {
        let namespaces = Namespaces { user: u32::MAX.into(), mount: u32::MAX.into() };
        // The largest numbers there are, but for the time: a hundred years.
        let (pid, started) = (1 << 22, 100 * 366 * 86_400 * 100);
        for (layout, init) in [(None, None), (Some(1), Some(7)), (Some(u64::MAX), Some(pid))] {
            let (task, is_apart) = (layout, init.is_some());
            let member = Member { pid, started, namespaces, layout, init, task, is_apart };
            assert_eq!(members(&[member.line(), member.line()].concat()), [member, member]);
        }
    }

    #[test]
    fn lines_that_are_cut_or_made_up_are_nobody() {
        let pad = |line: &str| format!("{line:<127}\n");
        for line in
            ["", "\0\0\0", "x 1 2 3 4 0", "-1 1 2 3 4 0", "1 2 3 4 5 6 0 8 9", "1 2 3 4 5 6 0"]
        {
            assert_eq!(members(pad(line).as_bytes()), [], "{line:?}");
        }
        let good = pad("c 159 effffffd f0000001 9f 0 0 0");
        let cut = [good.as_bytes(), &good.as_bytes()[..40]].concat();
        let read: Vec<u32> = members(&cut).iter().map(|member| member.pid).collect();
        assert_eq!(read, [12]);
    }
}
