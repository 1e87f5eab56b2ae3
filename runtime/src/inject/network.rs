//! Names and time of the host: `/etc/resolv.conf`, `/etc/hosts`, `/etc/machine-id`, the time zone.

use std::path::{Path, PathBuf};

use crate::edits::Edits;
use crate::error::Result;
use crate::look::files::{self, Files};
use crate::look::host::Host;
use crate::look::image::Image;
use crate::origin::Origin;
use crate::paths::below;
use crate::request::Request;

pub(super) const NAME: &str = "network";

const LOCALTIME: &str = "/etc/localtime";
const ZONEINFO: &str = "/usr/share/zoneinfo/";

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
/// the host's zone instead, where nobody else set it.
fn time_zone(host: &Host, image: &Image, origin: &Origin, edits: &mut Edits) {
    let path = Path::new(LOCALTIME);
    let Some(image_link) = link(&image.files, path) else {
        return edits.bind_optional(LOCALTIME, origin);
    };
    let Some(host_link) = link(&host.files, path).filter(|link| *link != image_link) else {
        return;
    };
    let Some(zone) = zone(&host_link) else { return };
    if self::zone(&image_link).as_ref() == Some(&zone) || host.variable("TZ").is_some() {
        return;
    }
    let file = format!("{ZONEINFO}{zone}");
    if !image.files.holds(Path::new(&file)) {
        edits.bind_optional(file, origin);
    }
    edits.set("TZ", zone, origin);
}

/// What a path points to, if it is a symbolic link in a directory that exists.
fn link(files: &dyn Files, path: &Path) -> Option<PathBuf> {
    let (directory, _) = files::find(files, path.parent()?).ok()??;
    files.link(&below(&directory, Path::new(path.file_name()?))).ok()
}

/// The name of the zone that a link in `/etc` points to: `Europe/Berlin`.
fn zone(link: &Path) -> Option<String> {
    let target = PathBuf::from("/etc").join(link);
    let target = target.to_str()?.replace("/etc/../", "/");
    target.strip_prefix(ZONEINFO).map(str::to_owned)
}
