//! The ranks of a step on one node find each other, and share their namespaces.
//!
//! Ranks in user namespaces of their own cannot read each other's memory, which MPI does for large
//! messages. So the first rank makes the namespaces, and the others join those of any rank that
//! lives. Nobody serves and nobody waits for a number of ranks: a file for each step lists the
//! members, and flock(2) on it serialises those who come; the kernel lets go of the lock of a rank
//! that dies. A member is known by its pid, the time it started and the numbers of its namespaces,
//! so a pid that is used again is told apart.

use std::path::Path;

use nix::errno::Errno;

use crate::paths::{below, parent};
use crate::sys::meeting::{self, Locked, Namespaces};

/// No more files of other steps are looked at by one start.
const SWEPT: usize = 16;

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

/// A meeting that nobody else can come to until it is left.
#[derive(Debug)]
pub(super) struct Meeting {
    file: Locked,
    layout: Option<u64>,
    /// When this process started, for those who come later.
    started: u64,
}

/// A rank that came before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Member {
    pid: u32,
    started: u64,
    namespaces: Namespaces,
    /// What its mounts look like; nothing if they are nobody's but its own.
    layout: Option<u64>,
}

impl Meeting {
    /// Comes to the meeting of a step; to none from inside a container of it, whose members are
    /// here already.
    ///
    /// # Errors
    ///
    /// The errno of mkdir(2), open(2) or flock(2); `EPERM` if the directory is somebody else's.
    pub(super) fn attend(file: &Path, layout: Option<u64>) -> Result<(Option<Self>, Found), Errno> {
        let directory = parent(file).unwrap_or(Path::new("/"));
        meeting::own_directory(directory)?;
        let started = meeting::start_time(std::process::id())?;
        let file = Locked::open(file)?;
        let own = Namespaces::own()?;
        let members = members(&file.read()?);
        if members.iter().any(|member| member.namespaces.user == own.user) {
            return Ok((None, Found::Nobody));
        }
        let meeting = Meeting { file, layout, started };
        let is_same = |member: &&Member| layout.is_some() && member.layout == layout;
        for member in members.iter().filter(is_same) {
            if member.namespaces.join(member.pid, member.started)? {
                return Ok((Some(meeting), Found::Same));
            }
        }
        for member in members.iter().filter(|member| !is_same(member)) {
            if member.namespaces.join_user(member.pid, member.started)? {
                return Ok((Some(meeting), Found::Others));
            }
        }
        if !members.iter().any(Member::lives) {
            meeting.file.clear()?;
        }
        sweep(directory);
        Ok((Some(meeting), Found::Nobody))
    }

    /// Becomes a member, and lets others come.
    ///
    /// # Errors
    ///
    /// The errno of write(2); `ENOSPC` above all.
    pub(super) fn leave(self) -> Result<(), Errno> {
        let Namespaces { user, mount } = Namespaces::own()?;
        let layout = self.layout.unwrap_or(0);
        let (pid, started) = (std::process::id(), self.started);
        let line = format!("{pid} {started} {user} {mount} {layout:x}\n");
        self.file.append(line.as_bytes())
    }
}

impl Member {
    /// Whether the process is still there, and not another of the same number.
    fn lives(&self) -> bool {
        meeting::start_time(self.pid) == Ok(self.started)
    }
}

fn members(file: &[u8]) -> Vec<Member> {
    let text = String::from_utf8_lossy(file);
    text.lines().filter_map(member).collect()
}

/// Reads a line; one that was not written to its end is nobody.
fn member(line: &str) -> Option<Member> {
    let words: Vec<&str> = line.split(' ').collect();
    let [pid, started, user, mount, layout] = words.as_slice() else { return None };
    let layout = u64::from_str_radix(layout, 16).ok()?;
    Some(Member {
        pid: pid.parse().ok()?,
        started: started.parse().ok()?,
        namespaces: Namespaces { user: user.parse().ok()?, mount: mount.parse().ok()? },
        layout: (layout != 0).then_some(layout),
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
    fn lines_that_are_cut_or_made_up_are_nobody() {
        let read = members(b"12 345 4026531837 4026531841 9f\n13 346 1 2 0\n14 34");
        let pids: Vec<u32> = read.iter().map(|member| member.pid).collect();
        assert_eq!(pids, [12, 13]);
        assert_eq!((read[0].layout, read[1].layout), (Some(0x9f), None));
        for line in ["", "\0\0\0", "x 1 2 3 4", "-1 1 2 3 4", "1 2 3 4 5 6", "\u{ff}"] {
            assert_eq!(member(line), None, "{line:?}");
        }
    }
}
