//! What the layout of a container is decided on.

use std::path::{Path, PathBuf};

use super::points::Way;
use crate::error::{Error, Result};
use crate::look::host::Host;
use crate::look::image::Image;
use crate::look::kernel::{Feature, Kernel};
use crate::plan::{EnterBy, ReadOnlyBy};
use crate::request::{Asked, Write};

/// The machine, the image and where the command may write.
#[derive(Clone, Copy)]
pub struct Basis<'a> {
    /// The host.
    pub host: &'a Host,
    /// The kernel.
    pub kernel: &'a Kernel,
    /// The image.
    pub image: &'a Image,
    /// Where the command may write, and who asked for it.
    pub asked_write: Option<&'a Asked<Write>>,
    /// Wait while another run uses the layer.
    pub layer_waits: bool,
}

impl Basis<'_> {
    /// Where the command may write.
    pub fn write(&self) -> &Write {
        self.asked_write.map_or(&Write::No, |asked| &asked.value)
    }

    /// Whether changes go to a layer over the image.
    pub fn has_layer(&self) -> bool {
        matches!(self.write(), Write::Fake(_) | Write::Layer(_))
    }

    /// The directory that keeps the layer, with symbolic links resolved as far as it exists.
    pub fn layer_directory(&self) -> Option<PathBuf> {
        let Write::Layer(directory) = self.write() else { return None };
        let directory = self.host.cwd.join(directory);
        let found = |path: &Path| self.host.find(path).ok().flatten().map(|(path, _)| path);
        let below_parent = || Some(found(directory.parent()?)?.join(directory.file_name()?));
        Some(found(&directory).or_else(below_parent).unwrap_or(directory.clone()))
    }

    /// How directories of the image are shown with what they lack.
    pub fn way_on_image(&self) -> Way {
        let filesystem = self.image.filesystem();
        let can = || filesystem.carries_overlay() && self.kernel.has(Feature::Overlay, self.host);
        if self.has_layer() || can() {
            Way::Overlay { no_exec: filesystem.no_exec }
        } else {
            Way::Binds { read_only: true }
        }
    }

    /// How mounts are made read-only.
    pub fn read_only_by(&self) -> ReadOnlyBy {
        match self.kernel.has(Feature::MountSetattr, self.host) {
            true => ReadOnlyBy::MountSetattr,
            false => ReadOnlyBy::Remount,
        }
    }

    /// How the root is changed.
    pub fn enter_by(&self) -> EnterBy {
        match self.kernel.has(Feature::PivotRoot, self.host) {
            true => EnterBy::PivotRoot,
            false => EnterBy::MoveMount,
        }
    }

    /// Checks that a layer can be had, if one was asked for.
    ///
    /// Whatever is loaded: the kernel may load the module.
    ///
    /// # Errors
    ///
    /// Fails if the kernel or the image's file system is known, or not known enough, to refuse it.
    pub fn check_layer(&self) -> Result<()> {
        let Some(asked) = self.asked_write.filter(|_| self.has_layer()) else { return Ok(()) };
        let reason = if self.kernel.assume_missing.contains(&Feature::Overlay) {
            "--assume-missing=overlay takes away what it needs".to_owned()
        } else if !self.kernel.may_have_overlay() {
            format!("Linux {} has no overlay in user namespaces", self.kernel.release())
        } else if !self.image.filesystem().carries_overlay() {
            "overlay is not known to work over the image's file system".to_owned()
        } else {
            return Ok(());
        };
        Err(Error::new("write to a layer over the image", reason).asked_by(&asked.origin).hint(
            "it takes Linux 5.11 and an image on a local file system or NFS;\n\
             or run a copy of the image with --write",
        ))
    }
}
