//! What to do about a file of an image that is not read: commands that never touch the only copy.

use std::path::Path;

use squashfs::Flaw;

use super::sif;
use crate::text::quoted;

/// What an image of Singularity 2 is that can be written to.
pub const EXT: &str =
    "it holds an ext3 file system, which only root can mount; squashfs can be run";

/// For an ext file system that starts at a byte of a file.
pub fn ext(named: &Path, at: u64) -> String {
    let name = quoted(named);
    let (cut, from) = match at {
        0 => (String::new(), name.clone()),
        at => (format!("tail -c +{} {name} > {name}.ext3 && ", at + 1), format!("{name}.ext3")),
    };
    format!(
        "unpack it: {cut}mkdir {name}.d && debugfs -R \"rdump / {name}.d\" {from}; hrun {name}.d\n\
         or, where Apptainer is: apptainer build --sandbox {name}.d {name}"
    )
}

/// For a squashfs image that starts at a byte of a file.
pub fn squashfs(flaw: Flaw, named: &Path, at: u64) -> String {
    let name = quoted(named);
    match flaw {
        Flaw::Compressor { .. } | Flaw::Version { .. } => {
            let offset = if at == 0 { String::new() } else { format!("-offset {at} ") };
            format!(
                "make another one of it: unsquashfs {offset}-d {name}.d {name} && \
                 hrun {name}.d, or himage convert {name}.d {name}.sqfs"
            )
        }
        _ => "the file is damaged or not complete; copy or make it again".to_owned(),
    }
}

/// For a SIF file that is not run as it is.
pub fn sif(flaw: &sif::Flaw, named: &Path) -> String {
    let name = quoted(named);
    match flaw {
        sif::Flaw::Truncated => "copy or make it again".to_owned(),
        sif::Flaw::Overlay { system, overlay } => format!(
            "with what is in it: apptainer exec {name} tar --one-file-system -C / -cf {name}.tar . \
             && himage import {name}.tar NAME\n\
             without: {}\n(what is written there alone: {})",
            cut(&name, ".sqfs", *system, &format!("hrun {name}.sqfs")),
            cut(&name, ".overlay", *overlay, &format!("debugfs {name}.overlay")),
        ),
        sif::Flaw::Oci => format!(
            "Apptainer does not run it either. With SingularityCE 4 push it to a registry: singularity \
             push --layer-format tar {name} docker://REGISTRY/NAME; himage pull REGISTRY/NAME"
        ),
        sif::Flaw::NoSystem | sif::Flaw::Holds(_) => {
            format!("unpack it: apptainer build --sandbox {name}.d {name} && hrun {name}.d")
        }
    }
}

/// For an image that says that it is of another architecture.
pub fn other_machine(named: &Path) -> String {
    let name = quoted(named);
    format!(
        "get the image for this architecture; if its header is wrong: himage convert {name} {name}.d \
         && hrun {name}.d"
    )
}

/// Writes a part of a file to another one, of this ending, and does something with that.
fn cut(name: &str, ending: &str, part: sif::Extent, then: &str) -> String {
    let (from, size) = (part.offset.saturating_add(1), part.size);
    format!("tail -c +{from} {name} | head -c {size} > {name}{ending}; {then}")
}
