//! The names an object defines for others, and those it wants of others.

use std::ffi::CStr;

use super::fields::{half, long, word};
use super::reader::missing;
use super::{Abi, Class, Flaw, Object};

/// The symbols by which an object is linked to others (`DT_SYMTAB`).
pub struct Symbols {
    abi: Abi,
    table: Vec<u8>,
    strings: Vec<u8>,
}

/// Programs in C++ have names of megabytes in all.
const LIMIT: u64 = 64 << 20;

/// So much is read at once.
const PIECE: usize = 1 << 20;

/// How much of a hash table is read for the number of symbols, if the part before was too short.
const WINDOWS: [usize; 3] = [4 << 10, 64 << 10, 4 << 20];

const SHN_UNDEF: u16 = 0;
const STB_LOCAL: u8 = 0;
const STB_WEAK: u8 = 2;

/// A symbol, as it is stored.
#[derive(Clone, Copy, Debug)]
struct Symbol {
    name: u32,
    binding: u8,
    section: u16,
    address: u64,
}

impl Object<'_> {
    /// Its symbols, all of them: two reads, and one for their number.
    ///
    /// # Errors
    ///
    /// Fails if a table lies outside of the file, and on tables of more than 64 MiB.
    pub fn symbols(&self) -> Result<Symbols, Flaw> {
        let what = "symbols";
        let empty = Symbols { abi: self.abi, table: Vec::new(), strings: Vec::new() };
        let (Some(table), Some(strings)) = (self.dynamic.symbols, self.dynamic.strings) else {
            return Ok(empty);
        };
        let count = self.symbol_count()?;
        let size = count.saturating_mul(entry_size(self.abi.class) as u64);
        let table = self.bytes(what, table, size)?;
        let strings = self.bytes("string table", strings, self.dynamic.strings_size)?;
        Ok(Symbols { table, strings, ..empty })
    }

    /// The text of a symbol that is a string.
    ///
    /// # Errors
    ///
    /// Fails if it lies outside of the file.
    pub fn text(&self, symbols: &Symbols, name: &str) -> Result<Option<String>, Flaw> {
        let mut defined = symbols.symbols().filter(|symbol| symbol.section != SHN_UNDEF);
        let Some(symbol) = defined.find(|symbol| symbols.name(symbol) == name.as_bytes()) else {
            return Ok(None);
        };
        let at = self.offset("string", symbol.address)?;
        let text = self.reader.string("string", at)?;
        Ok(Some(text.to_string_lossy().into_owned()))
    }

    fn bytes(&self, what: &'static str, address: u64, size: u64) -> Result<Vec<u8>, Flaw> {
        let limited = usize::try_from(size).ok().filter(|_| size <= LIMIT);
        let size = limited.ok_or(Flaw::TooLarge { what })?;
        let start = self.offset(what, address)?;
        // In pieces: what a small file says of itself takes no more memory than the file.
        let mut bytes = Vec::new();
        while bytes.len() < size {
            let wanted = PIECE.min(size - bytes.len());
            let piece = self.reader.up_to(start.saturating_add(bytes.len() as u64), wanted)?;
            bytes.extend_from_slice(&piece);
            if piece.len() < wanted {
                return Err(missing(what, start, &bytes));
            }
        }
        Ok(bytes)
    }

    /// No header says how many there are; the hash tables do.
    fn symbol_count(&self) -> Result<u64, Flaw> {
        let what = "hash table";
        if let Some(address) = self.dynamic.hash {
            let bytes = self.bytes(what, address, 8)?;
            return Ok(word(self.abi, &bytes, 4).into());
        }
        let Some(address) = self.dynamic.gnu_hash else { return Ok(0) };
        let at = self.offset(what, address)?;
        for size in WINDOWS {
            let bytes = self.reader.up_to(at, size)?;
            match count_by_gnu_hash(self.abi, &bytes) {
                Some(count) => return Ok(count),
                None if bytes.len() < size => return Err(missing(what, at, &bytes)),
                None => {}
            }
        }
        Err(Flaw::TooLarge { what })
    }
}

