//! Fields of headers: numbers, times, and the records of extended headers.

/// A number of a header: octal digits, or, where those would not do, a big-endian number of two's
/// complement with its first bit set beside the sign (base-256, of GNU and star).
///
/// Spaces and NULs alone are nothing at all, which stands for 0.
pub(super) fn number(field: &[u8]) -> Option<i64> {
    if let [first @ 0x80..=0xff, rest @ ..] = field {
        // The first bit only marks the format; the second is the sign.
        let first = i64::from((*first << 1) as i8 >> 1);
        return rest.iter().try_fold(first, |number, byte| {
            number.checked_mul(256).map(|number| number | i64::from(*byte))
        });
    }
    let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    let digits = field[..end].trim_ascii();
    digits.iter().try_fold(0, |number: i64, digit| match digit {
        b'0'..=b'7' => number.checked_mul(8).map(|number| number | i64::from(digit - b'0')),
        _ => None,
    })
}

/// A number of a record, in decimal digits.
pub(super) fn decimal(text: &[u8]) -> Option<u64> {
    let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(text).ok().filter(|_| digits)?.parse().ok()
}

/// A time of a record: seconds, and what of a second is behind the point, in nanoseconds from 0 up.
pub(super) fn time(text: &[u8]) -> Option<(i64, u32)> {
    let (is_negative, text) = match text.strip_prefix(b"-") {
        Some(text) => (true, text),
        None => (false, text),
    };
    let point = text.iter().position(|byte| *byte == b'.').unwrap_or(text.len());
    let seconds = i64::try_from(decimal(&text[..point])?).ok()?;
    let fraction = text.get(point + 1..).unwrap_or_default();
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let nanoseconds = (0..9).fold(0, |number, place| {
        number * 10 + fraction.get(place).map_or(0, |digit| u32::from(digit - b'0'))
    });
    Some(match (is_negative, nanoseconds) {
        (false, _) => (seconds, nanoseconds),
        (true, 0) => (-seconds, 0),
        (true, _) => (-seconds - 1, 1_000_000_000 - nanoseconds),
    })
}

/// The records of an extended header: `LENGTH NAME=VALUE\n`, whatever bytes the value has.
///
/// The crate `tar` would end a record at the first line break in it.
pub(super) fn records(mut data: &[u8]) -> Option<Vec<(&[u8], &[u8])>> {
    let mut records = Vec::new();
    while !data.is_empty() && data.iter().any(|byte| *byte != 0) {
        let space = data.iter().take(20).position(|byte| *byte == b' ')?;
        let length = usize::try_from(decimal(&data[..space])?).ok()?;
        let record = data.get(space + 1..length)?.strip_suffix(b"\n")?;
        let equals = record.iter().position(|byte| *byte == b'=').filter(|at| *at > 0)?;
        records.push((&record[..equals], &record[equals + 1..]));
        data = &data[length..];
    }
    Some(records)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_numbers() {
        assert_eq!(number(b"0000644\0"), Some(0o644));
        assert_eq!(number(b"    644 "), Some(0o644));
        assert_eq!(number(b"77777777777 "), Some(0o77_777_777_777));
        assert_eq!(number(b"\0\0\0\0"), Some(0));
        assert_eq!(number(b"\x80\0\0\0\0\0\0\0\0\0\x01\x02"), Some(258));
        assert_eq!(number(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe"), Some(-2));
        assert_eq!(number(b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff"), Some(i64::MAX));
        for field in [
            &b"-1\0"[..],
            b"8",
            b"0x1",
            b"\x80\0\0\0\xff\0\0\0\0\0\0\0",
            b"\x81\0\0\0\0\0\0\0\0\0\0\0",
        ] {
            assert_eq!(number(field), None, "{field:?}");
        }
    }

    #[test]
    fn reads_times() {
        assert_eq!(time(b"1350244992.023960108"), Some((1_350_244_992, 23_960_108)));
        assert_eq!(time(b"7"), Some((7, 0)));
        assert_eq!(time(b"7.5"), Some((7, 500_000_000)));
        assert_eq!(time(b"7.0000000019"), Some((7, 1)));
        assert_eq!(time(b"-1.25"), Some((-2, 750_000_000)));
        assert_eq!(time(b"-3"), Some((-3, 0)));
        for text in [&b""[..], b"-", b".5", b"1.x", b"99999999999999999999"] {
            assert_eq!(time(text), None, "{text:?}");
        }
    }

    #[test]
    fn reads_records() {
        let one: (&[u8], &[u8]) = (b"path", b"a\nb");
        assert_eq!(records(b"12 path=a\nb\n"), Some(vec![one]));
        assert_eq!(records(b"12 path=a\nb\n6 k=v\n\0\0"), Some(vec![one, (b"k", b"v")]));
        assert_eq!(records(b""), Some(vec![]));
        for data in [
            &b"12 path=ab\n"[..],
            b"5 path=a\n",
            b"x",
            b"6 =vv\n",
            b"99999999999999999999 k=v\n",
            b"4 k\n",
            b"0 k=v\n",
            b"6 k=v",
        ] {
            assert_eq!(records(data), None, "{data:?}");
        }
    }
}
