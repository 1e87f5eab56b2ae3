//! The order of the entries of `/etc/ld.so.cache`.

use std::cmp::Ordering;
use std::ffi::c_char;

/// Compares two names as glibc's `_dl_cache_libcmp` does; entries stand in descending order.
///
/// Where both names have a digit, the whole numbers are compared, so that `libx.so.10` is greater
/// than `libx.so.9`, and `libx.so.01` is the same as `libx.so.1`. A digit is greater than anything
/// else; other bytes compare as the machine's `char` does, signed or not. The loader searches by
/// halving, so any other order would hide entries from it.
pub fn compare(left: &[u8], right: &[u8]) -> Ordering {
    // Most names have much in common; a number must be looked at as a whole.
    let mut same = left.iter().zip(right).take_while(|(left, right)| left == right).count();
    while same > 0 && left[same - 1].is_ascii_digit() {
        same -= 1;
    }
    let (mut left, mut right) = (&left[same..], &right[same..]);
    loop {
        let is_number = |name: &[u8]| name.first().is_some_and(u8::is_ascii_digit);
        let order = match (is_number(left), is_number(right)) {
            (true, true) => take_number(&mut left).cmp(&take_number(&mut right)),
            (true, false) => Ordering::Greater,
            (false, true) => Ordering::Less,
            (false, false) if left.is_empty() && right.is_empty() => return Ordering::Equal,
            (false, false) => take_char(&mut left).cmp(&take_char(&mut right)),
        };
        if order.is_ne() {
            return order;
        }
    }
}

/// A number too large for an `int` wraps around, as it does in the loader on all known machines.
fn take_number(name: &mut &[u8]) -> i32 {
    let mut number = 0i32;
    while let [digit @ b'0'..=b'9', rest @ ..] = *name {
        number = number.wrapping_mul(10).wrapping_add(i32::from(digit - b'0'));
        *name = rest;
    }
    number
}

/// The end of a name counts as a NUL.
fn take_char(name: &mut &[u8]) -> c_char {
    let Some((byte, rest)) = name.split_first() else { return 0 };
    *name = rest;
    c_char::from_ne_bytes([*byte])
}
