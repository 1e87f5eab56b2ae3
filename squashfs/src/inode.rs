//! Inodes: 14 types, two for each kind of file.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use crate::metadata::{Cursor, Place};
use crate::{Flaw, Reference, Squashfs};

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A regular file.
    File,
    /// A symbolic link.
    Symlink,
    /// A block device.
    BlockDevice,
    /// A character device.
    CharacterDevice,
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
}

impl Kind {
    /// The kind of a basic type of inodes, which directories tell too.
    pub(crate) fn numbered(number: u16) -> Option<Self> {
        Some(match number {
            1 => Kind::Directory,
            2 => Kind::File,
            3 => Kind::Symlink,
            4 => Kind::BlockDevice,
            5 => Kind::CharacterDevice,
            6 => Kind::Fifo,
            7 => Kind::Socket,
            _ => return None,
        })
    }

    /// The type as `st_mode` of stat(2) has it (`S_IFMT`).
    pub fn mode_bits(self) -> u32 {
        match self {
            Kind::Fifo => 0o010_000,
            Kind::CharacterDevice => 0o020_000,
            Kind::Directory => 0o040_000,
            Kind::BlockDevice => 0o060_000,
            Kind::File => 0o100_000,
            Kind::Symlink => 0o120_000,
            Kind::Socket => 0o140_000,
        }
    }
}

/// What stat(2) tells of a file, and where the rest of it is.
#[derive(Clone, Debug)]
pub struct Inode {
    /// Where it is; hard links have the same.
    pub reference: Reference,
    /// Its number, from 1 on.
    pub number: u32,
    /// What it is.
    pub kind: Kind,
    /// The permission bits, with set-user-ID, set-group-ID and sticky bit.
    pub permissions: u16,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// The last change, in seconds since 1970.
    pub modified: u32,
    /// The number of names; of a directory, that of its subdirectories and two.
    pub links: u32,
    /// The size as stat(2) tells it, in bytes; 3 for an empty directory.
    pub size: u64,
    /// The space as stat(2) tells it, in units of 512 bytes: that of contents which are no holes,
    /// before compression, and that of extended attributes.
    pub blocks: u64,
    /// The number of the device, as the kernel has it in 32 bits; 0 for anything else.
    pub device: u32,
    /// The number of the directory that a directory is in; 0 for anything else.
    pub parent: u32,
    pub(crate) xattrs: u32,
    pub(crate) body: Body,
}

/// Where the contents are.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Body {
    /// A listing, and places in it; a symbolic link's target.
    Directory { listing: Place, index: u16, index_at: Place },
    /// Blocks from a byte on, their sizes, and what is left of the file in a fragment.
    File { start: u64, sizes: Place, fragment: Option<Fragment> },
    /// The target.
    Symlink { target: Place },
    /// Nothing.
    Other,
}

/// A part of a block that several files share.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fragment {
    pub(crate) number: u32,
    pub(crate) offset: u32,
}

/// What stands for "none" in fields of 32 bits.
const NONE: u32 = u32::MAX;

/// The longest target of a symbolic link, in bytes: what Linux takes (`PATH_MAX`).
const TARGET_LIMIT: u64 = 4 << 10;

/// The fields after the common ones, but for owner and group.
struct Rest {
    links: u32,
    size: u64,
    blocks: u64,
    device: u32,
    parent: u32,
    xattrs: u32,
    body: Body,
}

impl Rest {
    fn new(links: u32, size: u64, body: Body) -> Self {
        Rest { links, size, blocks: 0, device: 0, parent: 0, xattrs: NONE, body }
    }
}

impl Squashfs {
    /// The inode at a place.
    ///
    /// # Errors
    ///
    /// Fails if there is none.
    pub fn inode(&self, reference: Reference) -> Result<Inode, Flaw> {
        let mut cursor = self.inode_cursor(self.inode_place(reference))?;
        let common = cursor.fields::<16>()?;
        let number = common.half(0);
        let (basic, is_extended) = if number > 7 { (number - 7, true) } else { (number, false) };
        let unknown = Flaw::Unknown { what: "type of inode", value: number.into() };
        let kind = Kind::numbered(basic).ok_or(unknown)?;
        let rest = match kind {
            Kind::Directory if is_extended => self.extended_directory(&mut cursor)?,
            Kind::Directory => self.directory(&mut cursor)?,
            Kind::File if is_extended => extended_file(&mut cursor, self.superblock.block_size)?,
            Kind::File => file(&mut cursor)?,
            Kind::Symlink => symlink(&mut cursor, is_extended)?,
            Kind::BlockDevice | Kind::CharacterDevice => device(&mut cursor, is_extended)?,
            Kind::Fifo | Kind::Socket => nameless(&mut cursor, is_extended)?,
        };
        Ok(Inode {
            reference,
            number: common.word(12),
            kind,
            permissions: common.half(2) & 0o7777,
            uid: self.id(common.half(4))?,
            gid: self.id(common.half(6))?,
            modified: common.word(8),
            links: rest.links,
            size: rest.size,
            blocks: rest.blocks + self.xattr_blocks(rest.xattrs)?,
            device: rest.device,
            parent: rest.parent,
            xattrs: rest.xattrs,
            body: rest.body,
        })
    }

