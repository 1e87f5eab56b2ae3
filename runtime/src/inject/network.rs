//! Names and time of the host: `/etc/resolv.conf`, `/etc/hosts`, `/etc/machine-id`, the time zone.

use std::path::{Path, PathBuf};

use crate::edits::Edits;
use crate::error::Result;
use crate::look::files::{self, Files};
use crate::look::host::Host;
use crate::look::image::Image;
use crate::origin::Origin;
use crate::paths::{below, names};
use crate::request::Request;

pub(super) const NAME: &str = "network";

const LOCALTIME: &str = "/etc/localtime";
const ZONEINFO: &str = "/usr/share/zoneinfo";
/// Where the host's time is shown if it has no name.
const HOSTS_TIME: &str = "/etc/localtime.host";

pub(super) fn find(_: &Request, host: &Host, image: &Image) -> Result<Edits> {
    let origin = Origin::injector(NAME);
    let mut edits = Edits::default();
    for file in ["/etc/resolv.conf", "/etc/hosts", "/etc/machine-id"] {
        edits.bind_optional(file, &origin);
    }
    time_zone(host, image, &origin, &mut edits);
    Ok(edits)
}

/// Shows the host's time zone (docs/decisions/0007).
///
/// In most images `/etc/localtime` is a link to a zone's file. A bind would follow it and turn
/// that zone, usually UTC, into the host's for everybody who names it; so the variable `TZ` says
/// the host's zone instead, where nobody else has named one.
fn time_zone(host: &Host, image: &Image, origin: &Origin, edits: &mut Edits) {
    let named = host.variable("TZ").and_then(|value| value.to_str());
    let named = named.map(|value| value.strip_prefix(':').unwrap_or(value));
    if let Some(name) = named.filter(|name| *name != LOCALTIME) {
        return show_zone(absolute(Path::new(ZONEINFO), Path::new(name)), image, origin, edits);
    }
    let Some(link) = link(&image.files, Path::new(LOCALTIME)) else {
        return edits.bind_optional(LOCALTIME, origin);
    };
    let at_host = self::link(&host.files, Path::new(LOCALTIME));
    let zone = at_host.clone().and_then(|link| zone(&host.files, link));
    // Without a file, every C library takes a zone for this one.
    let is_utc = zone.as_deref().is_some_and(|zone| zone.ends_with("UTC"));
    if at_host.as_ref() == Some(&link) && is_utc {
        return;
    }
    let zone = zone.map(|zone| (PathBuf::from(ZONEINFO).join(&zone), zone));
    let zone = zone.filter(|(file, _)| is_utc || host.files.holds(file));
    match zone.or_else(|| zone_of_file(host)) {
        Some((file, zone))
            if self::zone(&image.files, link).as_ref() == Some(&zone)
                && (is_utc || image.files.holds(&file)) => {}
        Some((file, zone)) => {
            show_zone(file, image, origin, edits);
            edits.set("TZ", zone, origin);
        }
        None => {
            let Some(contents) = host.read(LOCALTIME) else { return };
            edits.replace_file(PathBuf::from(HOSTS_TIME), contents, origin);
            edits.set("TZ", format!(":{HOSTS_TIME}"), origin);
        }
    }
}

/// Shows a zone's file in an image that lacks it.
fn show_zone(file: PathBuf, image: &Image, origin: &Origin, edits: &mut Edits) {
    // The rules of a zone may stand in `TZ` as well: `CET-1CEST`.
    let is_zone = file.starts_with(ZONEINFO) && file != Path::new(ZONEINFO);
    if is_zone && !image.files.holds(&file) {
        edits.bind_optional(file, origin);
    }
}

/// The zone's file and name where the host's `/etc/localtime` is a copy of it, by the name that Debian
/// writes down beside it.
fn zone_of_file(host: &Host) -> Option<(PathBuf, String)> {
    let zone = String::from_utf8(host.read("/etc/timezone")?).ok()?.trim().to_owned();
    let file = PathBuf::from(ZONEINFO).join(&zone);
    let is_it = host.read(file.to_str()?)? == host.read(LOCALTIME)?;
    is_it.then_some((file, zone))
}

/// What a path points to, if it is a symbolic link in a directory that exists.
fn link(files: &dyn Files, path: &Path) -> Option<PathBuf> {
    let (directory, _) = files::find(files, path.parent()?).ok()??;
    files.link(&below(&directory, Path::new(path.file_name()?))).ok()
}

/// The name of the zone to which `/etc/localtime` leads, by as many links as there are:
/// `Europe/Berlin`.
fn zone(files: &dyn Files, first: PathBuf) -> Option<String> {
    let mut path = absolute(Path::new("/etc"), &first);
    for _ in 0..LINKS {
        match path.strip_prefix(ZONEINFO) {
            Ok(zone) if zone != Path::new("localtime") => return zone.to_str().map(str::to_owned),
            _ => path = absolute(path.parent()?, &link(files, &path)?),
        }
    }
    None
}

/// How many links are followed.
const LINKS: usize = 8;

/// The path of what a link in a directory points to, by its letters.
fn absolute(directory: &Path, target: &Path) -> PathBuf {
    let mut path = PathBuf::from("/");
    for name in names(&directory.join(target)) {
        match name == ".." {
            true => drop(path.pop()),
            false => path.push(name),
        }
    }
    path
}
