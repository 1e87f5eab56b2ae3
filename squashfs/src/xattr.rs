//! Extended attributes: lists of names and values that inodes share.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use crate::metadata::{Cursor, Place};
use crate::table::Table;
use crate::{Flaw, Inode, NOWHERE, Squashfs};

/// The namespaces of names, by number.
const PREFIXES: [&[u8]; 3] = [b"user.", b"trusted.", b"security."];

/// Set in the type of an attribute whose value is somewhere else.
const ELSEWHERE: u16 = 1 << 8;

/// What Linux takes, in bytes: of a name without its prefix (`XATTR_NAME_MAX`), of a value
/// (`XATTR_SIZE_MAX`), and of all names of a file (`XATTR_LIST_MAX`).
const NAME_LIMIT: usize = 255;
const VALUE_LIMIT: u32 = 64 << 10;
const LIST_LIMIT: usize = 64 << 10;

/// Where attributes are.
pub(crate) struct Xattrs {
    lists: Table,
    /// Where names and values start, and where they end.
    start: u64,
    end: u64,
}

/// The attributes of a file, one after another.
struct Reader<'a> {
    cursor: Cursor<'a>,
    left: u32,
    /// The bytes of the names so far.
    listed: usize,
}

impl Squashfs {
    /// The names of the extended attributes of a file.
    ///
    /// # Errors
    ///
    /// Fails if they cannot be read.
    pub fn xattr_names(&self, inode: &Inode) -> Result<Vec<OsString>, Flaw> {
        let Some(mut reader) = self.xattr_reader(inode)? else { return Ok(Vec::new()) };
        let mut names = Vec::new();
        while let Some((name, _)) = reader.next_name()? {
            reader.skip_value()?;
            names.push(OsString::from_vec(name));
        }
        Ok(names)
    }

    /// The value of an extended attribute of a file; nothing if it has none of that name.
    ///
    /// # Errors
    ///
    /// Fails if it cannot be read.
    pub fn xattr(&self, inode: &Inode, wanted: &OsStr) -> Result<Option<Vec<u8>>, Flaw> {
        let Some(mut reader) = self.xattr_reader(inode)? else { return Ok(None) };
        while let Some((name, is_elsewhere)) = reader.next_name()? {
            if name != wanted.as_bytes() {
                reader.skip_value()?;
                continue;
            }
            if !is_elsewhere {
                return read_value(&mut reader.cursor).map(Some);
            }
            let fields = reader.cursor.fields::<12>()?;
            return read_value(&mut self.xattr_cursor(fields.long(4))?).map(Some);
        }
        Ok(None)
    }

    /// The space that a list of attributes takes as the kernel counts it, in units of 512 bytes.
    pub(crate) fn xattr_blocks(&self, list: u32) -> Result<u64, Flaw> {
        if list == u32::MAX || self.superblock.xattr_table == NOWHERE {
            return Ok(0);
        }
        let list = self.xattrs()?.lists.record::<16>(self, list.into())?;
        Ok(u64::from(list.word(12)).div_ceil(512))
    }

    fn xattr_reader(&self, inode: &Inode) -> Result<Option<Reader<'_>>, Flaw> {
        if inode.xattrs == u32::MAX || self.superblock.xattr_table == NOWHERE {
            return Ok(None);
        }
        let list = self.xattrs()?.lists.record::<16>(self, inode.xattrs.into())?;
        let cursor = self.xattr_cursor(list.long(0))?;
        Ok(Some(Reader { cursor, left: list.word(8), listed: 0 }))
    }

    /// A cursor at a reference, which is like one to an inode.
    fn xattr_cursor(&self, reference: u64) -> Result<Cursor<'_>, Flaw> {
        let xattrs = self.xattrs()?;
        let block = xattrs.start.saturating_add(reference >> 16);
        let place = Place { block, offset: (reference & 0xffff) as usize };
        Cursor::new(self, "extended attributes", xattrs.end, place)
    }

    /// The table of attributes, whose header is read when it is first asked for.
    fn xattrs(&self) -> Result<&Xattrs, Flaw> {
        let xattrs = self.xattrs.get_or_init(|| {
            let mut header = crate::fields::Fields([0; 16]);
            let at = self.superblock.xattr_table;
            self.read_exactly("table of extended attributes", at, &mut header.0)?;
            let count = header.word(8).into();
            let lists = Table::new("table of extended attributes", at + 16, count, 16);
            Ok(Xattrs { lists, start: header.long(0), end: at })
        });
        xattrs.as_ref().map_err(|flaw| *flaw)
    }
}

impl Reader<'_> {
    /// The next name with its prefix, and whether its value is somewhere else.
    fn next_name(&mut self) -> Result<Option<(Vec<u8>, bool)>, Flaw> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        let fields = self.cursor.fields::<4>()?;
        let (kind, size) = (fields.half(0), usize::from(fields.half(2)));
        let prefix = PREFIXES.get(usize::from(kind & !ELSEWHERE));
        let prefix =
            prefix.ok_or(Flaw::Unknown { what: "kind of an attribute", value: kind.into() })?;
        self.listed += prefix.len() + size + 1;
        // Every name has a prefix, so there is an end, whatever number is written.
        if size > NAME_LIMIT || self.listed > LIST_LIMIT {
            return Err(Flaw::TooLarge { what: "names of extended attributes" });
        }
        let mut name = prefix.to_vec();
        name.resize(prefix.len() + size, 0);
        self.cursor.read(&mut name[prefix.len()..])?;
        if name.contains(&0) {
            return Err(Flaw::Unknown { what: "name of an attribute", value: 0 });
        }
        Ok(Some((name, kind & ELSEWHERE != 0)))
    }

    fn skip_value(&mut self) -> Result<(), Flaw> {
        let size = self.cursor.fields::<4>()?.word(0);
        self.cursor.skip(size.into())
    }
}

fn read_value(cursor: &mut Cursor) -> Result<Vec<u8>, Flaw> {
    let size = cursor.fields::<4>()?.word(0);
    if size > VALUE_LIMIT {
        return Err(Flaw::TooLarge { what: "value of an extended attribute" });
    }
    let mut value = vec![0; size as usize];
    cursor.read(&mut value)?;
    Ok(value)
}
