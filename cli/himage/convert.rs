//! `himage convert`.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgAction, ArgMatches, Command};
use images::pack::{self, COMPRESSORS, Compressor, FORMS, Form, Options, Place};
use runtime::error::{Error, Result};
use runtime::text::quoted;

use crate::{packing, progress, store, usage};

/// The words of `himage convert`.
pub fn command() -> Command {
    let names = |table: &[&'static str]| PossibleValuesParser::new(table.to_vec());
    let forms: Vec<&str> = FORMS.iter().map(|(name, _)| *name).collect();
    let compressors: Vec<&str> = COMPRESSORS.iter().map(|(name, _)| *name).collect();
    Command::new("convert")
        .about("Writes an image in another form")
        .long_about(
            "Writes an image in another form. FROM is a directory, a squashfs, SIF or tar file, an \
             archive of docker save, an OCI layout or its archive, or an image of the store. The \
             ending of TO tells the form: .sqfs, .tar, .tar.gz, .tar.zst, .tar.xz, .oci (a layout), \
             none for a directory. What the image says of itself (variables, directory, command, \
             labels) goes with it. Squashfs files are written by mksquashfs.",
        )
        .arg(usage::word("FROM", "A file or directory, or an image of the store").required(true))
        .arg(usage::word("TO", "What to write; its ending tells the form").required(true))
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
                .help("Replaces the image that is there: a file, or a directory that is nothing else"),
        )
        .args(packing::words())
}

/// Runs it.
///
/// # Errors
///
/// Fails as what it does fails.
pub fn run(words: &ArgMatches) -> Result<()> {
    let path = |name: &str| words.get_one::<OsString>(name).map(PathBuf::from).unwrap_or_default();
    let (from, to) = (path("FROM"), path("TO"));
    let (form, compressor) = form(words, &to)?;
    let replaces = words.get_flag("force");
    let options = Options { compressor, replaces, ..packing::options(words)? };
    let from = match from.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => kept(words, from)?,
        _ => from,
    };
    let place = Place::beside(&to, form, &options)?;
    let progress = progress::wanted(words);
    let image = pack::open(&from, &place, usage::allowance(words), progress.as_ref())?;
    let writing = progress.begin(&format!("write {}", quoted(&to)), None);
    let left_out = pack::write_at(&image, form, place, &options)?;
    drop(writing);
    drop(progress);
    store::say_skipped(words, image.left_out());
    store::say_skipped(words, &left_out);
    Ok(())
}

/// The directory of an image of the store; what looks like a path is none.
fn kept(words: &ArgMatches, from: PathBuf) -> Result<PathBuf> {
    let Some(name) = from.to_str().filter(|name| !name.starts_with(['/', '.'])) else {
        return Ok(from);
    };
    store::find(words, name).map(|(_, kept)| kept.tree)
}

/// The form that was asked for, and the compression.
fn form(words: &ArgMatches, to: &Path) -> Result<(Form, Option<Compressor>)> {
    let word = |name: &str| words.get_one::<String>(name).map(String::as_str);
    let asked = word("compress").and_then(|word| find(COMPRESSORS, word));
    let (by_name, compressor_by_name) = form_by_name(to)?;
    let form = word("format").and_then(|word| find(FORMS, word)).unwrap_or(by_name);
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

/// The form and compression that a name tells.
///
/// # Errors
///
/// Fails if it is the name of something himage does not write.
pub fn form_by_name(to: &Path) -> Result<(Form, Option<Compressor>)> {
    let is = |other: &str| to.extension().is_some_and(|ending| ending.eq_ignore_ascii_case(other));
    if is("sif") || is("simg") {
        return Err(Error::new(format!("write {}", quoted(to)), "himage writes no SIF files")
            .hint("write a squashfs file (.sqfs), which hrun and apptainer run as well"));
    }
    Ok(pack::form_by_name(to))
}

fn find<T: Copy>(table: &[(&str, T)], word: &str) -> Option<T> {
    table.iter().find(|(name, _)| *name == word).map(|(_, value)| *value)
}
