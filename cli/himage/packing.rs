//! How images are written, for all commands that write one: words and variables.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::ValueParser;
use clap::{Arg, ArgMatches};
use images::pack::Options;
use runtime::error::{Error, Result};

use crate::report;

/// The variables that name a directory for temporary files, the stronger one first.
const DIRECTORIES: [&str; 2] = ["HIMAGE_TMPDIR", "TMPDIR"];

/// The words.
pub fn words() -> [Arg; 3] {
    let option = |name: &'static str, value| Arg::new(name).long(name).value_name(value);
    [
        option("tmpdir", "DIR")
            .value_parser(ValueParser::path_buf())
            .help("Unpacks in DIR what is unpacked on the way to a file, not beside the file"),
        option("processors", "N").help("Has mksquashfs take N processors"),
        option("memory", "SIZE").help("Has mksquashfs take SIZE of memory: 512M, 2G"),
    ]
}

/// What they say.
///
/// # Errors
///
/// Fails if a number is none.
pub fn options(words: &ArgMatches) -> Result<Options> {
    let set = |name: &&str| std::env::var_os(name).filter(|value| !value.is_empty());
    let named = words.get_one::<PathBuf>("tmpdir").cloned();
    let scratch = named.or_else(|| DIRECTORIES.iter().find_map(set).map(OsString::into));
    let text = |name: &str| words.get_one::<String>(name).map(String::as_str);
    let processors = text("processors").map(|text| {
        text.parse().ok().filter(|number| *number > 0).ok_or_else(|| {
            Error::new(format!("use --processors {text}"), "it is no number of processors")
                .hint("--processors 4")
        })
    });
    let memory = text("memory").map(|text| {
        size(text).ok_or_else(|| {
            Error::new(format!("use --memory {text}"), "it is no size of 1M or more")
                .hint("--memory 512M, --memory 2G")
        })
    });
    Ok(Options {
        scratch,
        processors: processors.transpose()?,
        memory: memory.transpose()?,
        note: Some(report::say),
        ..Options::default()
    })
}

/// Bytes, by a number with K, M, G or T behind it.
fn size(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let factor: u64 = match text[digits.len()..].to_ascii_uppercase().as_str() {
        "" => 1,
        "K" => 1 << 10,
        "M" => 1 << 20,
        "G" => 1 << 30,
        "T" => 1 << 40,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(factor).filter(|bytes| *bytes >= 1 << 20)
}

#[cfg(test)]
mod tests {
    #[test]
    fn sizes_are_read() {
        for (text, bytes) in [
            ("1048576", Some(1 << 20)),
            ("512M", Some(512 << 20)),
            ("2g", Some(2 << 30)),
            ("1", None),
            ("x", None),
            ("2GB", None),
            ("99999999999T", None),
        ] {
            assert_eq!(super::size(text), bytes, "{text}");
        }
    }
}
