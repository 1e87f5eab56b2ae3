//! The NVIDIA driver of a host: its version, its libraries, its programs.
//!
//! Libraries are taken by pattern, not from a list of names: NVIDIA adds names with every branch,
//! and a closed list is what other runtimes are repaired for. Everything that carries the driver's
//! version is taken from the directories that hold the driver, as nvidia-container-toolkit does.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::ops::Bound;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustc_hash::FxHashSet;

use crate::elf::{Abi, NeededVersion, Object};
use crate::ldcache::Cache;
use crate::look::directory::DirectoryTree;
use crate::look::files::{self, Files, Kind, OpenFiles};
use crate::paths::below;
use crate::plan::Note;

/// Where distributions, installers and driver containers put the libraries, besides the places
/// the host's `ld.so.cache` names.
#[cfg(target_arch = "x86_64")]
const DIRECTORIES: [&str; 12] = [
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib64",
    "/usr/lib/x86_64-linux-gnu/nvidia/current",
    "/usr/lib64/nvidia",
    "/usr/lib",
    "/usr/local/nvidia/lib64",
    "/lib/x86_64-linux-gnu",
    "/lib64",
    "/run/nvidia/driver/usr/lib/x86_64-linux-gnu",
    "/run/nvidia/driver/usr/lib64",
    "/run/opengl-driver/lib",
    "/usr/lib/wsl/lib",
];
#[cfg(not(target_arch = "x86_64"))]
const DIRECTORIES: [&str; 9] = [
    "/usr/lib/aarch64-linux-gnu",
    "/usr/lib64",
    "/usr/lib/aarch64-linux-gnu/nvidia/current",
    "/usr/lib64/nvidia",
    "/usr/lib",
    "/usr/local/nvidia/lib64",
    "/lib/aarch64-linux-gnu",
    "/lib64",
    "/run/opengl-driver/lib",
];

/// A directory that has one of these, with the driver's version, holds the driver.
const SIGNPOSTS: [&str; 3] = ["libcuda.so", "libnvidia-ml.so", "libGLX_nvidia.so"];

/// Libraries of the driver that count versions of their own.
const OWN_VERSIONS: [&str; 7] = [
    "libnvidia-api.so.1",
    "libnvidia-egl-gbm.so.",
    "libnvidia-egl-wayland.so.",
    "libnvidia-egl-wayland2.so.",
    "libnvidia-egl-xcb.so.",
    "libnvidia-egl-xlib.so.",
    "libnvidia-nvvm70.so.",
];

/// Programs that show the state of the GPUs or share them; never `nvidia-modprobe`, which is
/// setuid, and no graphical ones.
const PROGRAMS: [&str; 8] = [
    "nvidia-smi",
    "nvidia-debugdump",
    "nvidia-persistenced",
    "nv-fabricmanager",
    "nvidia-cuda-mps-control",
    "nvidia-cuda-mps-server",
    "nvidia-imex",
    "nvidia-imex-ctl",
];

/// The driver as it was found.
#[derive(Debug, Default)]
pub struct Driver {
    /// The version: `580.159.04`.
    pub version: String,
    /// What the libraries need of others was read.
    pub reads_versions: bool,
    /// The directories that hold it.
    pub directories: Vec<PathBuf>,
    /// The names and paths of libraries that were taken.
    taken: FxHashSet<OsString>,
    /// The libraries, each once.
    pub libraries: Vec<Library>,
    /// The programs, by their paths without symbolic links.
    pub programs: Vec<(OsString, PathBuf)>,
    /// What was left out.
    pub notes: Vec<Note>,
}

/// A library of the driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Library {
    /// The file, without symbolic links.
    pub path: PathBuf,
    /// What it is called where it was found: `libcuda.so.580.159.04`.
    pub name: OsString,
    /// What other libraries call it: `libcuda.so.1`.
    pub soname: OsString,
    /// What linkers call it, if the host has that name: `libcuda.so`.
    pub linker_name: Option<OsString>,
    /// The symbol versions it needs of other libraries, if they were read.
    pub needs: Vec<NeededVersion>,
}

/// Why no driver was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Missing {
    /// No kernel module, and no libraries either.
    Everything,
    /// A kernel module, of this version, and no libraries.
    Libraries(String),
    /// A kernel module of one version, libraries of another.
    Match {
        /// The module's.
        module: String,
        /// The libraries'.
        libraries: String,
    },
}

