//! Answers to the kernel's questions about a packed image.
//!
//! The image never changes, so every answer holds for ever: the kernel keeps entries, attributes,
//! links and pages, and asks each thing once. Files are not opened or closed here (`ENOSYS`), which
//! saves the kernel two questions for each.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use fuser::{
    Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, InitFlags,
    KernelConfig, LockOwner, OpenFlags, ReplyAttr, ReplyData, ReplyDirectory, ReplyDirectoryPlus,
    ReplyEntry, ReplyOpen, ReplyStatfs, ReplyXattr, Request,
};
use squashfs::{Entry, Flaw, Inode, Kind, Reference, Squashfs};

use crate::voice::{Voice, is_asked};

/// How long an answer holds, as far as the kernel counts.
const FOR_EVER: Duration = Duration::from_secs(i32::MAX as u64);

/// The most that is read in one request, in bytes.
const READ_SIZE: u32 = 1 << 20;

/// The kernel's number of the root directory.
const ROOT: u64 = 1;

/// What stands where there is nothing.
const NOTHING: FileAttr = FileAttr {
    ino: INodeNo(0),
    size: 0,
    blocks: 0,
    atime: UNIX_EPOCH,
    mtime: UNIX_EPOCH,
    ctime: UNIX_EPOCH,
    crtime: UNIX_EPOCH,
    kind: FileType::RegularFile,
    perm: 0,
    nlink: 0,
    uid: 0,
    gid: 0,
    rdev: 0,
    blksize: 0,
    flags: 0,
};

/// Serves an image.
///
/// A file is known to the kernel by the place of its inode, so nothing has to be remembered.
pub(crate) struct Server {
    image: Arc<Squashfs>,
    /// All files belong to the caller, as if he had unpacked them.
    uid: u32,
    gid: u32,
    /// The kernel can open files, and directories, without asking.
    opens_itself: bool,
    lists_itself: bool,
    voice: Arc<Voice>,
    /// Memory for as many answers as were ever made at once.
    buffers: Mutex<Vec<Vec<u8>>>,
}

impl Server {
    pub(crate) fn new(image: Arc<Squashfs>, (uid, gid): (u32, u32), voice: Arc<Voice>) -> Self {
        let buffers = Mutex::default();
        Server { image, uid, gid, opens_itself: false, lists_itself: false, voice, buffers }
    }

    fn buffers(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        self.buffers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Memory for so many bytes or more, of an answer that was sent if there is some: what is new
    /// costs more than what is done with it.
    fn lend_buffer(&self, size: usize) -> Vec<u8> {
        let mut buffer = self.buffers().pop().unwrap_or_default();
        if buffer.len() < size {
            buffer.resize(size, 0);
        }
        buffer
    }

    fn number(&self, reference: Reference) -> INodeNo {
        number(&self.image, reference)
    }

    fn inode(&self, number: INodeNo) -> Result<Inode, Errno> {
        match number.0.checked_sub(ROOT + 1) {
            Some(reference) => self.stored(Reference(reference)),
            None => self.image.root().map_err(|flaw| self.flaw(None, flaw)),
        }
    }

    /// The inode at a place of the image.
    fn stored(&self, reference: Reference) -> Result<Inode, Errno> {
        self.image.inode(reference).map_err(|flaw| self.flaw(Some(reference), flaw))
    }

    /// What the kernel is told of a file that cannot be read, which those who use it are told before.
    fn flaw(&self, file: Option<Reference>, flaw: Flaw) -> Errno {
        self.voice.is_flawed(&self.image, file, flaw);
        Errno::from_i32(flaw.errno() as i32)
    }

    /// The same, as it is wanted where something of an inode is read.
    fn flaw_of<'a>(&'a self, inode: &Inode) -> impl Fn(Flaw) -> Errno + use<'a> {
        let file = inode.reference;
        move |flaw| self.flaw(Some(file), flaw)
    }

    fn attributes(&self, inode: &Inode) -> FileAttr {
        let modified = UNIX_EPOCH + Duration::from_secs(inode.modified.into());
        FileAttr {
            ino: self.number(inode.reference),
            size: inode.size,
            blocks: inode.blocks,
            atime: modified,
            mtime: modified,
            ctime: modified,
            crtime: modified,
            kind: kind(inode.kind),
            perm: inode.permissions,
            nlink: inode.links,
            uid: self.uid,
            gid: self.gid,
            rdev: inode.device,
            blksize: self.image.superblock().block_size,
            flags: 0,
        }
    }

    fn child(&self, parent: INodeNo, name: &OsStr) -> Result<Inode, Errno> {
        let parent = self.inode(parent)?;
        let entry = self.image.lookup(&parent, name).map_err(self.flaw_of(&parent))?;
        let entry = entry.ok_or(Errno::ENOENT)?;
        self.stored(entry.reference)
    }

    /// Hands out the entries of a directory, `.` and `..` first, until `add` has no more room.
    fn list(
        &self,
        number: INodeNo,
        offset: u64,
        add: &mut dyn FnMut(u64, &OsStr, Listed) -> Result<bool, Errno>,
    ) -> Result<(), Errno> {
        let directory = self.inode(number)?;
        if offset == 0 && add(1, OsStr::new("."), Listed::Directory(&directory))? {
            return Ok(());
        }
        if offset <= 1 {
            // The parent's place is known to images that tell it only; nobody depends on it.
            let parent = self.image.numbered(directory.parent);
            let parent = parent.and_then(|place| self.image.inode(place));
            let parent = parent.unwrap_or_else(|_| directory.clone());
            if add(2, OsStr::new(".."), Listed::Directory(&parent))? {
                return Ok(());
            }
        }
        // Offsets of the image start behind those two.
        let flawed = self.flaw_of(&directory);
        let entries = self.image.entries(&directory, offset.saturating_sub(2)).map_err(&flawed)?;
        for entry in entries {
            let entry = entry.map_err(&flawed)?;
            if add(entry.next + 2, &entry.name, Listed::Entry(&entry))? {
                return Ok(());
            }
        }
        Ok(())
    }
}

