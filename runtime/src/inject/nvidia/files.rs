//! The driver's files besides libraries: what loaders of graphics and OpenCL read, sockets of
//! daemons, firmware.
//!
//! The names are those NVIDIA's container toolkit shows. Files of an image that has them win:
//! they name the same libraries.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use super::Scene;
use super::capability::{Capabilities, Capability};
use super::driver::Driver;
use crate::edits::{Content, Edits};
use crate::inject::loader::LIBRARY_DIRECTORIES;
use crate::look::files::{self, Files, Kind};
use crate::look::kernel::Kernel;
use crate::paths::below;
use crate::sys;

/// Where EGL and Vulkan look for files of drivers, and where each is below a directory of data.
const GRAPHICS: [(&str, &str); 4] = [
    ("/usr/share", "glvnd/egl_vendor.d"),
    ("/usr/share", "egl/egl_external_platform.d"),
    ("/etc", "vulkan/icd.d"),
    ("/etc", "vulkan/implicit_layer.d"),
];

/// The same for OpenCL.
const OPENCL: (&str, &str) = ("/etc", "OpenCL/vendors");

/// The directories of data that hosts have such files in; the first that has one counts.
const DATA: [&str; 4] = ["/etc", "/usr/local/etc", "/usr/local/share", "/usr/share"];

/// What OptiX has learnt, tens of megabytes of it.
const OPTIX: &str = "/usr/share/nvidia/nvoptix.bin";

/// No file that is copied is larger; those above have a few hundred bytes.
const COPIED: usize = 64 << 10;

/// Where daemons of the driver listen.
const SOCKETS: [&str; 2] = ["/run/nvidia-persistenced/socket", "/run/nvidia-fabricmanager/socket"];

/// Where the driver's files are, and where they are to be seen.
pub(super) struct Shown<'a> {
    pub(super) driver: &'a Driver,
    pub(super) scene: &'a Scene<'a>,
    pub(super) wanted: &'a Capabilities,
    /// The directory of the libraries' names, inside.
    pub(super) libraries: &'a Path,
}

