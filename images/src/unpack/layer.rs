//! The members of an archive, made one after another in a tree.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::ops::Bound;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use runtime::error::{Cause, Error};
use rustix::fs::{AtFlags, Mode, OFlags, XattrFlags};
use rustix::fs::{
    fchmod, flistxattr, fremovexattr, fsetxattr, ftruncate, futimens, linkat, mkdirat, openat,
    symlinkat,
};

use super::archive::{Archive, Kind, Member};
use super::names::{self, Meaning};
use super::sparse::Piece;
use super::tree::{self, Directory, Tree, cause};
use super::{Form, Report, broken, refused, too_large, unusable};
use crate::own::{self, OTHERS_WRITE};

/// What every directory has beside its own bits, so that its owner can read and remove the tree;
/// and every file.
const DIRECTORY_BITS: u32 = 0o700;
const FILE_BITS: u32 = 0o400;

/// Set-user-ID and set-group-ID: of a file that is now the caller's, they would give all that is
/// his to whoever runs it.
const SETID_BITS: u32 = 0o6000;

/// Read and written at once.
const BUFFER: usize = 128 << 10;

/// The most that Linux has of names of attributes (`XATTR_LIST_MAX`).
const XATTR_LIST_LIMIT: usize = 64 << 10;

/// Fewer zeros than a page are written.
const HOLE: usize = 4 << 10;

/// What is known while an archive is unpacked.
struct Layer<'a> {
    tree: Tree,
    form: Form,
    report: &'a mut Report,
    /// What was read of all layers, but for holes.
    spent: &'a Cell<u64>,
    /// What this layer has made: names, by the path of their directory in the tree.
    made: BTreeMap<PathBuf, BTreeSet<OsString>>,
    /// Paths of what was left out, to which links may come.
    missing: BTreeSet<PathBuf>,
    buffer: Vec<u8>,
}

/// A stream that ends with an error when more has come of it than may. What becomes a hole takes no
/// room, and is taken off again.
struct Limited<'a> {
    stream: &'a mut dyn Read,
    spent: &'a Cell<u64>,
    limit: u64,
}

impl Read for Limited<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.stream.read(buffer)?;
        self.spent.set(self.spent.get() + count as u64);
        match self.spent.get() > self.limit {
            true => Err(io::ErrorKind::FileTooLarge.into()),
            false => Ok(count),
        }
    }
}

/// Unpacks an archive that is not compressed.
pub(super) fn unpack(
    stream: &mut dyn Read,
    form: Form,
    root: &Path,
    report: &mut Report,
) -> Result<(), Error> {
    let tree = Tree::open(root).map_err(|cause| unusable(root, cause))?;
    let spent = Cell::new(report.spent);
    let limits = report.limits;
    let mut limited = Limited { stream, spent: &spent, limit: limits.bytes };
    let mut archive = match form {
        Form::Layer => Archive::of_layer(&mut limited),
        Form::Plain => Archive::new(&mut limited),
    };
    let mut layer = Layer {
        tree,
        form,
        report,
        spent: &spent,
        made: BTreeMap::new(),
        missing: BTreeSet::new(),
        buffer: vec![0; BUFFER],
    };
    let unpacked = layer.take_all(&mut archive);
    report.spent = spent.get();
    match unpacked {
        Err(error) if report.spent > limits.bytes => Err(too_large(error.attempt, &limits)),
        unpacked => unpacked,
    }
}

