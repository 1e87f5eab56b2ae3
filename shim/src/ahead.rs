//! What a command reads first is unpacked while the rest of its container is made: its program, and
//! what that is linked with.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::thread;

use fuser::Notifier;
use runtime::elf::Object;
use runtime::linkage::Loader;
use runtime::look::files::{self, OpenFiles};
use runtime::look::packed::PackedTree;
use runtime::text::Text;

use crate::image::number;

/// So much of each file, in bytes: of a large one a part is read.
const PART: u64 = 2 << 20;

/// And so much in all: what is kept of an image is more.
const SUM: u64 = 16 << 20;

/// A thread that unpacks files, and hands them to the kernel as soon as that has asked for them by
/// name.
pub(crate) struct Ahead {
    notifier: Arc<OnceLock<Notifier>>,
}

/// What the thread works with.
struct Work {
    tree: PackedTree,
    kernel: Arc<OnceLock<Notifier>>,
    /// How many bytes it may still unpack.
    left: u64,
}

impl Ahead {
    /// Starts with the programs at some paths. What cannot be read is told to whoever reads it.
    pub(crate) fn start(tree: PackedTree, programs: &[Text]) -> Self {
        let notifier = Arc::new(OnceLock::new());
        let mut work = Work { tree, kernel: notifier.clone(), left: SUM };
        let programs: Vec<PathBuf> = programs.iter().map(|it| it.as_path().into()).collect();
        let body = move || programs.iter().for_each(|program| work.program(program));
        // Without it the command is only slower.
        #[allow(clippy::disallowed_methods, reason = "the server's namespaces are made already")]
        let _ = thread::Builder::new().name("ahead".to_owned()).spawn(body);
        Ahead { notifier }
    }

    /// From now on the kernel can be told.
    pub(crate) fn connect(&self, notifier: Notifier) {
        let _ = self.notifier.set(notifier);
    }
}

impl Work {
    /// Unpacks a program, its interpreter and its libraries.
    fn program(&mut self, path: &Path) {
        self.file(path);
        let Ok(file) = self.tree.open_file(path) else { return };
        let interpreter = Object::read_start(&file).ok().and_then(|object| object.interpreter);
        let Some(interpreter) = interpreter else { return };
        if let Ok(Some((interpreter, _))) = files::find(&self.tree, Path::new(&interpreter)) {
            self.file(&interpreter);
        }
        let linked = Loader::new(&self.tree, OsStr::new("")).load(&[path.into()]);
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
                kernel.store(number, block * size, &buffer[..count]).is_ok()
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
