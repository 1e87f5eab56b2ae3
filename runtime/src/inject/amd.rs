//! AMD GPUs: the user-space part, ROCm, lives in the image; the kernel's interface is stable.
//!
//! The nodes are the host's, as all of `/dev` is, and ROCm reads what they are from the host's
//! `/sys`. Nothing else is needed.

use std::path::Path;

use super::devices::{self, Lack};
use super::survey::{Finding, Surveyed};
use crate::edits::Edits;
use crate::error::Result;
use crate::look::files::Files;
use crate::look::host::Host;
use crate::look::image::Image;
use crate::origin::Origin;
use crate::plan::Note;
use crate::request::Request;

pub(super) const NAME: &str = "amd";

/// The node every use of the GPUs for computing goes through.
const CONTROL: &str = "/dev/kfd";

const CLOSED: &str = "many sites let members of the group render use it";

/// What devices are chosen by; the first also says that a job has some.
const CHOICES: [&str; 3] = ["ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "GPU_DEVICE_ORDINAL"];

/// What would be shown.
pub(super) fn survey(surveyed: &Surveyed) -> Option<Finding> {
    let control = Path::new(CONTROL);
    if surveyed.files.kind(control) == Ok(None) {
        return None;
    }
    let is_open = surveyed.host.can_use(&surveyed.files.outside(control));
    Some(match is_open {
        true => Finding::fine("AMD GPUs", CONTROL),
        false => Finding::wrong("AMD GPUs", format!("{CONTROL} is closed to you"), CLOSED),
    })
}

pub(super) fn find(request: &Request, host: &Host, _: &Image) -> Result<Edits> {
    let mut edits = Edits::default();
    let Some(asked) = &request.amd else { return Ok(edits) };
    let origin = Origin::injector(NAME);
    let files = host.driver_files(request.driver_root.as_deref());
    let control = Path::new(CONTROL);
    if files.kind(control) == Ok(None) {
        let lack = Lack {
            reason: format!("this host has no AMD GPU ({CONTROL} does not exist)"),
            hint: "--rocm=optional goes on without".to_owned(),
            is_broken: false,
        };
        edits.notes.extend(devices::without(lack, asked, host, &CHOICES[..1])?);
    } else if !host.can_use(&files.outside(control)) {
        edits.notes.push(Note::warning(format!(
            "{CONTROL} is closed to you, or to this job's control group; {CLOSED}"
        )));
    }
    if let Some(root) = &request.driver_root {
        let is_node = |name: &[u8]| matches!(name, b"kfd" | b"dri");
        devices::show_nodes(&files, root, host, &is_node, &mut edits, &origin);
    }
    devices::pass_choices(&CHOICES, host, &mut edits);
    Ok(edits)
}
