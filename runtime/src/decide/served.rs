//! A packed image: what serving it takes, and where it comes to lie.

use std::path::{Path, PathBuf};

use super::points::Point;
use super::program;
use super::tree::Tree;
use crate::apply::DEVICE;
use crate::error::{Error, Result};
use crate::look::files::{Files, Kind};
use crate::look::host::Host;
use crate::look::image::Image;
use crate::origin::Origin;
use crate::paths::{below, inner};
use crate::plan::{Action, Step};
use crate::request::{Request, Write};
use crate::text::Text;

/// Refuses what cannot be had of a packed image, and says what the machine lacks to serve one.
///
/// # Errors
///
/// Fails if the image is to be written to, or if the caller may not serve it.
pub fn check(request: &Request, host: &Host, image: &Image) -> Result<()> {
    if image.files.packed().is_none() {
        return Ok(());
    }
    if let Some(asked) = request.write.as_ref().filter(|asked| asked.value == Write::Image) {
        return Err(Error::new("write to the image", "a packed image cannot be changed")
            .asked_by(&asked.origin)
            .hint("--write-fake forgets what is written, --overlay DIR keeps it"));
    }
    match lack(host).filter(|_| image.copy.is_none()) {
        None => Ok(()),
        Some((reason, remedy)) => {
            let hint = format!(
                "{remedy}\n\
                 without: --unpack runs a copy that is unpacked in a directory of this node"
            );
            let attempt = format!("serve the image {}", image.root.display());
            Err(Error::new(attempt, reason).hint(hint))
        }
    }
}

/// What the machine lacks to serve an image, and the remedy.
pub fn lack(host: &Host) -> Option<(String, &'static str)> {
    let device = Path::new(DEVICE);
    match host.files.kind(device) {
        Ok(Some(Kind::Other)) if !host.is_closed(device) => None,
        Ok(Some(_)) => Some((
            format!("{DEVICE} is closed to you"),
            "ask the administrator of this node: chmod 666 /dev/fuse (as udev does by itself)",
        )),
        Ok(None) | Err(_) => Some((
            format!("there is no {DEVICE}"),
            "ask the administrator of this node: modprobe fuse",
        )),
    }
}

/// Where the root directory of an image is on the host, given the stage.
pub fn root(image: &Image, stage: &Path) -> PathBuf {
    match (image.files.packed(), &image.copy) {
        (Some(_), None) => stage.join("image"),
        _ => image.root.clone(),
    }
}

/// Moves what lies in an image to where its root directory is.
pub fn move_points(points: &mut [Point], from: &Path, to: &Path) {
    if from == to {
        return;
    }
    for point in points.iter_mut().filter(|point| point.holder == Path::new("/")) {
        if let Some(rest) = inner(&point.outside, from) {
            point.outside = below(to, rest);
        }
    }
}

/// Tells whoever serves the image what is read first: the file of the command.
pub fn announce(steps: &mut [Step], tree: &Tree, execute: &Action, start: &Path) {
    let served = steps.iter_mut().find_map(|step| match &mut step.action {
        Action::Serve { first, .. } => Some(first),
        _ => None,
    });
    let Some(first) = served else { return };
    let found = program::find(tree, execute, start).filter(|path| tree.is_of_image(path));
    first.extend(found.map(Text::from));
}

/// The steps that mount a packed image on a directory; none for any other.
pub fn serve(image: &Image, target: &Path) -> Vec<Step> {
    let packed = image.files.packed().filter(|_| image.copy.is_none());
    let Some(packed) = packed else { return Vec::new() };
    let directory = Action::Directory { path: target.into(), mode: 0o755 };
    let (image, offset) = (packed.path().into(), packed.offset());
    let serve = Action::Serve { image, offset, first: Vec::new(), target: target.into() };
    vec![directory.asked_by(&Origin::CommandLine), serve.asked_by(&Origin::CommandLine)]
}