impl Layer<'_> {
    fn take_all(&mut self, archive: &mut Archive) -> Result<(), Error> {
        while let Some(member) = archive.next().map_err(broken)? {
            self.report.entries += 1;
            if self.report.entries > self.report.limits.entries {
                let limit = self.report.limits.entries;
                return Err(broken(format!("it has more than {limit} files").into()));
            }
            self.take(&member, archive).map_err(|cause| refused(&member.name, cause))?;
        }
        Ok(())
    }

    fn take(&mut self, member: &Member, archive: &mut Archive) -> Result<(), Cause> {
        let path = names::relative(&member.name)?;
        let meaning = match self.form {
            Form::Layer => names::meaning(&path)?,
            Form::Plain => Meaning::File,
        };
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return self.root(member);
        };
        match meaning {
            Meaning::File => self.file(parent, name, member, archive),
            Meaning::Nothing => Ok(()),
            Meaning::Whiteout(name) => match self.tree.find_to_remove(parent)? {
                Some(directory) => self.prune(&directory, &name),
                None => Ok(()),
            },
            Meaning::Opaque => {
                let Some(directory) = self.tree.find_to_remove(parent)? else { return Ok(()) };
                for name in directory.names()? {
                    self.prune(&directory, &name)?;
                }
                Ok(())
            }
        }
    }

    /// The root directory itself.
    fn root(&mut self, member: &Member) -> Result<(), Cause> {
        if !matches!(member.kind, Kind::Directory) {
            return Err("it would take the place of the image's root directory".into());
        }
        let root = self.tree.make(Path::new(""))?;
        self.dress(&root, member)
    }

    fn file(
        &mut self,
        parent: &Path,
        name: &OsStr,
        member: &Member,
        archive: &mut Archive,
    ) -> Result<(), Cause> {
        let directory = self.tree.make(parent)?;
        match &member.kind {
            Kind::Directory => self.directory(&directory, name, member)?,
            Kind::File { size, pieces } => {
                let file = self.new_file(&directory, name)?;
                self.contents(&file, *size, pieces.as_deref(), archive)?;
                let mode = self.mode(member, FILE_BITS) & !SETID_BITS;
                self.xattrs(&file, member)?;
                fchmod(&file, Mode::from_raw_mode(mode)).map_err(cause)?;
                futimens(&file, &tree::times(member.modified)).map_err(cause)?;
                own::close(file).map_err(|error| super::from_io(&error))?;
            }
            Kind::Symlink(target) => {
                match target.len() {
                    0 => return Err("it is a symbolic link to nothing".into()),
                    1..=names::PATH_LIMIT => {}
                    _ => return Err("its target is longer than 4095 bytes".into()),
                }
                let target = OsStr::from_bytes(target);
                self.over(&directory, name, |fd| symlinkat(target, fd, name))?;
                directory.set_time(name, member.modified)?;
                for (attribute, _) in &member.xattrs {
                    self.report.skip_attribute(attribute, member);
                }
            }
            Kind::Link(target) => {
                if !self.link(&directory, name, target)? {
                    return self.leave_out(
                        &directory,
                        name,
                        member,
                        "a hard link to what was left out",
                    );
                }
            }
            Kind::Special(what) => return self.leave_out(&directory, name, member, what),
        }
        self.report.files += 1;
        self.missing.remove(&directory.path.join(name));
        self.note(&directory, name);
        Ok(())
    }

    /// Remembers that this layer has a name in a directory.
    fn note(&mut self, directory: &Directory, name: &OsStr) {
        match self.made.get_mut(&*directory.path) {
            Some(names) => {
                if !names.contains(name) {
                    names.insert(name.to_owned());
                }
            }
            None => {
                self.made.insert(directory.path.to_path_buf(), BTreeSet::from([name.to_owned()]));
            }
        }
    }

    /// What cannot be made takes the place of what was there all the same.
    fn leave_out(
        &mut self,
        directory: &Directory,
        name: &OsStr,
        member: &Member,
        what: &str,
    ) -> Result<(), Cause> {
        self.remove_if_there(directory, name)?;
        self.missing.insert(directory.path.join(name));
        self.report.skip(format!("{} ({what})", names::shown(&member.name)));
        Ok(())
    }

    fn directory(
        &mut self,
        parent: &Directory,
        name: &OsStr,
        member: &Member,
    ) -> Result<(), Cause> {
        let is_there = parent.stat(name)?.is_some_and(|stat| tree::is_directory(&stat));
        if !is_there {
            self.over(parent, name, |fd| mkdirat(fd, name, Mode::from_raw_mode(0o700)))?;
            parent.within_depth(name)?;
        }
        let directory = parent.open(name)?;
        if is_there {
            // Those of lower layers are not this one's.
            forget_xattrs(&directory)?;
        }
        self.dress(&directory, member)
    }

    /// The bits an archive says, with what the owner needs and without those by which others may
    /// write: what runs from the tree runs as its owner.
    fn mode(&self, member: &Member, own: u32) -> u32 {
        let mode = (member.mode | own) & !OTHERS_WRITE;
        if self.report.is_shared { own::readable(mode) } else { mode }
    }

    /// Gives a directory the bits and attributes of a member; its time comes at the end.
    fn dress(&mut self, directory: &Directory, member: &Member) -> Result<(), Cause> {
        self.xattrs(&directory.fd, member)?;
        fchmod(&directory.fd, Mode::from_raw_mode(self.mode(member, DIRECTORY_BITS)))
            .map_err(cause)?;
        self.report.times.insert(directory.path.to_path_buf(), member.modified);
        Ok(())
    }

    fn new_file(&mut self, directory: &Directory, name: &OsStr) -> Result<OwnedFd, Cause> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        self.over(directory, name, |fd| openat(fd, name, flags, Mode::from_raw_mode(0o600)))
    }

    /// Makes something in a directory, in the place of what is there.
    fn over<T>(
        &mut self,
        directory: &Directory,
        name: &OsStr,
        make: impl Fn(&OwnedFd) -> rustix::io::Result<T>,
    ) -> Result<T, Cause> {
        match make(&directory.fd) {
            Err(rustix::io::Errno::EXIST) => {
                self.remove(directory, name)?;
                make(&directory.fd).map_err(cause)
            }
            made => made.map_err(cause),
        }
    }

    /// Writes the contents of a file; what is nothing but zeros becomes a hole.
    fn contents(
        &mut self,
        file: &OwnedFd,
        size: u64,
        pieces: Option<&[Piece]>,
        archive: &mut Archive,
    ) -> Result<(), Cause> {
        let whole = [(0, size)];
        let mut has_holes = pieces.is_some();
        for (offset, length) in pieces.unwrap_or(&whole) {
            let (mut at, end) = (*offset, offset + length);
            while at < end {
                let wanted = usize::try_from(end - at).map_or(BUFFER, |left| left.min(BUFFER));
                let count = archive.read(&mut self.buffer[..wanted])?;
                let bytes = &self.buffer[..count];
                match count >= HOLE && bytes.iter().all(|byte| *byte == 0) {
                    true => {
                        has_holes = true;
                        self.spent.set(self.spent.get().saturating_sub(count as u64));
                    }
                    false => write_all_at(file, bytes, at)?,
                }
                at += count as u64;
                self.report.bytes += count as u64;
            }
        }
        match has_holes {
            true => ftruncate(file, size).map_err(cause),
            false => Ok(()),
        }
    }

    /// Makes another name for a file; says whether it was there to be linked to.
    fn link(&mut self, directory: &Directory, name: &OsStr, target: &[u8]) -> Result<bool, Cause> {
        let path = names::relative(target).map_err(|flaw| link_flaw(target, flaw))?;
        let (Some(parent), Some(other)) = (path.parent(), path.file_name()) else {
            return Err(link_flaw(target, "it is the image's root directory"));
        };
        let Some(from) = self.tree.find(parent)? else {
            return Err(link_flaw(target, "there is no such file"));
        };
        if self.missing.contains(&from.path.join(other)) {
            return Ok(false);
        }
        let stat = from.stat(other)?.ok_or_else(|| link_flaw(target, "there is no such file"))?;
        if tree::is_directory(&stat) {
            return Err(link_flaw(target, "it is a directory"));
        }
        let there = directory.stat(name)?.map(|there| (there.st_dev, there.st_ino));
        if there == Some((stat.st_dev, stat.st_ino)) {
            return Ok(true);
        }
        self.over(directory, name, |fd| linkat(&from.fd, other, fd, name, AtFlags::empty()))?;
        Ok(true)
    }

    /// Sets the attributes that users may set (`user.`), and counts the others. Those by which
    /// overlay works (`user.overlay.`) would change what hrun's own layers show.
    fn xattrs(&mut self, file: &OwnedFd, member: &Member) -> Result<(), Cause> {
        for (name, value) in &member.xattrs {
            let is_users = name.starts_with(b"user.") && !name.starts_with(b"user.overlay.");
            if !is_users {
                self.report.skip_attribute(name, member);
                continue;
            }
            match fsetxattr(file, OsStr::from_bytes(name), value, XattrFlags::empty()) {
                Ok(()) => {}
                // Not every file system has them, or room for them, and not every name is one.
                Err(
                    rustix::io::Errno::NOTSUP
                    | rustix::io::Errno::NOSPC
                    | rustix::io::Errno::TOOBIG
                    | rustix::io::Errno::RANGE
                    | rustix::io::Errno::INVAL,
                ) => {
                    self.report.skip_attribute(name, member);
                }
                Err(errno) => return Err(cause(errno)),
            }
        }
        Ok(())
    }

    /// Removes what lower layers have at a name, and keeps what this one has made there.
    fn prune(&mut self, directory: &Directory, name: &OsStr) -> Result<(), Cause> {
        let Some(stat) = directory.stat(name)? else { return Ok(()) };
        let is_own = self.made.get(&*directory.path).is_some_and(|names| names.contains(name));
        if !tree::is_directory(&stat) {
            return if is_own { Ok(()) } else { self.remove(directory, name) };
        }
        let path = directory.path.join(name);
        let has_own =
            from(&self.made, &path).next().is_some_and(|(made, _)| made.starts_with(&path));
        if !is_own && !has_own {
            return self.remove(directory, name);
        }
        let inner = directory.open(name)?;
        for name in inner.names()? {
            self.prune(&inner, &name)?;
        }
        Ok(())
    }

    fn remove_if_there(&mut self, directory: &Directory, name: &OsStr) -> Result<(), Cause> {
        match directory.stat(name)? {
            Some(_) => self.remove(directory, name),
            None => Ok(()),
        }
    }

    /// Removes what is there, and forgets all that was known of it.
    fn remove(&mut self, directory: &Directory, name: &OsStr) -> Result<(), Cause> {
        let path = directory.path.join(name);
        if let Some(names) = self.made.get_mut(&*directory.path) {
            names.remove(name);
        }
        forget(&mut self.made, &path);
        forget(&mut self.report.times, &path);
        self.tree.remove(directory, name)
    }
}

