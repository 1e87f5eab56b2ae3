//! Files of the caller's own, in directories where others may have made names first.
//!
//! Nothing here follows a symbolic link at the end of a path, waits for a pipe, or takes a file of
//! another user for the caller's. Closing a directory cannot fail either, which `std::fs` takes for
//! a fault of the program.

use std::ffi::{OsStr, OsString};
use std::fs::{DirBuilder, File, Metadata};
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, Mode, OFlags, chmod, fchmod, openat, unlinkat};
use rustix::io::Errno;

/// The bits by which others may write.
pub const OTHERS_WRITE: u32 = 0o022;

/// What a directory is opened with.
const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Whether something belongs to the caller.
pub fn is_own(found: &Metadata) -> bool {
    found.uid() == nix::unistd::geteuid().as_raw()
}

/// Opens a file of the caller's to read and write, and makes it if it is not there.
///
/// # Errors
///
/// Fails if it is a symbolic link, no regular file, another user's, or has a second name.
pub fn open(path: &Path) -> io::Result<File> {
    let file = regular(path, OFlags::RDWR | OFlags::CREATE)?;
    let found = file.metadata()?;
    if !is_own(&found) {
        return Err(io::Error::other("it belongs to another user"));
    }
    // What is written to it would be written to that name's file as well.
    if found.nlink() > 1 {
        return Err(io::Error::other("it has a second name elsewhere (a hard link)"));
    }
    Ok(file)
}

/// Opens a file that is only read, whoever owns it.
///
/// # Errors
///
/// Fails if it is a symbolic link or no regular file.
pub fn open_to_read(path: &Path) -> io::Result<File> {
    regular(path, OFlags::RDONLY)
}

/// Reads a whole file, as [`open_to_read`] opens it.
///
/// # Errors
///
/// As [`open_to_read`].
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open_to_read(path)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Makes a file that is not there yet.
///
/// # Errors
///
/// Fails if anything has its name.
pub fn create(path: &Path) -> io::Result<File> {
    regular(path, OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL)
}

/// Closes a file that was written: some file systems (NFS) say only then that there was no room.
///
/// # Errors
///
/// As close(2).
pub fn close(file: impl Into<OwnedFd>) -> io::Result<()> {
    match nix::unistd::close(file.into()) {
        // It is closed all the same (close(2)).
        Ok(()) | Err(nix::errno::Errno::EINTR) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Writes a file that is not there yet.
///
/// # Errors
///
/// Fails if anything has its name, and as writing fails.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = create(path)?;
    file.write_all(bytes)?;
    close(file)
}

/// Makes a directory in which only its owner writes, whatever the umask, and those above it.
///
/// # Errors
///
/// Fails if it cannot be made; it may be there.
pub fn make_directories(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o755).create(path)
}

/// Makes sure that a directory is the caller's and that others may not write to it; gives back the
/// mode it had if they could.
///
/// # Errors
///
/// Fails if it is a symbolic link, or another user's.
pub fn close_directory(path: &Path) -> io::Result<Option<u32>> {
    let directory = match openat(CWD, path, DIRECTORY, Mode::empty()) {
        Err(Errno::LOOP | Errno::NOTDIR) => {
            return Err(io::Error::other("it is a symbolic link, or no directory"));
        }
        directory => File::from(directory?),
    };
    let found = directory.metadata()?;
    if !is_own(&found) {
        return Err(io::Error::other("it belongs to another user"));
    }
    let mode = found.mode() & 0o7777;
    if mode & OTHERS_WRITE == 0 {
        return Ok(None);
    }
    fchmod(&directory, Mode::from_raw_mode(mode & !OTHERS_WRITE))?;
    Ok(Some(mode))
}

/// Changes the modes of all that is in a tree. A directory is changed before what is in it.
///
/// # Errors
///
/// Fails at the first that cannot be changed.
pub fn change_modes(root: &Path, change: &dyn Fn(u32) -> u32) -> io::Result<()> {
    let mut todo = vec![root.to_owned()];
    while let Some(path) = todo.pop() {
        let found = path.symlink_metadata()?;
        if found.is_symlink() {
            continue;
        }
        let mode = found.mode() & 0o7777;
        if change(mode) != mode {
            chmod(&path, Mode::from_raw_mode(change(mode)))?;
        }
        if found.is_dir() {
            todo.extend(names(&path)?.iter().map(|name| path.join(name)));
        }
    }
    Ok(())
}

