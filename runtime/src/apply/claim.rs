//! Which of several processes with one rank's number is the rank.
//!
//! What a rank starts inherits the variables by which its launcher has told it its number. Of those
//! that live at one time and want the same, the first on the list of the meeting is the rank, and the
//! others are commands of their own.

use std::io::Write as _;
use std::path::Path;

use nix::errno::Errno;

use super::meeting::{LINE, Member, Who, members};
use crate::paths::{below, parent};
use crate::sys::meeting::{self, Hold, Locked, Namespaces, Tell};

/// The bytes at the end of a line that say whose number it claims.
pub(super) const SIZE: usize = 18;

/// The end of the line of a rank with a number; all that claim it end alike.
pub(super) fn words(task: Option<u64>) -> [u8; SIZE] {
    let mut words = [b' '; SIZE];
    let _ = writeln!(&mut words[..], " {:16x}", task.unwrap_or(0));
    words
}

/// Whether a process whose line ends at a byte of the file comes before all others that live and
/// claim the same.
pub(super) fn is_first(file: &Locked, end: u64, who: Who) -> Result<bool, Errno> {
    let contents = file.read()?;
    let before = usize::try_from(end).unwrap_or(usize::MAX).saturating_sub(LINE);
    let before = &contents[..before.min(contents.len())];
    let claim = words(who.task);
    // Of many ranks few have the same number: the other lines need not be read.
    let mut same = before.chunks_exact(LINE).filter(|line| line.ends_with(&claim));
    Ok(!same.any(|line| is_held(&members(line), who)))
}

/// Whether a member that lives has claimed the same.
pub(super) fn is_held(members: &[Member], Who { layout, task }: Who) -> bool {
    let own = std::process::id();
    let is_same = |member: &&Member| member.task == task && member.layout == layout;
    let mut same = members.iter().filter(is_same).filter(|_| task.is_some());
    same.any(|member| member.pid != own && member.lives())
}

/// Claims something for a rank, in the file of its step; false if a process with its number that
/// lives has done so before.
///
/// # Errors
///
/// As [`Locked::make`].
pub(super) fn claim(path: &Path, who: Who, tell: Tell) -> Result<bool, Errno> {
    let directory = meeting::own_directory(parent(path).unwrap_or(Path::new("/")))?;
    let path = below(&directory, Path::new(path.file_name().unwrap_or_default()));
    let file = Locked::make(&path, Hold::Shared, tell)?;
    let (pid, Who { layout, task }) = (std::process::id(), who);
    let started = meeting::start_time(pid)?;
    // Is in no namespaces that anybody could join.
    let namespaces = Namespaces { user: 0, mount: 0 };
    let own = Member { pid, started, namespaces, layout, init: None, task, is_apart: true };
    let end = file.append(&own.line())?;
    is_first(&file, end, who)
}