    /// Where an inode is, by its number, for images that tell it (`-exports`, the default).
    ///
    /// # Errors
    ///
    /// Fails if the image does not tell, or the table cannot be read.
    pub fn numbered(&self, number: u32) -> Result<Reference, Flaw> {
        let flaw = Flaw::Unknown { what: "number of an inode", value: number.into() };
        let table = self.exports.as_ref().ok_or(flaw)?;
        let record = table.record::<8>(self, u64::from(number.checked_sub(1).ok_or(flaw)?))?;
        Ok(Reference(record.long(0)))
    }

    /// The target of a symbolic link.
    ///
    /// # Errors
    ///
    /// Fails if the inode is none, or the target cannot be read.
    pub fn target(&self, inode: &Inode) -> Result<OsString, Flaw> {
        let Body::Symlink { target } = inode.body else {
            return Err(Flaw::OtherKind { wanted: "symbolic link" });
        };
        let mut bytes = vec![0; inode.size as usize];
        self.inode_cursor(target)?.read(&mut bytes)?;
        Ok(OsString::from_vec(bytes))
    }

    pub(crate) fn inode_cursor(&self, place: Place) -> Result<Cursor<'_>, Flaw> {
        Cursor::new(self, "inode table", self.superblock.directory_table, place)
    }

    fn inode_place(&self, reference: Reference) -> Place {
        let block = self.superblock.inode_table.saturating_add(reference.0 >> 16);
        Place { block, offset: (reference.0 & 0xffff) as usize }
    }

    fn id(&self, number: u16) -> Result<u32, Flaw> {
        self.ids.record::<4>(self, number.into()).map(|record| record.word(0))
    }

    fn listing(&self, block: u32, offset: u16) -> Place {
        let block = self.superblock.directory_table.saturating_add(block.into());
        Place { block, offset: offset.into() }
    }

    fn directory(&self, cursor: &mut Cursor) -> Result<Rest, Flaw> {
        let fields = cursor.fields::<16>()?;
        let listing = self.listing(fields.word(0), fields.half(10));
        let body = Body::Directory { listing, index: 0, index_at: cursor.place() };
        let mut rest = Rest::new(fields.word(4), fields.half(8).into(), body);
        rest.parent = fields.word(12);
        Ok(rest)
    }

    fn extended_directory(&self, cursor: &mut Cursor) -> Result<Rest, Flaw> {
        let fields = cursor.fields::<24>()?;
        let listing = self.listing(fields.word(8), fields.half(18));
        let body = Body::Directory { listing, index: fields.half(16), index_at: cursor.place() };
        let mut rest = Rest::new(fields.word(0), fields.word(4).into(), body);
        rest.parent = fields.word(12);
        rest.xattrs = fields.word(20);
        Ok(rest)
    }
}

fn file(cursor: &mut Cursor) -> Result<Rest, Flaw> {
    let fields = cursor.fields::<16>()?;
    let body = Body::File {
        start: fields.word(0).into(),
        sizes: cursor.place(),
        fragment: fragment(fields.word(4), fields.word(8)),
    };
    let size = fields.word(12).into();
    let mut rest = Rest::new(1, size, body);
    rest.blocks = size.div_ceil(512);
    Ok(rest)
}

fn extended_file(cursor: &mut Cursor, block_size: u32) -> Result<Rest, Flaw> {
    let fields = cursor.fields::<40>()?;
    let size = fields.long(8);
    // What the kernel can count (`loff_t`), so that no sum of block sizes runs over.
    if size > i64::MAX as u64 - u64::from(block_size) {
        return Err(Flaw::TooLarge { what: "file" });
    }
    let body = Body::File {
        start: fields.long(0),
        sizes: cursor.place(),
        fragment: fragment(fields.word(28), fields.word(32)),
    };
    let mut rest = Rest::new(fields.word(24), size, body);
    rest.blocks = size.saturating_sub(fields.long(16)).div_ceil(512);
    rest.xattrs = fields.word(36);
    Ok(rest)
}

fn fragment(number: u32, offset: u32) -> Option<Fragment> {
    (number != NONE).then_some(Fragment { number, offset })
}

fn symlink(cursor: &mut Cursor, is_extended: bool) -> Result<Rest, Flaw> {
    let fields = cursor.fields::<8>()?;
    let size = u64::from(fields.word(4));
    if size > TARGET_LIMIT {
        return Err(Flaw::TooLarge { what: "symbolic link" });
    }
    let mut rest = Rest::new(fields.word(0), size, Body::Symlink { target: cursor.place() });
    if is_extended {
        cursor.skip(size)?;
        rest.xattrs = cursor.fields::<4>()?.word(0);
    }
    Ok(rest)
}

fn device(cursor: &mut Cursor, is_extended: bool) -> Result<Rest, Flaw> {
    let fields = cursor.fields::<8>()?;
    let mut rest = Rest::new(fields.word(0), 0, Body::Other);
    rest.device = fields.word(4);
    if is_extended {
        rest.xattrs = cursor.fields::<4>()?.word(0);
    }
    Ok(rest)
}

fn nameless(cursor: &mut Cursor, is_extended: bool) -> Result<Rest, Flaw> {
    let mut rest = Rest::new(cursor.fields::<4>()?.word(0), 0, Body::Other);
    if is_extended {
        rest.xattrs = cursor.fields::<4>()?.word(0);
    }
    Ok(rest)
}