/// Looks for the driver in a tree that stands for the host's root.
///
/// What symbol versions the libraries need is read on request only: it is half of what is read.
///
/// # Errors
///
/// Says what is missing.
pub fn find(files: &DirectoryTree, reads_versions: bool) -> Result<Driver, Missing> {
    let module = module_version(files);
    let version = module.clone().or_else(|| library_version(files)).ok_or(Missing::Everything)?;
    let directories = directories(files, &version);
    if directories.is_empty() {
        return Err(match (module, library_version(files)) {
            (Some(module), Some(libraries)) => Missing::Match { module, libraries },
            (Some(module), None) => Missing::Libraries(module),
            (None, _) => Missing::Everything,
        });
    }
    let mut driver = Driver { version, reads_versions, ..Driver::default() };
    for directory in &directories {
        driver.take_libraries(files, directory);
        // Where libvdpau looks first; it asks for the name alone, too.
        driver.take_libraries(files, &directory.join("vdpau"));
    }
    driver.directories = directories;
    driver.take_programs(files);
    Ok(driver)
}

/// The version of the kernel module: from sysfs, or the first number of the module's own line.
fn module_version(files: &DirectoryTree) -> Option<String> {
    let read = |path: &str| {
        let bytes = files::read(files, Path::new(path)).ok()??;
        String::from_utf8(bytes).ok()
    };
    let own = read("/sys/module/nvidia/version").map(|text| text.trim().to_owned());
    let own = own.filter(|version| is_version(version));
    own.or_else(|| {
        let text = read("/proc/driver/nvidia/version")?;
        let line = text.lines().find(|line| line.starts_with("NVRM version:"))?;
        line.split_whitespace().find(|word| is_version(word)).map(str::to_owned)
    })
}

/// Two or three numbers with dots between them.
fn is_version(word: &str) -> bool {
    let parts: Vec<&str> = word.split('.').collect();
    let is_number =
        |part: &&str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    matches!(parts.len(), 2 | 3) && parts.iter().all(is_number)
}

/// The version of the libraries there are: of the one programs ask for, else of any.
fn library_version(files: &DirectoryTree) -> Option<String> {
    let version = |name: &OsStr| {
        let version = name.to_str()?.strip_prefix("libcuda.so.")?;
        is_version(version).then(|| version.to_owned())
    };
    let places: Vec<PathBuf> =
        DIRECTORIES.iter().filter_map(|directory| real_directory(files, directory)).collect();
    let asked_for = places.iter().find_map(|directory| {
        let (path, _) = files::find(files, &directory.join("libcuda.so.1")).ok()??;
        version(path.file_name()?)
    });
    asked_for.or_else(|| {
        places.iter().find_map(|directory| {
            let is_libcuda = |name: &[u8]| name.starts_with(b"libcuda.so.");
            let names = files.names(directory, &is_libcuda).ok()?;
            names.iter().find_map(|name| version(name))
        })
    })
}

fn real_directory(files: &DirectoryTree, directory: &str) -> Option<PathBuf> {
    match files::find(files, Path::new(directory)) {
        Ok(Some((path, Kind::Directory))) => Some(path),
        _ => None,
    }
}

/// The directories that hold the driver, each once.
fn directories(files: &DirectoryTree, version: &str) -> Vec<PathBuf> {
    let has = |directory: &Path, signpost: &str| {
        let file = directory.join(format!("{signpost}.{version}"));
        matches!(files.kind(&file), Ok(Some(Kind::File | Kind::Link)))
    };
    let holding = |directories: &mut dyn Iterator<Item = PathBuf>| {
        let mut found: Vec<PathBuf> = Vec::new();
        for directory in directories {
            let holds = SIGNPOSTS.iter().any(|signpost| has(&directory, signpost));
            if holds && !found.contains(&directory) {
                found.push(directory);
            }
        }
        found
    };
    let mut usual = DIRECTORIES.iter().filter_map(|directory| real_directory(files, directory));
    match holding(&mut usual) {
        // The cache has a thousand names, and is seldom needed.
        none if none.is_empty() => holding(&mut cached_directories(files).into_iter()),
        found => found,
    }
}

/// The directories that the host's loader finds a driver in.
fn cached_directories(files: &DirectoryTree) -> Vec<PathBuf> {
    let Ok(Some(bytes)) = files::read(files, Path::new("/etc/ld.so.cache")) else {
        return Vec::new();
    };
    let Ok(cache) = Cache::parse(&bytes) else { return Vec::new() };
    let is_signpost = |name: &[u8]| SIGNPOSTS.iter().any(|post| name.starts_with(post.as_bytes()));
    let listed = cache.entries().iter().filter(|entry| is_signpost(entry.name));
    let real = listed.filter_map(|entry| {
        let path = Path::new(OsStr::from_bytes(entry.path));
        let (path, _) = files::find(files, path).ok()??;
        path.parent().map(Path::to_path_buf)
    });
    real.collect()
}

