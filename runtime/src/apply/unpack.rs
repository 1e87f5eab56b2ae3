//! A packed image's copy is made by one process of the node, and held by all that run in it.

use std::path::Path;

use nix::errno::Errno;

use crate::paths::parent;
use crate::sys::copy::{self, LastUnmount};
use crate::sys::detached::Link;
use crate::sys::group;
use crate::sys::meeting::{self, Hold, Locked, Tell};

/// Writes the tree of an image, which starts at a byte of a file, into a directory, which it makes;
/// removes what was written if it fails, and also if this process ends meanwhile.
///
/// # Errors
///
/// The errno of what failed; `EIO` for a damaged image.
pub type Unpack = fn((&Path, u64), &Path, &Locked) -> Result<(), Errno>;

/// Starts the process that removes a copy, when a file system is mounted nowhere any more. The link
/// tells when it no longer sees the stage itself; it waits for being told that the file system will
/// be heard of.
pub type Outlive = fn(&Path, &Path, Locked, &LastUnmount) -> Result<Link, Errno>;

/// Nobody is so unlucky to find the directory gone so often, which is removed when it is empty.
const ATTEMPTS: usize = 20;

/// Waits for a copy that is whole, or makes it.
pub(super) fn hold(
    unpack: Unpack,
    image: (&Path, u64),
    tree: &Path,
    mark: &str,
    (says, tell): (bool, Tell),
) -> Result<Locked, Errno> {
    let mark = format!("{mark} {}\n", copy::boot());
    let mut copy = Copy { unpack, image, tree, mark, says, tell };
    let mut attempts = 0..ATTEMPTS;
    loop {
        match copy.try_hold() {
            Ok(Some(held)) => return Ok(held),
            Ok(None) => {}
            Err(Errno::ENOENT) if attempts.next().is_some() => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// A copy that is wanted.
struct Copy<'a> {
    unpack: Unpack,
    image: (&'a Path, u64),
    tree: &'a Path,
    /// What its lock file says when it is whole.
    mark: String,
    /// Whether to say what takes so long, which is done once.
    says: bool,
    /// Who is told of a long wait, which may be for a process that has stopped.
    tell: Tell,
}

impl Copy<'_> {
    /// Holds the copy, if it is whole, or made; nothing if another process had to be waited for.
    fn try_hold(&mut self) -> Result<Option<Locked>, Errno> {
        let directory = parent(self.tree).unwrap_or(Path::new("/"));
        // The plan has its name, which was free then.
        if meeting::own_directory(directory)? != directory {
            return Err(Errno::EPERM);
        }
        sweep(directory, self.tree);
        let lock = copy::lock_of(self.tree);
        let shared = Locked::try_make(&lock, Hold::Shared)?;
        if let Some(file) = shared.filter(|file| self.is_whole(file)) {
            return Ok(Some(file));
        }
        let Some(file) = Locked::try_make(&lock, Hold::Alone)? else {
            self.say(|copy| format!("waiting until {} is unpacked", copy.image.0.display()));
            return Locked::make(&lock, Hold::Shared, self.tell).map(|_| None);
        };
        if !self.is_whole(&file) {
            self.say(|Copy { image, tree, .. }| {
                format!("unpacking {} in {}", image.0.display(), tree.display())
            });
            self.make(&file).inspect_err(|_| copy::remove_all(&file, self.tree))?;
        }
        // Whoever finds it held by nobody in between removes it.
        let is_held = file.try_hold(Hold::Shared)? && file.is_still(&lock);
        Ok(Some(file).filter(|file| is_held && self.is_whole(file)))
    }

    fn is_whole(&self, file: &Locked) -> bool {
        file.read().is_ok_and(|text| text == self.mark.as_bytes())
    }

    /// Makes the copy, and then says that it is whole.
    fn make(&self, file: &Locked) -> Result<(), Errno> {
        // What somebody left who was killed.
        file.shorten(b"")?;
        copy::remove(self.tree)?;
        (self.unpack)(self.image, self.tree, file)?;
        file.shorten(self.mark.as_bytes())
    }

    fn say(&mut self, text: impl FnOnce(&Self) -> String) {
        if std::mem::take(&mut self.says) {
            group::say(&format!("hrun: {}\n", text(self)));
        }
    }
}

/// Leaves a copy to the process that removes it.
pub(super) fn leave(
    outlive: Outlive,
    tree: &Path,
    stage: &Path,
    held: Locked,
) -> Result<(), Errno> {
    let unmount = LastUnmount::new()?;
    let link = outlive(tree, stage, held, &unmount)?;
    link.hear()?;
    unmount.expect(stage)?;
    link.tell(Ok(()))
}

/// Removes copies that nobody uses: whoever should have done so was killed.
fn sweep(directory: &Path, own: &Path) {
    for tree in copy::copies(directory) {
        if tree != own
            && let Ok(Some(file)) = Locked::try_open(&copy::lock_of(&tree))
        {
            copy::let_go(file, &tree);
        }
    }
}
