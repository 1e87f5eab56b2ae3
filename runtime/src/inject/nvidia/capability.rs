//! What of the driver a program needs: NVIDIA's driver capabilities.
//!
//! `NVIDIA_DRIVER_CAPABILITIES` names parts of the driver. The lists here only say what belongs to
//! which part; a name that is in none of them always goes along, as NVIDIA adds some with every
//! branch.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

/// A part of the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capability {
    /// `nvidia-smi` and the library that counts GPUs.
    Utility,
    /// CUDA and OpenCL.
    Compute,
    /// Encoding and decoding of films.
    Video,
    /// OpenGL, Vulkan and `OptiX`.
    Graphics,
    /// Screens.
    Display,
    /// Neural networks that draw.
    Ngx,
    /// Libraries for 32-bit programs.
    Compat32,
}

use Capability::{Compat32, Compute, Display, Graphics, Ngx, Utility, Video};

/// The words of `NVIDIA_DRIVER_CAPABILITIES`, with all that each stands for.
const WORDS: [(&str, &[Capability]); 8] = [
    ("all", &[Utility, Compute, Video, Graphics, Display, Ngx, Compat32]),
    ("compat32", &[Compat32]),
    ("compute", &[Compute]),
    ("display", &[Display, Graphics]),
    ("graphics", &[Graphics]),
    ("ngx", &[Ngx]),
    ("utility", &[Utility]),
    // Films pass through memory that CUDA manages.
    ("video", &[Video, Compute]),
];

/// Names up to `.so`, and the names of programs.
const NAMES: [(&[Capability], &[&str]); 7] = [
    (
        &[Utility],
        &[
            "libnvidia-ml",
            "libnvidia-cfg",
            "libnvidia-nscq",
            "nvidia-smi",
            "nvidia-debugdump",
            "nvidia-persistenced",
            "nv-fabricmanager",
        ],
    ),
    (
        &[Compute],
        &[
            "libcuda",
            "libcudadebugger",
            "libnvidia-opencl",
            "libnvidia-ptxjitcompiler",
            "libnvidia-fatbinaryloader",
            "libnvidia-compiler",
            "libnvidia-pkcs11",
            "libnvidia-pkcs11-openssl3",
            "libnvidia-nvvm",
            "libnvidia-nvvm70",
            "libnvidia-tileiras",
            "nvidia-cuda-mps-control",
            "nvidia-cuda-mps-server",
        ],
    ),
    // The compiler of shaders and kernels, the memory of CUDA and of GBM.
    (&[Compute, Graphics], &["libnvidia-gpucomp", "libnvidia-allocator"]),
    (&[Video], &["libvdpau_nvidia", "libnvidia-encode", "libnvidia-opticalflow", "libnvcuvid"]),
    (
        &[Graphics],
        &[
            "libGLX_nvidia",
            "libGLX_indirect",
            "libEGL_nvidia",
            "libGLESv1_CM_nvidia",
            "libGLESv2_nvidia",
            "libnvidia-cbl",
            "libnvidia-egl-gbm",
            "libnvidia-egl-wayland",
            "libnvidia-egl-wayland2",
            "libnvidia-egl-xcb",
            "libnvidia-egl-xlib",
            "libnvidia-eglcore",
            "libnvidia-fbc",
            "libnvidia-glcore",
            "libnvidia-glsi",
            "libnvidia-glvkspirv",
            "libnvidia-ifr",
            "libnvidia-rtcore",
            "libnvidia-tls",
            "libnvidia-vulkan-producer",
            "libnvoptix",
        ],
    ),
    (&[Display], &["libglxserver_nvidia", "nvidia_drv", "nvidia-xconfig"]),
    (&[Ngx], &["libnvidia-ngx"]),
];

/// The parts of the driver that are wanted; all of them unless said otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capabilities(Vec<Capability>);

impl Default for Capabilities {
    fn default() -> Self {
        Capabilities(WORDS[0].1.to_vec())
    }
}

impl Capabilities {
    /// Reads the value of `NVIDIA_DRIVER_CAPABILITIES`: words with commas between them.
    ///
    /// # Errors
    ///
    /// A sentence about the first word that means nothing.
    pub fn parse(value: &OsStr) -> Result<Self, String> {
        let value = value.to_string_lossy();
        let words = value.split(',').map(str::trim).filter(|word| !word.is_empty());
        let mut wanted = Vec::new();
        for word in words {
            let known = WORDS.iter().find(|(known, _)| *known == word);
            let (_, parts) = known.ok_or_else(|| unknown(word))?;
            wanted.extend_from_slice(parts);
        }
        Ok(if wanted.is_empty() { Capabilities::default() } else { Capabilities(wanted) })
    }

