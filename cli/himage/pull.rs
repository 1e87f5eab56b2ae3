//! `himage pull`: an image from a registry.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use clap::builder::ValueParser;
use clap::{Arg, ArgAction, ArgMatches, Command};
use images::digest::Digest;
use images::pack::held_config;
use images::reference::Reference;
use registry::blob::NOT_WHAT_WAS_PUSHED;
use registry::notes::Notes;
use registry::platform::Platform;
use registry::remote::{Choices, Remote};
use registry::site::Site;
use runtime::error::{Error, Result};

use crate::{elsewhere, packing, report, store, usage};

/// The words of `himage pull`.
pub fn command() -> Command {
    let option = |name: &'static str, value| Arg::new(name).long(name).value_name(value);
    Command::new("pull")
        .about("Fetches an image from a registry")
        .long_about(
            "Fetches an image from a registry into the store, where hrun finds it by the same name, \
             or writes it to DEST, which hrun runs as well: a directory, or a squashfs file where DEST \
             ends with .sqfs. What is there already is not fetched again, and what was interrupted \
             goes on where it was. Logins are those of docker, podman, skopeo, apptainer and enroot; \
             mirrors, certificates and registries without encryption are those of registries.conf and \
             certs.d, and of /etc/hrun/himage.toml and ~/.config/hrun/himage.toml.",
        )
        .arg(
            usage::word("NAME", "debian:12, quay.io/group/app@sha256:..., localhost:5000/app")
                .required(true),
        )
        .arg(usage::word("DEST", "What to make, instead of keeping the image in the store: a directory, or a .sqfs"))
        .arg(
            option("platform", "OS/ARCH[/VARIANT]")
                .help("Takes the image for another kind of machine: linux/arm64"),
        )
        .arg(
            option("ca", "FILE")
                .value_parser(ValueParser::path_buf())
                .action(ArgAction::Append)
                .help("Believes the certificates in FILE, too: authorities, or the registry's own"),
        )
        .arg(
            Arg::new("plain-http")
                .long("plain-http")
                .action(ArgAction::SetTrue)
                .help("Asks the registry without encryption"),
        )
        .args(packing::words())
}

/// Runs it.
///
/// # Errors
///
/// Fails if the registry cannot be asked or does not give the image, or if it cannot be kept.
pub fn run(words: &ArgMatches) -> Result<()> {
    let name = Reference::parse(usage::text(words, "NAME")?.unwrap_or_default())?;
    let platform = words.get_one::<String>("platform").map(|text| {
        Platform::parse(text).map_err(|reason| {
            Error::new(format!("use --platform {text}"), reason)
                .hint("linux/amd64, linux/arm64, linux/arm/v7")
        })
    });
    let choices = Choices {
        platform: platform.transpose()?,
        plain_http: words.get_flag("plain-http"),
        ca: words.get_many::<PathBuf>("ca").into_iter().flatten().cloned().collect(),
    };
    let notes = Notes::new(Some(report::say), words.get_flag("verbose").then_some(report::say));
    let site = Site::look(&notes)?;
    match words.get_one::<OsString>("DEST") {
        Some(dest) => {
            let stores = store::read(words).unwrap_or_default();
            let dest = Path::new(dest);
            let kept = move |digest: &Digest| {
                let held = || held_config(dest).filter(|config| Digest::of(config) == *digest);
                stores.iter().find_map(|store| fs::read(store.blob(digest)).ok()).or_else(held)
            };
            let remote = Remote::new(name.clone(), &choices, &site, Box::new(kept))?;
            elsewhere::write(words, dest, &remote).map_err(|error| blamed(error, &name))
        }
        None => keep(words, &name, &choices, &site),
    }
}

/// Keeps an image in the store.
fn keep(words: &ArgMatches, name: &Reference, choices: &Choices, site: &Site) -> Result<()> {
    let store = store::open(words)?;
    let kept = |digest: &Digest| fs::read(store.blob(digest)).ok();
    let remote = Remote::new(name.clone(), choices, site, Box::new(kept))?;
    store::add(words, &remote, Some(name)).map_err(|error| blamed(error, name))?;
    if !words.get_flag("quiet") {
        report::say(&format!("hrun {} -- COMMAND runs COMMAND in it", name.familiar()));
    }
    Ok(())
}

/// A layer that is not what the manifest says is nobody's fault here.
fn blamed(error: Error, name: &Reference) -> Error {
    match error.attempt.strip_prefix("use layer ") {
        Some(layer) => {
            let reason = format!("layer {layer}: {}", error.cause);
            Error::new(format!("pull {}", name.familiar()), reason).hint(NOT_WHAT_WAS_PUSHED)
        }
        None => error,
    }
}
