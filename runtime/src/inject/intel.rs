//! Intel GPUs: Level Zero and OpenCL live in the image; the kernel's interface is stable.
//!
//! The nodes are the host's, as all of `/dev` is, with the links by bus address that Intel's
//! libraries look for.

use std::path::{Path, PathBuf};

use super::devices::{self, Lack};
use super::survey::{Finding, Surveyed};
use crate::edits::Edits;
use crate::error::Result;
use crate::look::directory::DirectoryTree;
use crate::look::host::Host;
use crate::look::image::Image;
use crate::origin::Origin;
use crate::plan::Note;
use crate::request::Request;

pub(super) const NAME: &str = "intel";

/// The directory of the nodes of all graphics cards.
const DIRECTORY: &str = "/dev/dri";

const CLOSED: &str = "many sites let members of the group render use them";

/// What devices are chosen by; the first also says that a job has some.
const CHOICES: [&str; 2] = ["ZE_AFFINITY_MASK", "ONEAPI_DEVICE_SELECTOR"];

/// What would be shown: the render nodes of all vendors.
pub(super) fn survey(surveyed: &Surveyed) -> Option<Finding> {
    let nodes = render_nodes(surveyed.files);
    let (open, closed): (Vec<_>, Vec<_>) =
        nodes.into_iter().partition(|node| surveyed.host.can_use(&surveyed.files.outside(node)));
    let shown = |nodes: &[PathBuf]| -> Vec<String> {
        nodes.iter().map(|node| node.display().to_string()).collect()
    };
    match (open.as_slice(), closed.as_slice()) {
        ([], []) => None,
        (_, []) => Some(Finding::fine("render nodes", shown(&open).join(", "))),
        _ => {
            let found = format!("closed to you: {}", shown(&closed).join(", "));
            Some(Finding::wrong("render nodes", found, CLOSED).with_details(shown(&open)))
        }
    }
}

fn render_nodes(files: &DirectoryTree) -> Vec<PathBuf> {
    let directory = Path::new(DIRECTORY);
    let names = files.names(directory, &|name| name.starts_with(b"renderD")).unwrap_or_default();
    names.iter().map(|name| directory.join(name)).collect()
}

pub(super) fn find(request: &Request, host: &Host, _: &Image) -> Result<Edits> {
    let mut edits = Edits::default();
    let Some(asked) = &request.intel else { return Ok(edits) };
    let origin = Origin::injector(NAME);
    let files = host.driver_files(request.driver_root.as_deref());
    let nodes = render_nodes(&files);
    if nodes.is_empty() {
        let lack = Lack {
            reason: format!("this host has no GPU with a render node in {DIRECTORY}"),
            hint: "--intel=optional goes on without".to_owned(),
            is_broken: false,
        };
        edits.notes.extend(devices::without(lack, asked, host, &CHOICES[..1])?);
    } else if !nodes.iter().any(|node| host.can_use(&files.outside(node))) {
        edits.notes.push(Note::warning(format!(
            "no render node in {DIRECTORY} is open to you or to this job's control group; {CLOSED}"
        )));
    }
    if let Some(root) = &request.driver_root {
        devices::show_nodes(&files, root, host, &|name| name == b"dri", &mut edits, &origin);
    }
    devices::pass_choices(&CHOICES, host, &mut edits);
    Ok(edits)
}