/// The kernel's number of a file.
pub(crate) fn number(image: &Squashfs, reference: Reference) -> INodeNo {
    match reference == image.superblock().root {
        true => INodeNo(ROOT),
        false => INodeNo(reference.0.saturating_add(ROOT + 1)),
    }
}

/// What stands in a directory.
enum Listed<'a> {
    /// The directory itself, or the one it is in.
    Directory(&'a Inode),
    Entry(&'a Entry),
}

fn kind(kind: Kind) -> FileType {
    match kind {
        Kind::Directory => FileType::Directory,
        Kind::File => FileType::RegularFile,
        Kind::Symlink => FileType::Symlink,
        Kind::BlockDevice => FileType::BlockDevice,
        Kind::CharacterDevice => FileType::CharDevice,
        Kind::Fifo => FileType::NamedPipe,
        Kind::Socket => FileType::Socket,
    }
}

/// A value as getxattr(2) and listxattr(2) want it: with size 0 they ask for the size.
fn answer_xattr(value: Result<Vec<u8>, Errno>, size: u32, reply: ReplyXattr) {
    match value {
        Ok(value) if size == 0 => reply.size(value.len() as u32),
        Ok(value) if value.len() > size as usize => reply.error(Errno::ERANGE),
        Ok(value) => reply.data(&value),
        Err(errno) => reply.error(errno),
    }
}

impl Filesystem for Server {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        for wanted in [
            InitFlags::FUSE_ASYNC_READ,
            InitFlags::FUSE_PARALLEL_DIROPS,
            InitFlags::FUSE_DO_READDIRPLUS,
            InitFlags::FUSE_READDIRPLUS_AUTO,
            InitFlags::FUSE_CACHE_SYMLINKS,
            InitFlags::FUSE_NO_OPEN_SUPPORT,
            InitFlags::FUSE_NO_OPENDIR_SUPPORT,
        ] {
            // What an old kernel lacks is only slower.
            let _ = config.add_capabilities(wanted);
        }
        let has = |flag| config.capabilities().contains(flag);
        self.opens_itself = has(InitFlags::FUSE_NO_OPEN_SUPPORT);
        // From Linux 5.1 on.
        self.lists_itself = has(InitFlags::FUSE_NO_OPENDIR_SUPPORT);
        // Both decide how much is asked for at once; nothing is ever written.
        let _ = config.set_max_write(READ_SIZE);
        if let Err(largest) = config.set_max_readahead(READ_SIZE) {
            let _ = config.set_max_readahead(largest);
        }
        Ok(())
    }

    fn lookup(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        is_asked(request);
        match self.child(parent, name) {
            Ok(inode) => {
                reply.entry(&FOR_EVER, &self.attributes(&inode), Generation(0));
            }
            // Without a number it says that there is nothing, and for how long that holds: programs
            // look for modules and libraries in many places.
            Err(errno) if errno.code() == nix::libc::ENOENT => {
                reply.entry(&FOR_EVER, &NOTHING, Generation(0));
            }
            Err(errno) => reply.error(errno),
        }
    }

    fn getattr(&self, request: &Request, number: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        is_asked(request);
        match self.inode(number) {
            Ok(inode) => reply.attr(&FOR_EVER, &self.attributes(&inode)),
            Err(errno) => reply.error(errno),
        }
    }

    fn readlink(&self, request: &Request, number: INodeNo, reply: ReplyData) {
        is_asked(request);
        let target = self
            .inode(number)
            .and_then(|inode| self.image.target(&inode).map_err(self.flaw_of(&inode)));
        match target {
            Ok(target) => reply.data(target.as_bytes()),
            Err(errno) => reply.error(errno),
        }
    }

    fn open(&self, request: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        is_asked(request);
        match self.opens_itself {
            true => reply.error(Errno::ENOSYS),
            false => reply.opened(FileHandle(0), FopenFlags::FOPEN_KEEP_CACHE),
        }
    }

    fn opendir(&self, request: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        is_asked(request);
        let flags = FopenFlags::FOPEN_KEEP_CACHE | FopenFlags::FOPEN_CACHE_DIR;
        match self.lists_itself {
            true => reply.error(Errno::ENOSYS),
            false => reply.opened(FileHandle(0), flags),
        }
    }

    fn read(
        &self,
        request: &Request,
        number: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        is_asked(request);
        let mut buffer = self.lend_buffer(size.min(READ_SIZE) as usize);
        let room = &mut buffer[..size.min(READ_SIZE) as usize];
        let read = |inode| self.image.read(&inode, offset, room).map_err(self.flaw_of(&inode));
        match self.inode(number).and_then(read) {
            Ok(count) => reply.data(&buffer[..count]),
            Err(errno) => reply.error(errno),
        }
        self.buffers().push(buffer);
    }

    fn readdir(
        &self,
        request: &Request,
        number: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        is_asked(request);
        let listed = self.list(number, offset, &mut |next, name, listed| {
            let (reference, kind) = match listed {
                Listed::Directory(inode) => (inode.reference, FileType::Directory),
                Listed::Entry(entry) => (entry.reference, kind(entry.kind)),
            };
            Ok(reply.add(self.number(reference), next, kind, name))
        });
        match listed {
            Ok(()) => reply.ok(),
            Err(errno) => reply.error(errno),
        }
    }

    fn readdirplus(
        &self,
        request: &Request,
        number: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        is_asked(request);
        let listed = self.list(number, offset, &mut |next, name, listed| {
            let (attributes, number) = match listed {
                // The kernel knows these two already.
                Listed::Directory(inode) => (self.attributes(inode), INodeNo(0)),
                Listed::Entry(entry) => {
                    let inode = self.stored(entry.reference)?;
                    (self.attributes(&inode), self.number(entry.reference))
                }
            };
            Ok(reply.add(number, next, name, &FOR_EVER, &attributes, Generation(0)))
        });
        match listed {
            Ok(()) => reply.ok(),
            Err(errno) => reply.error(errno),
        }
    }

    fn statfs(&self, request: &Request, _: INodeNo, reply: ReplyStatfs) {
        is_asked(request);
        let superblock = self.image.superblock();
        let blocks = superblock.size.div_ceil(superblock.block_size.into());
        let (files, size) = (superblock.inodes.into(), superblock.block_size);
        reply.statfs(blocks, 0, 0, files, 0, size, 255, size);
    }

    fn getxattr(
        &self,
        request: &Request,
        number: INodeNo,
        name: &OsStr,
        size: u32,
        reply: ReplyXattr,
    ) {
        is_asked(request);
        if !self.image.has_xattrs() {
            // The kernel does not ask again.
            return reply.error(Errno::ENOSYS);
        }
        let value = self.inode(number).and_then(|inode| {
            let value = self.image.xattr(&inode, name).map_err(self.flaw_of(&inode))?;
            value.ok_or(Errno::ENODATA)
        });
        answer_xattr(value, size, reply);
    }

    fn listxattr(&self, request: &Request, number: INodeNo, size: u32, reply: ReplyXattr) {
        is_asked(request);
        if !self.image.has_xattrs() {
            return reply.error(Errno::ENOSYS);
        }
        let names = self.inode(number).and_then(|inode| {
            let names = self.image.xattr_names(&inode).map_err(self.flaw_of(&inode))?;
            let ended = names.iter().flat_map(|name| [name.as_bytes(), b"\0"]);
            Ok(ended.flatten().copied().collect())
        });
        answer_xattr(names, size, reply);
    }
}