impl Shown<'_> {
    /// Asks for all of them that the host has.
    pub(super) fn show(&self, edits: &mut Edits) {
        if self.wanted.has(Capability::Graphics) {
            for directory in GRAPHICS {
                self.copy(directory, edits);
            }
            self.bind_read_only(Path::new(OPTIX), edits);
            self.show_gbm(edits);
        }
        if self.wanted.has(Capability::Compute) {
            self.copy(OPENCL, edits);
            self.show_mps(edits);
            self.show_direct_storage(edits);
        }
        if self.wanted.has(Capability::Utility) {
            for socket in SOCKETS.map(Path::new) {
                if let Some((source, Kind::Other)) = self.find(socket) {
                    edits.bind(
                        self.scene.on_host(&source),
                        socket.to_path_buf(),
                        self.scene.origin,
                    );
                }
            }
        }
        self.show_firmware(edits);
    }

    /// Shows copies of the small files in a directory where the image has none.
    fn copy(&self, (target, below_data): (&str, &str), edits: &mut Edits) {
        let is_drivers = |name: &[u8]| sys::find(name, b"nvidia").is_some();
        let mut seen: Vec<OsString> = Vec::new();
        for data in DATA {
            let found = self.find(&Path::new(data).join(below_data));
            let Some((directory, Kind::Directory)) = found else { continue };
            for name in self.scene.files.names(&directory, &is_drivers).unwrap_or_default() {
                let path = below(&directory, Path::new(&name));
                let contents = files::read(self.scene.files, &path).ok().flatten();
                if let Some(contents) = contents.filter(|contents| contents.len() <= COPIED)
                    && !seen.contains(&name)
                {
                    let place = Path::new(target).join(below_data).join(&name);
                    edits.add_file(place, contents, self.scene.origin);
                    seen.push(name);
                }
            }
        }
    }

    /// Mesa's libgbm looks for a driver's part in its own directory only.
    fn show_gbm(&self, edits: &mut Edits) {
        const PART: &str = "gbm/nvidia-drm_gbm.so";
        let has = |directory: &&PathBuf| self.find(&directory.join(PART)).is_some();
        if !self.driver.directories.iter().any(|directory| has(&directory)) {
            return;
        }
        let is_there = |path: PathBuf| matches!(self.scene.image.files.kind(&path), Ok(Some(_)));
        let has_loader = |directory: &&&str| is_there(Path::new(directory).join("libgbm.so.1"));
        if let Some(directory) = LIBRARY_DIRECTORIES.iter().find(has_loader) {
            let (soname, bare) = ("libnvidia-allocator.so.1", "libnvidia-allocator.so");
            edits.named.library_link(bare.as_ref(), soname.as_ref(), self.scene.origin);
            let target = self.libraries.join(soname);
            edits.link(Path::new(directory).join(PART), target, self.scene.origin);
        }
    }

    /// The multi-process service shares a GPU between processes that meet in a directory.
    fn show_mps(&self, edits: &mut Edits) {
        let variable = self.scene.host.path_variable("CUDA_MPS_PIPE_DIRECTORY");
        let directory = variable.unwrap_or_else(|| PathBuf::from("/tmp/nvidia-mps"));
        if let Ok(Some((path, Kind::Directory))) = self.scene.host.find(&directory) {
            edits.bind(path, directory, self.scene.origin);
        }
    }

    /// GPUDirect Storage asks udev what a disk is, and has a file of settings.
    fn show_direct_storage(&self, edits: &mut Edits) {
        if matches!(self.find(Path::new("/dev/nvidia-fs0")), Some((_, Kind::Other))) {
            self.bind_read_only(Path::new("/etc/cufile.json"), edits);
            self.bind_read_only(Path::new("/run/udev"), edits);
        }
    }

    /// Kernels before 5.7 look for firmware where the process that uses a GPU first has its root
    /// (commit 901cff7cb961); later ones do not need it inside.
    fn show_firmware(&self, edits: &mut Edits) {
        let Some(release) = self.scene.host.read("/proc/sys/kernel/osrelease") else { return };
        let release = String::from_utf8_lossy(&release);
        if !Kernel::fake(release.trim()).is_at_least(5, 7) {
            let directory = Path::new("/lib/firmware/nvidia").join(&self.driver.version);
            self.bind_read_only(&directory, edits);
        }
    }

    fn bind_read_only(&self, path: &Path, edits: &mut Edits) {
        let Some((source, _)) = self.find(path) else { return };
        let source = self.scene.on_host(&source);
        let content = Content::Bind { source, recursive: true, read_only: true, optional: true };
        edits.mount(content, path.to_path_buf(), self.scene.origin);
    }

    fn find(&self, path: &Path) -> Option<(PathBuf, Kind)> {
        files::find(self.scene.files, path).ok().flatten()
    }
}

/// The profile by which EGL sees only some of the GPUs: a mask of their minor numbers.
pub(super) fn application_profile(minors: &[u32]) -> (PathBuf, Vec<u8>) {
    const DIRECTORY: &str = "/etc/nvidia/nvidia-application-profiles-rc.d";
    let mask = minors.iter().filter(|minor| **minor < 64).fold(0u64, |mask, n| mask | 1 << n);
    let profile = serde_json::json!({
        "profiles": [{
            "name": "_container_",
            "settings": ["EGLVisibleDGPUDevices", mask],
        }],
        "rules": [{ "pattern": [], "profile": "_container_" }],
    });
    let path = below(Path::new(DIRECTORY), Path::new(OsStr::new("10-container.conf")));
    (path, profile.to_string().into_bytes())
}

#[cfg(test)]
mod tests {
    use super::application_profile;

    #[test]
    fn a_profile_names_the_gpus_by_a_mask() {
        let (path, contents) = application_profile(&[0, 3, 64]);
        assert!(path.ends_with("nvidia-application-profiles-rc.d/10-container.conf"));
        let text = String::from_utf8(contents).unwrap();
        assert!(text.contains(r#"["EGLVisibleDGPUDevices",9]"#), "{text}");
    }
}
