//! `himage convert`.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use images::pack::{self, COMPRESSORS, Compressor, FORMS, Form, Options, Place};
use images::progress::Silent;
use runtime::error::{Error, Result};
use runtime::text::quoted;

/// The words of `himage convert`.
pub fn command() -> Command {
    let names = |table: &[&'static str]| PossibleValuesParser::new(table.to_vec());
    let forms: Vec<&str> = FORMS.iter().map(|(name, _)| *name).collect();
    let compressors: Vec<&str> = COMPRESSORS.iter().map(|(name, _)| *name).collect();
    Command::new("convert")
        .about("Writes an image in another form")
        .arg(
            Arg::new("from")
                .value_name("FROM")
                .required(true)
                .value_parser(value_parser!(PathBuf))
                .help("A directory, a squashfs, SIF or tar file, an OCI layout"),
        )
        .arg(
            Arg::new("to")
                .value_name("TO")
                .required(true)
                .value_parser(value_parser!(PathBuf))
                .help("What to write; its ending tells the form: .sqfs, .tar, .tar.gz, .tar.zst, .oci, none for a directory"),
        )
        .arg(
            Arg::new("format")
                .long("format")
                .value_name("FORM")
                .value_parser(names(&forms))
                .help("The form, whatever the ending says"),
        )
        .arg(
            Arg::new("compress")
                .long("compress")
                .value_name("HOW")
                .value_parser(names(&compressors))
                .help("What it is compressed by"),
        )
        .arg(
            Arg::new("force")
                .long("force")
                .action(ArgAction::SetTrue)
                .help("Replace what is there"),
        )
}

/// Runs it.
///
/// # Errors
///
/// Fails as what it does fails.
pub fn run(words: &ArgMatches) -> Result<()> {
    let path = |name: &str| words.get_one::<PathBuf>(name).cloned().unwrap_or_default();
    let (from, to) = (path("from"), path("to"));
    let (form, compressor) = form(words, &to)?;
    let options = Options { compressor, replaces: words.get_flag("force") };
    let place = Place::beside(&to, options.replaces)?;
    let image = pack::open(&from, &place, &Silent)?;
    let left_out = pack::write_at(&image, form, place, &options)?;
    for name in image.left_out().iter().chain(&left_out) {
        // A reader that is gone needs no list.
        let _ = writeln!(std::io::stdout(), "left out: {name}");
    }
    Ok(())
}

/// The form that was asked for, and the compression.
fn form(words: &ArgMatches, to: &Path) -> Result<(Form, Option<Compressor>)> {
    let word = |name: &str| words.get_one::<String>(name).map(String::as_str);
    let asked = word("compress").and_then(|word| find(COMPRESSORS, word));
    let (by_name, compressor_by_name) = pack::form_by_name(to);
    let form = word("format").and_then(|word| find(FORMS, word)).unwrap_or(by_name);
    if to.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("sif")) {
        return Err(Error::new(format!("write {}", quoted(to)), "himage writes no SIF files")
            .hint("write a squashfs file (.sqfs), which hrun and apptainer run as well"));
    }
    let compressor = match (asked, compressor_by_name) {
        (Some(asked), Some(named)) if asked != named && form == by_name => {
            return Err(Error::new(
                format!("write {}", quoted(to)),
                "its name and --compress say different things",
            )
            .hint(
                "leave --compress out, or choose a name without such an ending and --format tar",
            ));
        }
        (Some(asked), _) => Some(asked),
        (None, named) => named.filter(|_| form == by_name),
    };
    if form == Form::Directory && compressor.is_some() {
        return Err(Error::new(format!("write {}", quoted(to)), "a directory is not compressed")
            .hint("--format, or an ending of TO, names another form"));
    }
    Ok((form, compressor))
}

fn find<T: Copy>(table: &[(&str, T)], word: &str) -> Option<T> {
    table.iter().find(|(name, _)| *name == word).map(|(_, value)| *value)
}