/// Takes away the attributes that users set.
fn forget_xattrs(directory: &Directory) -> Result<(), Cause> {
    let mut names = vec![0u8; XATTR_LIST_LIMIT];
    let count = match flistxattr(&directory.fd, &mut names[..]) {
        Err(rustix::io::Errno::NOTSUP) => return Ok(()),
        count => count.map_err(cause)?,
    };
    for name in names[..count].split(|byte| *byte == 0).filter(|name| name.starts_with(b"user.")) {
        fremovexattr(&directory.fd, OsStr::from_bytes(name)).map_err(cause)?;
    }
    Ok(())
}

fn link_flaw(target: &[u8], flaw: &str) -> Cause {
    format!("it is a hard link to {}: {flaw}", names::shown(target)).into()
}

/// What a map has from a path on.
fn from<'a, V>(
    map: &'a BTreeMap<PathBuf, V>,
    path: &Path,
) -> impl Iterator<Item = (&'a PathBuf, &'a V)> {
    map.range::<Path, _>((Bound::Included(path), Bound::Unbounded))
}

/// Takes a path, and what is below it, out of a map.
fn forget<V>(map: &mut BTreeMap<PathBuf, V>, path: &Path) {
    let gone: Vec<PathBuf> = from(map, path)
        .map(|(found, _)| found)
        .take_while(|found| found.starts_with(path))
        .cloned()
        .collect();
    for path in gone {
        map.remove(&path);
    }
}

fn write_all_at(file: &OwnedFd, mut bytes: &[u8], mut at: u64) -> Result<(), Cause> {
    while !bytes.is_empty() {
        match rustix::io::pwrite(file, bytes, at) {
            Ok(count) => {
                bytes = &bytes[count..];
                at += count as u64;
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(cause(errno)),
        }
    }
    Ok(())
}
