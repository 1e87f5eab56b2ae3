//! A packed image is mounted, and something serves it.

use std::os::fd::AsRawFd;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::stat::lstat;

use crate::look::packed::PackedTree;
use crate::paths::below;
use crate::sys::detached::Link;
use crate::sys::file::{Device, open_device};
use crate::sys::{MountFlags, mount, process};
use crate::text::Text;

/// The kernel's side of a file system in user space.
pub const DEVICE: &str = "/dev/fuse";

/// What is served.
#[derive(Clone, Copy)]
pub struct Served<'a> {
    /// The image's file.
    pub image: &'a Path,
    /// The byte of the file that the image starts at.
    pub offset: u64,
    /// Files that are read at once, by their paths in the image without symbolic links.
    pub first: &'a [Text],
    /// The same image, if it is open already, with all that was read of it.
    pub opened: Option<&'a PackedTree>,
}

/// Starts the process that serves an image, given the device that the kernel's requests come from.
/// The link tells whether it can; when it is dropped, requests will come.
///
/// It is handed to [`super::apply`], because processes are made elsewhere.
pub type Serve = fn(&Served, Device) -> Result<(Link, Device), Errno>;

/// Mounts an image.
///
/// The device is opened in the user namespace that the mount is made in, as the kernel demands
/// (`fuse_fill_super`), and let go of here: whoever serves holds it alone, so its end is noticed.
pub(super) fn mount(serve: Serve, served: &Served, target: &Path) -> Result<(), Errno> {
    let device = open_device(Path::new(DEVICE))?;
    let (link, device) = serve(served, device)?;
    link.hear()?;
    let (uid, gid) = process::ids();
    let number = device.as_raw_fd();
    // Owners and modes decide, as in a directory.
    let options = format!(
        "fd={number},rootmode=40000,user_id={uid},group_id={gid},default_permissions,\
         max_read=1048576"
    );
    let flags = MountFlags::MS_RDONLY | MountFlags::MS_NOSUID | MountFlags::MS_NODEV;
    mount::mount_filesystem("fuse.squashfs", target, flags, Path::new(&options))?;
    drop((link, device));
    // Until somebody asks, its root directory belongs to nobody and is closed to everybody, and an
    // overlay of Linux 6.1 takes that over; one of 6.12 does not.
    lstat(target)?;
    // The kernel takes what is unpacked ahead of time for files that it knows.
    for path in served.first {
        let _ = lstat(&below(target, path.as_path()));
    }
    Ok(())
}