/// A mode with which others may read what the owner may read, and write nothing.
pub fn readable(mode: u32) -> u32 {
    let owner = mode & 0o500;
    mode & !OTHERS_WRITE | owner >> 3 | owner >> 6
}

fn regular(path: &Path, flags: OFlags) -> io::Result<File> {
    let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = match openat(CWD, path, flags, Mode::from_raw_mode(0o644)) {
        Err(Errno::LOOP) => return Err(io::Error::other("it is a symbolic link")),
        file => File::from(file?),
    };
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::other("it is no regular file")),
    }
}

/// The names in a directory, in no order.
///
/// # Errors
///
/// Fails if it cannot be read.
pub fn names(directory: &Path) -> io::Result<Vec<OsString>> {
    let flags = DIRECTORY.difference(OFlags::NOFOLLOW);
    names_in(openat(CWD, directory, flags, Mode::empty())?)
}

fn names_in(directory: OwnedFd) -> io::Result<Vec<OsString>> {
    let mut names = Vec::new();
    for entry in Dir::new(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if !matches!(name, b"." | b"..") {
            names.push(OsString::from_vec(name.to_vec()));
        }
    }
    Ok(names)
}

/// Removes a file, or a tree with directories its owner has closed to himself; it may be missing.
///
/// # Errors
///
/// Fails if something is left.
pub fn remove(path: &Path) -> io::Result<()> {
    match remove_in(CWD, path.as_os_str()) {
        Err(Errno::NOENT) => Ok(()),
        removed => removed.map_err(io::Error::from),
    }
}

fn remove_in(directory: impl AsFd, name: &OsStr) -> rustix::io::Result<()> {
    match unlinkat(&directory, name, AtFlags::empty()) {
        Err(Errno::ISDIR | Errno::PERM) => {}
        removed => return removed,
    }
    let inner = open_up(&directory, name)?;
    let names = names_in(inner.try_clone().map_err(|_| Errno::MFILE)?);
    for name in names.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))? {
        remove_in(&inner, &name)?;
    }
    drop(inner);
    unlinkat(directory, name, AtFlags::REMOVEDIR)
}

/// Opens a directory, which is made readable for that if its owner has closed it.
fn open_up(directory: impl AsFd, name: &OsStr) -> rustix::io::Result<OwnedFd> {
    let all = Mode::RWXU;
    let inner = match openat(&directory, name, DIRECTORY, Mode::empty()) {
        Err(Errno::ACCESS) => {
            let closed = openat(&directory, name, DIRECTORY | OFlags::PATH, Mode::empty())?;
            chmod(format!("/proc/self/fd/{}", closed.as_raw_fd()), all)?;
            openat(&directory, name, DIRECTORY, Mode::empty())?
        }
        inner => inner?,
    };
    // Another user's says so when something in it cannot be removed.
    let _ = fchmod(&inner, all);
    Ok(inner)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn nothing_that_was_made_first_is_followed_or_waited_for() {
        let place = std::env::temp_dir().join(format!("himage-own-{}", std::process::id()));
        fs::create_dir(&place).unwrap();
        let precious = place.join("precious");
        fs::write(&precious, "x").unwrap();
        symlink(&precious, place.join("link")).unwrap();
        fs::hard_link(&precious, place.join("second")).unwrap();
        nix::unistd::mkfifo(&place.join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        let words = |name: &str| open(&place.join(name)).unwrap_err().to_string();
        assert_eq!(words("link"), "it is a symbolic link");
        assert!(words("second").contains("second name"));
        assert_eq!(words("pipe"), "it is no regular file");
        assert_eq!(read(&place.join("link")).unwrap_err().to_string(), "it is a symbolic link");
        open(&place.join("new")).unwrap();

        symlink(&place, place.join("around")).unwrap();
        remove(&place.join("around")).unwrap();
        assert!(precious.exists());
        fs::create_dir_all(place.join("tree/closed")).unwrap();
        fs::write(place.join("tree/closed/file"), "x").unwrap();
        symlink(&precious, place.join("tree/link")).unwrap();
        fs::set_permissions(
            place.join("tree/closed"),
            std::os::unix::fs::PermissionsExt::from_mode(0o0),
        )
        .unwrap();
        remove(&place.join("tree")).unwrap();
        remove(&place.join("tree")).unwrap();
        assert!(precious.exists());
        remove(&place).unwrap();
        assert!(!place.exists());
    }
}
