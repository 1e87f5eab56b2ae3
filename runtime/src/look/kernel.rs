//! The kernel: which of the features hrun can do without it really has.

use std::cell::OnceCell;
use std::path::Path;

use nix::sys::utsname::uname;

use super::filesystem::Filesystem;
use super::host::Host;
use crate::sys::mount;

/// A kernel feature that hrun uses where it is there, and has another way without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feature {
    /// Overlay mounts in a user namespace: Linux 5.11, Red Hat's 4.18.0-348 (RHEL 8.5).
    Overlay,
    /// mount_setattr(2): Linux 5.12, unless a filter of system calls denies it.
    MountSetattr,
    /// pivot_root(2) from the present root; impossible where `/` is the initial ramfs.
    PivotRoot,
}

impl Feature {
    /// All features.
    pub const ALL: [Feature; 3] = [Feature::Overlay, Feature::MountSetattr, Feature::PivotRoot];

    /// What `--assume-missing` calls it.
    pub fn name(self) -> &'static str {
        match self {
            Feature::Overlay => "overlay",
            Feature::MountSetattr => "mount-setattr",
            Feature::PivotRoot => "pivot-root",
        }
    }

    /// The feature that `--assume-missing` calls so.
    pub fn by_name(name: &str) -> Option<Self> {
        Feature::ALL.into_iter().find(|feature| feature.name() == name)
    }
}

/// The running kernel.
#[derive(Debug)]
pub struct Kernel {
    /// What uname(2) says, asked for only where it matters.
    release: OnceCell<String>,
    /// Features that count as missing.
    pub assume_missing: Vec<Feature>,
    /// Whether the root directory is a ramfs or tmpfs, asked for only where it matters.
    root_in_memory: OnceCell<bool>,
    /// Whether the overlay module is there, asked for only where it matters.
    overlay_is_loaded: OnceCell<bool>,
    /// Whether mount_setattr(2) is there, asked for only where it matters.
    has_mount_setattr: OnceCell<bool>,
}

impl Kernel {
    /// Looks at the running kernel.
    pub fn look(assume_missing: &[Feature]) -> Self {
        Kernel {
            release: OnceCell::new(),
            assume_missing: assume_missing.to_vec(),
            root_in_memory: OnceCell::new(),
            overlay_is_loaded: OnceCell::new(),
            has_mount_setattr: OnceCell::new(),
        }
    }

    /// Makes a kernel of a release whose root is on a disk, for tests.
    pub fn fake(release: &str) -> Self {
        let kernel = Kernel {
            release: OnceCell::from(release.to_owned()),
            assume_missing: Vec::new(),
            root_in_memory: OnceCell::from(false),
            overlay_is_loaded: OnceCell::new(),
            has_mount_setattr: OnceCell::new(),
        };
        Kernel { has_mount_setattr: OnceCell::from(kernel.is_at_least(5, 12)), ..kernel }
    }

    /// The release, as uname(2) gives it: `6.1.0-18-amd64`.
    pub fn release(&self) -> &str {
        self.release.get_or_init(|| {
            let release = uname().map(|names| names.release().to_string_lossy().into_owned());
            release.unwrap_or_default()
        })
    }

    /// Whether there is mount_setattr(2), whatever counts as missing.
    fn has_mount_setattr(&self) -> bool {
        *self.has_mount_setattr.get_or_init(mount::has_set_attributes)
    }

    /// Whether a feature may be used on this host.
    pub fn has(&self, feature: Feature, host: &Host) -> bool {
        if self.assume_missing.contains(&feature) {
            return false;
        }
        match feature {
            Feature::Overlay => {
                let loaded = || *self.overlay_is_loaded.get_or_init(|| has_overlay_module(host));
                self.may_have_overlay() && loaded()
            }
            Feature::MountSetattr => self.has_mount_setattr(),
            Feature::PivotRoot => !self.root_in_memory.get_or_init(root_is_in_memory),
        }
    }

    /// Whether the release allows overlay mounts in user namespaces, loaded or not.
    pub fn may_have_overlay(&self) -> bool {
        // What is known by that call need not be asked again.
        self.has_mount_setattr() || self.is_at_least(5, 11) || self.is_red_hat_8_5()
    }

    /// Whether the release is this one or newer.
    pub fn is_at_least(&self, major: u32, minor: u32) -> bool {
        let mut numbers = self.release().split(['.', '-']).map(|part| part.parse::<u32>().ok());
        let release = (numbers.next().flatten(), numbers.next().flatten());
        matches!(release, (Some(has_major), Some(has_minor)) if (has_major, has_minor) >= (major, minor))
    }

    /// Red Hat brought overlay in user namespaces back to its 4.18 with RHEL 8.5.
    fn is_red_hat_8_5(&self) -> bool {
        let build = self.release().strip_prefix("4.18.0-").and_then(|rest| {
            let digits = rest.split('.').next()?;
            digits.parse::<u32>().ok()
        });
        self.release().contains(".el8") && build.is_some_and(|build| build >= 348)
    }
}

/// The root of a node booted from an initial ramfs is one, and pivot_root(2) refuses to move it.
fn root_is_in_memory() -> bool {
    Filesystem::look(Path::new("/")).is_in_memory()
}

/// The module is loaded or built in; loading it takes root on hardened hosts.
fn has_overlay_module(host: &Host) -> bool {
    matches!(host.find(Path::new("/sys/module/overlay")), Ok(Some(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compares_releases() {
        for (release, is_5_11) in [
            ("6.1.0-18-amd64", true),
            ("5.11", true),
            ("5.10.0-28-amd64", false),
            ("4.18.0-553.el8.x86_64", false),
            ("10.0", true),
            ("", false),
            ("odd", false),
        ] {
            assert_eq!(Kernel::fake(release).is_at_least(5, 11), is_5_11, "{release}");
        }
    }

    #[test]
    fn knows_red_hat_8_5() {
        assert!(Kernel::fake("4.18.0-348.el8.x86_64").is_red_hat_8_5());
        assert!(Kernel::fake("4.18.0-553.22.1.el8_10.x86_64").is_red_hat_8_5());
        assert!(!Kernel::fake("4.18.0-305.el8.x86_64").is_red_hat_8_5());
        assert!(!Kernel::fake("4.18.0-348-generic").is_red_hat_8_5());
    }
}
