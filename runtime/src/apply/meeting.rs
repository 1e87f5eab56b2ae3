//! The ranks of a step on one node find each other, and share their namespaces.
//!
//! Ranks in user namespaces of their own cannot read each other's memory, which MPI does for large
//! messages. So the first rank makes the namespaces, and the others join those of any rank that
//! lives. Nobody serves and nobody waits for a number of ranks: a file for each step lists the
//! members, and whoever makes something holds it alone by flock(2), while those who find all made
//! come together; the kernel lets go of the lock of a rank that dies. A member is known by its pid, the time it started and the numbers of its namespaces,
//! so a pid that is used again is told apart.

use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::path::Path;

use nix::errno::Errno;

use crate::paths::{below, parent};
use crate::sys::line::Line;
use crate::sys::meeting::{self, Hold, Locked, Namespaces};

/// No more files of other steps are looked at by one start.
const SWEPT: usize = 16;

/// The bytes of a line, whatever is in it.
const LINE: usize = 64;

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
    layout: Option<u64>,
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
struct Member {
    pid: u32,
    started: u64,
    namespaces: Namespaces,
    /// What its mounts look like; nothing if they are nobody's but its own.
    layout: Option<u64>,
    /// The number by which the init of the PID namespace is kept in which it is, if it is in one.
    init: Option<u32>,
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
    pub(super) fn attend(path: &Path, layout: Option<u64>) -> Result<(Option<Self>, Found), Errno> {
        let directory = parent(path).unwrap_or(Path::new("/"));
        meeting::own_directory(directory)?;
        let started = meeting::start_time(std::process::id())?;
        let alone = |file, others| {
            let (namespaces, init, line) = (None, None, None);
            Some(Meeting { file, layout, started, namespaces, init, line, others })
        };
        let same = |file, joined: Joined| {
            let Joined { namespaces, init, line } = joined;
            let (namespaces, others) = (Some(namespaces), None);
            Some(Meeting { file, layout, started, namespaces, init, line, others })
        };
        match Locked::open(path, Hold::Shared)? {
            Some(file) => {
                if let Some(joined) = join_same(&file, layout)? {
                    return Ok((same(file, joined), Found::Same));
                }
            }
            // The first of its step, or one of the first, before anybody waits for it.
            None => sweep(directory),
        }
        let file = Locked::make(path, Hold::Alone)?;
        if let Some(joined) = join_same(&file, layout)? {
            return Ok((same(file, joined), Found::Same));
        }
        let (contents, own) = (file.read()?, Namespaces::own_user()?);
        let members = members(&contents);
        // The kernel lets nobody join the namespace he is in.
        if members.iter().any(|member| member.namespaces.user == own) {
            return Ok((None, Found::Nobody));
        }
        if contents.len() != members.len() * LINE || !members.iter().any(Member::lives) {
            forget(&file)?;
        }
        for member in members.iter().filter(|member| !member.is_like(layout)) {
            if member.namespaces.join_user(member.pid, member.started)? {
                let user = member.namespaces.user;
                let near = members.iter().filter(|member| member.namespaces.user == user);
                let processes = near.into_iter().find_map(|it| Processes::open(&file, it));
                return Ok((alone(file, processes), Found::Others));
            }
        }
        Ok((alone(file, None), Found::Nobody))
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
        let Meeting { file, layout, init, .. } = self;
        let end = file.append(&Member { pid, started, namespaces, layout, init }.line())?;
        // One of so many looks who has ended.
        if end.is_multiple_of((LINE * FORGOTTEN) as u64) {
            file.hold_alone()?;
            forget(&file)?;
        }
        file.leave();
        Ok(())
    }
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
        layout.is_some() && self.layout == layout
    }

    /// What is written of it.
    fn line(&self) -> [u8; LINE] {
        let Member { pid, started, namespaces: Namespaces { user, mount }, layout, init } = *self;
        let (layout, init) = (layout.unwrap_or(0), init.unwrap_or(0));
        let mut line = [b' '; LINE];
        // A start some 30,000 years after that of the kernel would be cut, and be nobody.
        let _ = write!(&mut line[..], "{pid:x} {started:x} {user:x} {mount:x} {layout:x} {init:x}");
        line[LINE - 1] = b'\n';
        line
    }

    /// Whether the process is still there, and not another of the same number.
    fn lives(&self) -> bool {
        meeting::start_time(self.pid) == Ok(self.started)
    }
}

fn members(file: &[u8]) -> Vec<Member> {
    let lines = file.chunks_exact(LINE).map(std::str::from_utf8);
    lines.filter_map(|line| member(line.ok()?)).collect()
}

/// Reads a line; one that hrun has not written is nobody.
fn member(line: &str) -> Option<Member> {
    let mut words = line.strip_suffix('\n')?.trim_end().split(' ');
    let mut number = || u64::from_str_radix(words.next()?, 16).ok();
    let (pid, started, user, mount) = (number()?, number()?, number()?, number()?);
    let (layout, init) = (number()?, number()?);
    if words.next().is_some() {
        return None;
    }
    Some(Member {
        pid: pid.try_into().ok()?,
        started,
        namespaces: Namespaces { user, mount },
        layout: (layout != 0).then_some(layout),
        init: u32::try_from(init).ok().filter(|init| *init != 0),
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
            let member = Member { pid, started, namespaces, layout, init };
            assert_eq!(members(&[member.line(), member.line()].concat()), [member, member]);
        }
    }

    #[test]
    fn lines_that_are_cut_or_made_up_are_nobody() {
        let pad = |line: &str| format!("{line:<63}\n");
        for line in ["", "\0\0\0", "x 1 2 3 4 0", "-1 1 2 3 4 0", "1 2 3 4 5 6 7", "1 2 3 4 5"] {
            assert_eq!(members(pad(line).as_bytes()), [], "{line:?}");
        }
        let good = pad("c 159 effffffd f0000001 9f 0");
        let cut = [good.as_bytes(), &good.as_bytes()[..40]].concat();
        let read: Vec<u32> = members(&cut).iter().map(|member| member.pid).collect();
        assert_eq!(read, [12]);
    }
}
