//! What a command reads first is unpacked while the rest of its container is made: its program, and
//! what that is linked with.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use fuser::Notifier;
use runtime::elf::Object;
use runtime::linkage::Loader;
use runtime::look::files::{self, OpenFiles};
use runtime::look::packed::PackedTree;

use crate::image::number;
use crate::voice::storing;

/// So much of each file, in bytes: of a large one a part is read.
const PART: u64 = 2 << 20;

/// And so much in all: what is kept of an image is more.
const SUM: u64 = 16 << 20;

/// Unpacks what programs at some paths in an image need, and hands it to the kernel as soon as that
/// can be told and has asked for the files by name. What cannot be read is told to whoever reads it.
pub(crate) fn unpack(tree: &PackedTree, programs: &[PathBuf], kernel: &OnceLock<Notifier>) {
    let mut work = Work { tree, kernel, left: SUM };
    programs.iter().for_each(|program| work.program(program));
}

/// What is worked with.
struct Work<'a> {
    tree: &'a PackedTree,
    kernel: &'a OnceLock<Notifier>,
    /// How many bytes may still be unpacked.
    left: u64,
}

impl Work<'_> {
    /// Unpacks a program, its interpreter and its libraries.
    fn program(&mut self, path: &Path) {
        self.file(path);
        let Ok(file) = self.tree.open_file(path) else { return };
        let interpreter = Object::read_start(&file).ok().and_then(|object| object.interpreter);
        let Some(interpreter) = interpreter else { return };
        if let Ok(Some((interpreter, _))) = files::find(self.tree, Path::new(&interpreter)) {
            self.file(&interpreter);
        }
        let linked = Loader::new(self.tree, OsStr::new("")).load(&[path.into()]);
        for found in linked.into_iter().skip(1).filter_map(|linked| linked.found) {
            self.file(&found.path);
        }
    }

    /// Unpacks the beginning of a file, a block at a time: for the cache as long as the kernel cannot
    /// be told, and then for the kernel.
    fn file(&mut self, path: &Path) {
        let image = self.tree.image();
        let Ok(inode) = self.tree.inode(path) else { return };
        let size = u64::from(image.superblock().block_size);
        let blocks = inode.size.min(PART).min(self.left).div_ceil(size);
        self.left = self.left.saturating_sub(blocks * size);
        let number = number(image, inode.reference);
        let mut buffer = vec![0; size as usize];
        let mut store = |block: u64| {
            let Some(kernel) = self.kernel.get() else { return false };
            image.read(&inode, block * size, &mut buffer).is_ok_and(|count| {
                // The kernel refuses it as long as it does not know the file.
                storing(|| kernel.store(number, block * size, &buffer[..count]).is_ok())
            })
        };
        let mut stored = 0;
        for block in 0..blocks {
            while stored <= block && store(stored) {
                stored += 1;
            }
            if stored <= block && !image.prepare(&inode, block).unwrap_or(false) {
                return;
            }
        }
        (stored..blocks).all(store);
    }
}
