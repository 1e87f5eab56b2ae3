//! Memory for a process that becomes another program within a millisecond.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::UnsafeCell;
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};

use nix::libc;

/// What is handed out before the system's allocator is asked; a usual start needs a tenth of it.
const SIZE: usize = 512 << 10;

/// Pieces of this size come from the system's allocator: it hands them out again when they are
/// given back, and every new page costs more than it does.
const LARGE: usize = 16 << 10;

/// How much the kernel is asked for at once: one call costs less than a page fault for each page.
/// The first is as much as every start uses.
const PREPARED: [usize; 2] = [96 << 10, 16 << 10];

/// An allocator that hands out one piece of memory from the front to the back.
///
/// What was handed out last can grow, shrink and be given back; everything else that is given back
/// is lost, as the process is soon. When all is handed out, the system's allocator takes over, so
/// that a process that lives longer may use as much as it likes.
pub struct Arena {
    used: AtomicUsize,
    /// Where what the kernel was asked for ends.
    prepared: AtomicUsize,
    memory: Memory,
}

#[repr(align(4096))]
struct Memory(UnsafeCell<[u8; SIZE]>);

// SAFETY: each byte is handed out to one caller at a time: `used` only moves by compare-exchange.
unsafe impl Sync for Memory {}

impl Default for Arena {
    fn default() -> Self {
        Self::new()
    }
}

impl Arena {
    /// Makes an allocator that has handed out nothing.
    pub const fn new() -> Self {
        let (used, prepared) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Arena { used, prepared, memory: Memory(UnsafeCell::new([0; SIZE])) }
    }

    /// Has the kernel give the pages up to `end`, and some more. Kernels before 5.14 give them one by
    /// one, when they are touched.
    #[cold]
    fn prepare(&self, end: usize) {
        let from = self.prepared.load(Ordering::Relaxed);
        let step = PREPARED[usize::from(from > 0)];
        let to = end.max(from + step).next_multiple_of(4096).min(SIZE);
        self.prepared.store(to, Ordering::Relaxed);
        let pages = self.memory.0.get().cast::<u8>().wrapping_add(from);
        // SAFETY: the pages are part of the memory, whose contents stay as they are.
        let _ = unsafe { libc::madvise(pages.cast(), to - from, libc::MADV_POPULATE_WRITE) };
    }

    /// Where a piece lies in the memory; `None` if it is the system's.
    fn offset(&self, piece: *mut u8) -> Option<usize> {
        let offset = piece.addr().wrapping_sub(self.memory.0.get().addr());
        (offset < SIZE).then_some(offset)
    }

    /// Moves the end of what is handed out, if it is at `from`.
    fn move_end(&self, from: usize, to: usize) -> bool {
        let is_moved = to <= SIZE
            && self.used.compare_exchange(from, to, Ordering::AcqRel, Ordering::Relaxed).is_ok();
        if is_moved && to > self.prepared.load(Ordering::Relaxed) {
            self.prepare(to);
        }
        is_moved
    }
}

// SAFETY: pieces do not overlap, have the size and alignment that were asked for, and stay where
// they are until they are given back.
unsafe impl GlobalAlloc for Arena {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        loop {
            let used = self.used.load(Ordering::Acquire);
            let start = used.next_multiple_of(layout.align().min(16));
            let Some(end) = start.checked_add(layout.size()) else { return ptr::null_mut() };
            if end > SIZE || layout.align() > 16 || layout.size() >= LARGE {
                // SAFETY: the caller's promises are passed on.
                return unsafe { System.alloc(layout) };
            }
            if self.move_end(used, end) {
                // SAFETY: `start` is within the memory, as `end` is.
                return unsafe { self.memory.0.get().cast::<u8>().add(start) };
            }
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if layout.size() >= LARGE {
            // What is new from the kernel is zero, and takes no memory until it is touched.
            // SAFETY: the caller's promises are passed on.
            return unsafe { System.alloc_zeroed(layout) };
        }
        // SAFETY: as above.
        let piece = unsafe { self.alloc(layout) };
        if !piece.is_null() {
            // SAFETY: the piece has that size, and nobody else has it.
            unsafe { ptr::write_bytes(piece, 0, layout.size()) };
        }
        piece
    }

