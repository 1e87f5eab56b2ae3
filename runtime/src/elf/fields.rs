//! Numbers in records of ELF.
//!
//! Records are read as a whole before they are looked at, so a field is never outside of one.

use super::{Abi, Class, Order};

/// 16 bits.
pub(super) fn half(abi: Abi, record: &[u8], at: usize) -> u16 {
    let bytes = field(record, at);
    match abi.order {
        Order::Little => u16::from_le_bytes(bytes),
        Order::Big => u16::from_be_bytes(bytes),
    }
}

/// 32 bits.
pub(super) fn word(abi: Abi, record: &[u8], at: usize) -> u32 {
    let bytes = field(record, at);
    match abi.order {
        Order::Little => u32::from_le_bytes(bytes),
        Order::Big => u32::from_be_bytes(bytes),
    }
}

/// The size of an address.
pub(super) fn long(abi: Abi, record: &[u8], at: usize) -> u64 {
    match (abi.class, abi.order) {
        (Class::Elf32, _) => word(abi, record, at).into(),
        (Class::Elf64, Order::Little) => u64::from_le_bytes(field(record, at)),
        (Class::Elf64, Order::Big) => u64::from_be_bytes(field(record, at)),
    }
}

fn field<const SIZE: usize>(record: &[u8], at: usize) -> [u8; SIZE] {
    record.get(at..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; SIZE])
}