impl Driver {
    fn take_libraries(&mut self, files: &DirectoryTree, directory: &Path) {
        let suffix = format!(".so.{}", self.version).into_bytes();
        let is_own = |name: &[u8]| OWN_VERSIONS.iter().any(|own| name.starts_with(own.as_bytes()));
        let is_linker_name = |name: &[u8]| name.starts_with(b"lib") && name.ends_with(b".so");
        let is_library =
            |name: &[u8]| name.starts_with(b"lib") && name.ends_with(&suffix) || is_own(name);
        let fits =
            |name: &[u8]| is_library(name) || is_linker_name(name) || is_name_of_driver(name);
        let Ok(names) = files.entries(directory, &fits) else { return };
        for (name, kind) in names.iter().filter(|(name, _)| is_library(name.as_bytes())) {
            let known = match (self.reads_versions, kind) {
                (false, Kind::File) => linked_name(files, directory, name, &names),
                _ => None,
            };
            match self.library(files, directory, name, *kind, known) {
                Ok(Some(mut library)) => {
                    let linker_name = linker_name(name);
                    library.linker_name = names.contains_key(&linker_name).then_some(linker_name);
                    self.taken.insert(library.name.clone());
                    self.taken.insert(library.path.clone().into());
                    self.libraries.push(library);
                }
                Ok(None) => {}
                Err(reason) => {
                    let path = directory.join(name);
                    self.notes.push(Note::info(format!("left out: {}: {reason}", path.display())));
                }
            }
        }
    }

    /// Looks into a library, unless its soname is known; nothing if another name of it was taken
    /// already.
    fn library(
        &self,
        files: &DirectoryTree,
        directory: &Path,
        name: &OsStr,
        kind: Kind,
        soname: Option<OsString>,
    ) -> Result<Option<Library>, String> {
        let path = below(directory, Path::new(name));
        let (path, kind) = match kind {
            Kind::Link => files::find(files, &path)
                .map_err(|errno| errno.desc().to_owned())?
                .ok_or("the link leads nowhere")?,
            kind => (path, kind),
        };
        if kind != Kind::File {
            return Err("it is no regular file".to_owned());
        }
        if self.taken.contains(name) || self.taken.contains(path.as_os_str()) {
            return Ok(None);
        }
        if let Some(soname) = soname {
            let (linker_name, needs) = (None, Vec::new());
            return Ok(Some(Library { path, name: name.to_owned(), soname, linker_name, needs }));
        }
        let file = files.open_file(&path).map_err(|errno| errno.desc().to_owned())?;
        let object = Object::read(&file).map_err(|flaw| flaw.to_string())?;
        if !object.is_shared || object.abi != Abi::NATIVE {
            return Err("it is made for other programs than this machine's".to_owned());
        }
        let needs = match self.reads_versions {
            true => object.needed_versions().map_err(|flaw| flaw.to_string())?,
            false => Vec::new(),
        };
        let soname = object.soname.unwrap_or_else(|| name.to_owned());
        Ok(Some(Library { path, name: name.to_owned(), soname, linker_name: None, needs }))
    }

    fn take_programs(&mut self, files: &DirectoryTree) {
        for name in PROGRAMS {
            let places = ["/usr/bin", "/usr/local/bin", "/usr/sbin", "/opt/bin"];
            let found = places.iter().find_map(|place| {
                let path = Path::new(place).join(name);
                match files::find(files, &path) {
                    Ok(Some((path, Kind::File))) => Some(path),
                    _ => None,
                }
            });
            self.programs.extend(found.map(|path| (OsString::from(name), path)));
        }
    }
}

/// Whether a name is like the soname of a library that only the driver has: `libcuda.so.1`.
fn is_name_of_driver(name: &[u8]) -> bool {
    let Some(dot) = name.iter().rposition(|byte| *byte == b'.') else { return false };
    let (stem, version) = (&name[..dot], &name[dot + 1..]);
    version.iter().all(u8::is_ascii_digit)
        && stem.ends_with(b".so")
        && (stem.starts_with(b"libnv")
            || stem.starts_with(b"libcuda")
            || stem.ends_with(b"_nvidia.so"))
}

/// The soname of a library, from the link that ldconfig(8) has made to it: one call instead of
/// four, and what the host's own loader goes by.
fn linked_name(
    files: &DirectoryTree,
    directory: &Path,
    name: &OsStr,
    names: &BTreeMap<OsString, Kind>,
) -> Option<OsString> {
    let mut start = linker_name(name);
    start.push(".");
    let from = names.range::<OsStr, _>((Bound::Excluded(start.as_os_str()), Bound::Unbounded));
    let mut alike = from.take_while(|(other, _)| other.as_bytes().starts_with(start.as_bytes()));
    let is_link = |(other, kind): &(&OsString, &Kind)| {
        **kind == Kind::Link
            && is_name_of_driver(other.as_bytes())
            && files.link(&below(directory, Path::new(other))).is_ok_and(|target| target == name)
    };
    alike.find(is_link).map(|(soname, _)| soname.clone())
}

/// `libcuda.so` of `libcuda.so.580.159.04`.
fn linker_name(name: &OsStr) -> OsString {
    let bytes = name.as_bytes();
    let end =
        bytes.windows(4).position(|window| window == b".so.").map_or(bytes.len(), |dot| dot + 3);
    OsString::from_vec(bytes[..end].to_vec())
}