    /// Whether a part is wanted.
    pub fn has(&self, part: Capability) -> bool {
        self.0.contains(&part)
    }
}

/// Whether a library or a program of the driver, by its file name, belongs to what is wanted.
pub fn wants(capabilities: &Capabilities, name: &OsStr) -> bool {
    let parts = parts(name);
    parts.is_empty() || parts.iter().any(|part| capabilities.has(*part))
}

/// The parts a file belongs to; none if nobody knows.
fn parts(name: &OsStr) -> &'static [Capability] {
    let name = name.as_bytes();
    let end = name.windows(3).position(|window| window == b".so").unwrap_or(name.len());
    let listed = NAMES
        .iter()
        .find(|(_, names)| names.iter().any(|listed| listed.as_bytes() == &name[..end]));
    listed.map_or(&[], |(parts, _)| parts)
}

fn unknown(word: &str) -> String {
    let words = WORDS.map(|(word, _)| word).join(", ");
    format!("{word:?} is no driver capability; there are {words}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(value: &str, name: &str) -> bool {
        wants(&Capabilities::parse(OsStr::new(value)).unwrap(), OsStr::new(name))
    }

    #[test]
    fn files_belong_to_parts() {
        for (value, name, expected) in [
            ("utility", "nvidia-smi", true),
            ("utility", "libnvidia-ml.so.580.1", true),
            ("utility", "libcuda.so.580.1", false),
            ("compute", "nvidia-smi", false),
            ("compute", "libcuda.so.1", true),
            ("compute", "libnvidia-nvvm70.so.4", true),
            ("compute", "nvidia-cuda-mps-server", true),
            ("compute", "libnvidia-encode.so.580.1", false),
            ("compute", "libnvidia-gpucomp.so.580.1", true),
            ("graphics", "libnvidia-gpucomp.so.580.1", true),
            ("utility", "libnvidia-gpucomp.so.580.1", false),
            ("graphics", "libnvidia-egl-wayland.so.1.1.19", true),
            ("compute,utility", "libEGL_nvidia.so.580.1", false),
            ("display", "libGLX_nvidia.so.0", true),
            ("graphics", "libglxserver_nvidia.so.580.1", false),
            ("ngx", "libnvidia-ngx.so.580.1", true),
            (" utility , ngx ", "libnvidia-ngx.so", true),
        ] {
            assert_eq!(wanted(value, name), expected, "{name} for {value}");
        }
    }

    #[test]
    fn films_need_cuda() {
        for name in ["libnvidia-encode.so.580.1", "libnvcuvid.so.1", "libcuda.so.580.1"] {
            assert!(wanted("video", name), "{name}");
        }
        assert!(!wanted("video", "libnvidia-ml.so.1"));
    }

    #[test]
    fn what_nobody_knows_goes_along() {
        for name in ["libnvidia-sandboxutils.so.580.1", "libnvidia-new.so.700.1", "nvidia-imex", ""]
        {
            assert!(wanted("utility", name), "{name}");
        }
        assert!(wants(&Capabilities(vec![Utility]), OsStr::from_bytes(b"\xff.so\0")));
    }

    #[test]
    fn everything_is_wanted_unless_said_otherwise() {
        for value in ["", ",", "all", "all,utility", "utility,all"] {
            assert!(wanted(value, "libnvidia-encode.so.580.1"), "{value}");
            assert!(Capabilities::parse(OsStr::new(value)).unwrap().has(Compat32), "{value}");
        }
    }

    #[test]
    fn unknown_words_are_named() {
        for value in ["compute,cuda", "Compute", "all,none", "compute utility", "\u{1b}[2J"] {
            let error = Capabilities::parse(OsStr::new(value)).unwrap_err();
            assert!(error.contains("there are all, compat32, compute, display"), "{error}");
        }
        let error = Capabilities::parse(OsStr::new("compute,cuda")).unwrap_err();
        assert!(error.starts_with("\"cuda\" is no driver capability"), "{error}");
    }
}
