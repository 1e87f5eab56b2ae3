//! What a place holds already.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use runtime::sys::file;
use squashfs::{Budget, Inode, Squashfs};

use super::INNER_CONFIG;

/// No configuration is larger.
const LIMIT: usize = 16 << 20;

/// The configuration of an image that himage has written to a place, byte for byte: it names the
/// digests of all layers, so images with the same one are the same. Nothing, if no such image is there.
pub fn held_config(place: &Path) -> Option<Vec<u8>> {
    match place.metadata().ok()?.is_dir() {
        true if place.join("rootfs").is_dir() => fs::read(place.join("image.json")).ok(),
        true => None,
        false => of_squashfs(place),
    }
}

fn of_squashfs(file: &Path) -> Option<Vec<u8>> {
    let source = Box::new(file::File::open_regular(file).ok()?);
    let image = Squashfs::open(source, Budget::default()).ok()?;
    let down = |from: Inode, name: &str| {
        let entry = image.lookup(&from, OsStr::new(name)).ok()??;
        image.inode(entry.reference).ok()
    };
    let inode = INNER_CONFIG.split('/').try_fold(image.root().ok()?, down)?;
    let mut bytes = vec![0; LIMIT];
    let count = image.read(&inode, 0, &mut bytes).ok()?;
    bytes.truncate(count);
    Some(bytes)
}
