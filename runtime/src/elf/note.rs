//! The note in which NVIDIA's driver library says which host drivers it can work with.

use super::fields::{half, long, word};
use super::{Class, Flaw, Object};

const PT_NOTE: u32 = 4;

const SECTION: &[u8] = b".note.cuda.fwd_compatibility";
const OWNER: &[u8] = b"NVIDIA Corporation";

/// A piece of the file that holds notes: offset, size, alignment.
type Notes = (u64, u64, u64);

impl Object<'_> {
    /// What a library of a `cuda-compat` package says of the drivers it works with, as JSON; the
    /// rule is that of NVIDIA's `enable-cuda-compat` hook.
    ///
    /// The section of the note's name is looked into first, then all note segments.
    ///
    /// # Errors
    ///
    /// Fails if the section table or the notes lie outside of the file, or are too large.
    pub fn forward_compatibility(&self) -> Result<Option<Vec<u8>>, Flaw> {
        let section = self.note_section()?;
        let segments = self.segments.iter().filter(|segment| segment.kind == PT_NOTE);
        let segments = segments.map(|segment| (segment.offset, segment.size, segment.align));
        for (at, size, align) in section.into_iter().chain(segments) {
            let bytes = self.reader.exactly("notes", at, size)?;
            // Notes are aligned to 4 bytes, whatever the class, except where 8 are asked for.
            let align = if align == 8 { 8 } else { 4 };
            if let Some(json) = self.find_note(&bytes, align) {
                return Ok(Some(json.to_vec()));
            }
        }
        Ok(None)
    }

    /// Finds the section by its name; a file without a section table has none.
    fn note_section(&self) -> Result<Option<Notes>, Flaw> {
        let head = self.reader.head();
        let (table, sizes, size, fields) = match self.abi.class {
            Class::Elf32 => (long(self.abi, head, 32), 46, 40, [16, 20, 32]),
            Class::Elf64 => (long(self.abi, head, 40), 58, 64, [24, 32, 48]),
        };
        let [found, count, names] = [0, 2, 4].map(|at| half(self.abi, head, sizes + at));
        if table == 0 || count == 0 || usize::from(found) != size {
            return Ok(None);
        }
        let bytes =
            self.reader.exactly("section headers", table, u64::from(found) * u64::from(count))?;
        let place = |header: &[u8]| fields.map(|at| long(self.abi, header, at));
        let Some(names) = bytes.chunks_exact(size).nth(names.into()) else { return Ok(None) };
        let [names_at, names_size, _] = place(names);
        let names = self.reader.exactly("section names", names_at, names_size)?;
        let is_wanted = |header: &&[u8]| {
            let name = names.get(word(self.abi, header, 0) as usize..).unwrap_or_default();
            name.strip_prefix(SECTION).is_some_and(|rest| rest.starts_with(&[0]))
        };
        let section = bytes.chunks_exact(size).find(is_wanted);
        Ok(section.map(|header| {
            let [at, size, align] = place(header);
            (at, size, align)
        }))
    }

    /// A note is three words (size of the owner, size of the text, kind), the owner, the text.
    fn find_note<'n>(&self, mut notes: &'n [u8], align: usize) -> Option<&'n [u8]> {
        while let Some((header, _)) = notes.split_at_checked(12) {
            let [owner_size, text_size] = [0, 4].map(|at| word(self.abi, header, at) as usize);
            let text_at = 12usize.checked_add(owner_size)?.checked_next_multiple_of(align)?;
            let owner = notes.get(12..)?.get(..owner_size)?;
            let text = notes.get(text_at..)?.get(..text_size)?;
            if owner.strip_suffix(&[0]).unwrap_or(owner) == OWNER && text.starts_with(b"{") {
                let end = text.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
                return Some(&text[..end]);
            }
            let next = text_at.checked_add(text_size)?.checked_next_multiple_of(align)?;
            notes = notes.get(next..)?;
        }
        None
    }
}
