//! Intel GPUs: Level Zero and OpenCL live in the image; the kernel's interface is stable.
//!
//! The nodes are the host's, as all of `/dev` is, with the links by bus address that Intel's
//! libraries look for.

use std::path::Path;

use super::devices::{self, Lack};
use crate::edits::Edits;
use crate::error::Result;
use crate::look::host::Host;
use crate::look::image::Image;
use crate::origin::Origin;
use crate::plan::Note;
use crate::request::Request;

pub(super) const NAME: &str = "intel";

/// The directory of the nodes of all graphics cards.
const DIRECTORY: &str = "/dev/dri";

/// What devices are chosen by; the first also says that a job has some.
const CHOICES: [&str; 2] = ["ZE_AFFINITY_MASK", "ONEAPI_DEVICE_SELECTOR"];

pub(super) fn find(request: &Request, host: &Host, _: &Image) -> Result<Edits> {
    let mut edits = Edits::default();
    let Some(asked) = &request.intel else { return Ok(edits) };
    let origin = Origin::injector(NAME);
    let files = host.driver_files(request.driver_root.as_deref());
    let directory = Path::new(DIRECTORY);
    let is_render_node = |name: &[u8]| name.starts_with(b"renderD");
    let nodes = files.names(directory, &is_render_node).unwrap_or_default();
    if nodes.is_empty() {
        let lack = Lack {
            reason: format!("this host has no GPU with a render node in {DIRECTORY}"),
            hint: "--intel=optional goes on without".to_owned(),
            is_broken: false,
        };
        edits.notes.extend(devices::without(lack, asked, host, &CHOICES[..1])?);
    } else if !nodes.iter().any(|node| host.can_use(&files.outside(&directory.join(node)))) {
        edits.notes.push(Note::warning(format!(
            "no render node in {DIRECTORY} is open to you or to this job's control group; many \
             sites let members of the group render use them"
        )));
    }
    if request.driver_root.is_some() {
        devices::show_nodes(&files, host, &|name| name == b"dri", &mut edits, &origin);
    }
    devices::pass_choices(&CHOICES, host, &mut edits);
    Ok(edits)
}