    unsafe fn dealloc(&self, piece: *mut u8, layout: Layout) {
        match self.offset(piece) {
            Some(start) => {
                self.move_end(start + layout.size(), start);
            }
            // SAFETY: what is not of this memory came from the system.
            None => unsafe { System.dealloc(piece, layout) },
        }
    }

    unsafe fn realloc(&self, piece: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let Some(start) = self.offset(piece) else {
            // SAFETY: what is not of this memory came from the system.
            return unsafe { System.realloc(piece, layout, size) };
        };
        if self.move_end(start + layout.size(), start.saturating_add(size)) || size <= layout.size()
        {
            return piece;
        }
        // SAFETY: the caller promises that the size is one that a layout can have.
        let grown = unsafe { self.alloc(Layout::from_size_align_unchecked(size, layout.align())) };
        if !grown.is_null() {
            // SAFETY: both pieces hold at least the old size, and are not the same.
            unsafe { ptr::copy_nonoverlapping(piece, grown, layout.size()) };
        }
        grown
    }
}

/// Has the system's allocator serve threads that ask seldom, and then for a lot: from one heap for
/// all of them, whose pieces are handed out again, as new pages cost more than what is done with
/// them. What is `huge` bytes or more is left to the kernel, which gives what is touched.
pub fn serve_threads(huge: i32) {
    // SAFETY: numbers only; what an allocator does not know it ignores.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
        libc::mallopt(libc::M_MMAP_THRESHOLD, huge);
        libc::mallopt(libc::M_TRIM_THRESHOLD, huge);
        libc::mallopt(libc::M_TOP_PAD, 1 << 20);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(size: usize) -> Layout {
        Layout::from_size_align(size, 8).expect("a layout")
    }

    #[test]
    fn what_was_handed_out_last_grows_in_place_and_comes_back() {
        static ARENA: Arena = Arena::new();
        // SAFETY: every piece is used with the layout it was asked for with.
        unsafe {
            let first = ARENA.alloc(layout(10));
            let second = ARENA.alloc(layout(10));
            assert_eq!(second.addr() - first.addr(), 16);
            assert_eq!(ARENA.realloc(second, layout(10), 1000), second);
            ARENA.dealloc(second, layout(1000));
            assert_eq!(ARENA.alloc(layout(1)), second);
        }
    }

    #[test]
    fn a_piece_that_moves_keeps_its_contents() {
        static ARENA: Arena = Arena::new();
        // SAFETY: as above, and only bytes within a piece are touched.
        unsafe {
            let first = ARENA.alloc(layout(4));
            first.copy_from_nonoverlapping(b"abcd".as_ptr(), 4);
            ARENA.alloc(layout(4));
            let moved = ARENA.realloc(first, layout(4), 100);
            assert_ne!(moved, first);
            assert_eq!(std::slice::from_raw_parts(moved, 4), b"abcd");
        }
    }

    #[test]
    fn large_pieces_are_the_systems() {
        static ARENA: Arena = Arena::new();
        // SAFETY: as above.
        unsafe {
            let large = ARENA.alloc(layout(LARGE));
            assert!(ARENA.offset(large).is_none());
            ARENA.dealloc(large, layout(LARGE));
            let grown = ARENA.realloc(ARENA.alloc(layout(8)), layout(8), 2 * LARGE);
            assert!(ARENA.offset(grown).is_some(), "what was handed out last grows in place");
        }
    }

    #[test]
    fn the_system_takes_over_when_all_is_handed_out() {
        static ARENA: Arena = Arena::new();
        // SAFETY: as above.
        unsafe {
            for _ in 0..SIZE / 2048 - 1 {
                assert!(ARENA.offset(ARENA.alloc(layout(2048))).is_some());
            }
            let beyond = ARENA.alloc(layout(2049));
            assert!(ARENA.offset(beyond).is_none() && !beyond.is_null());
            let grown = ARENA.realloc(beyond, layout(2049), 8192);
            ARENA.dealloc(grown, layout(8192));
            assert!(ARENA.offset(ARENA.alloc(layout(8))).is_some(), "a small piece still fits");
        }
    }
}