impl Symbols {
    /// Names that it must find elsewhere; what is weak may be missing.
    pub fn wanted(&self) -> impl Iterator<Item = &[u8]> {
        let symbols = self.symbols();
        let wanted = symbols.filter(|symbol| {
            symbol.section == SHN_UNDEF && symbol.binding != STB_WEAK && symbol.name != 0
        });
        wanted.map(|symbol| self.name(&symbol))
    }

    /// Names that others find here.
    pub fn defined(&self) -> impl Iterator<Item = &[u8]> {
        let symbols = self.symbols();
        let defined =
            symbols.filter(|symbol| symbol.section != SHN_UNDEF && symbol.binding != STB_LOCAL);
        defined.map(|symbol| self.name(&symbol))
    }

    fn symbols(&self) -> impl Iterator<Item = Symbol> {
        let abi = self.abi;
        self.table.chunks_exact(entry_size(abi.class)).map(move |entry| match abi.class {
            Class::Elf64 => Symbol {
                name: word(abi, entry, 0),
                binding: entry[4] >> 4,
                section: half(abi, entry, 6),
                address: long(abi, entry, 8),
            },
            Class::Elf32 => Symbol {
                name: word(abi, entry, 0),
                binding: entry[12] >> 4,
                section: half(abi, entry, 14),
                address: long(abi, entry, 4),
            },
        })
    }

    fn name(&self, symbol: &Symbol) -> &[u8] {
        let from = self.strings.get(symbol.name as usize..).unwrap_or_default();
        CStr::from_bytes_until_nul(from).map(CStr::to_bytes).unwrap_or_default()
    }
}

fn entry_size(class: Class) -> usize {
    match class {
        Class::Elf32 => 16,
        Class::Elf64 => 24,
    }
}

/// Buckets lead to chains, whose last entries have the lowest bit set; the last chain ends with the
/// last symbol. Nothing if the bytes end before.
fn count_by_gnu_hash(abi: Abi, bytes: &[u8]) -> Option<u64> {
    let number = |at: usize| Some(word(abi, bytes.get(at..at.checked_add(4)?)?, 0));
    let (buckets, first) = (number(0)? as usize, number(4)?);
    let filter = (number(8)? as usize).checked_mul(abi.class.address_size())?;
    let start = filter.checked_add(16)?;
    let chains = buckets.checked_mul(4)?.checked_add(start)?;
    let heads = bytes.get(start..chains)?.chunks_exact(4);
    let Some(last) = heads.map(|head| word(abi, head, 0)).max().filter(|last| *last >= first)
    else {
        return Some(first.into());
    };
    for symbol in last..=u32::MAX {
        let at = usize::try_from(symbol - first).ok()?.checked_mul(4)?.checked_add(chains)?;
        if number(at)? & 1 == 1 {
            return Some(u64::from(symbol) + 1);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hash_tables_are_not_believed() {
        // One bucket, the first symbol, no filter; the bucket; then the chains.
        let table = |bucket: u32, first: u32, chains: &[u32]| -> Vec<u8> {
            let words = [1, first, 0, 0, bucket].into_iter().chain(chains.iter().copied());
            words.flat_map(u32::to_le_bytes).collect()
        };
        let count = |bytes: &[u8]| count_by_gnu_hash(Abi::NATIVE, bytes);
        assert_eq!(count(&table(0, 3, &[])), Some(3), "nothing is hashed");
        assert_eq!(count(&table(3, 3, &[2, 4, 5])), Some(6), "the last of a chain is odd");
        assert_eq!(count(&table(3, 3, &[2, 4])), None, "no chain ends");
        // The number behind the last there can be.
        assert_eq!(count(&table(u32::MAX, u32::MAX, &[2])), None);
        assert_eq!(count(&table(u32::MAX, 0, &[1])), None);
        assert_eq!(count(&[0xff; 16]), None);
    }
}
