//! The host's MPI in place of the image's (`--mpi`).
//!
//! The library, what it is linked with and its plugins are given to the image's loader by name, as a
//! GPU's driver is. Only a library of the same interface can take another's place, and only if it
//! has all that the command asks for; both are told by symbols, before anything starts.

mod family;
mod installed;
mod libc;
mod parts;

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use self::family::Family;
use self::installed::Installed;
use self::libc::{Libc, TooOld};
use self::parts::Parts;
use crate::edits::{Content, Edits};
use crate::error::{Error, Result};
use crate::linkage::{self, Linked, Loader};
use crate::look::files::OpenFiles;
use crate::look::host::Host;
use crate::look::image::Image;
use crate::origin::Origin;
use crate::plan::Note;
use crate::request::Request;

/// Libraries that go with MPI and have plugins or kernel interfaces of their own release: always
/// the host's.
const OF_HOST: [&str; 28] = [
    "libmpi",
    "libopen-",
    "liboshmem",
    "libmca_common",
    "libpmix",
    "libprrte",
    "libpmi",
    "libpals",
    "libucp",
    "libuct",
    "libucs",
    "libucm",
    "libucc",
    "libhcoll",
    "libsharp",
    "libocoms",
    "libfabric",
    "libpsm",
    "libhfi",
    "libibverbs",
    "librdmacm",
    "libmlx",
    "libefa",
    "libcxi",
    "libxpmem",
    "libmunge",
    "libslurm",
    "libosmcomp",
];

/// A container as it would be with the image's MPI, and a command in it.
pub struct Scene<'a> {
    /// What was asked for.
    pub request: &'a Request,
    /// The host.
    pub host: &'a Host,
    /// The image.
    pub image: &'a Image,
    /// The files inside.
    pub inside: &'a dyn OpenFiles,
    /// Whether a path shows inside what it is on the host.
    pub is_shown: &'a dyn Fn(&Path) -> bool,
    /// The file of the command, inside; nothing if there is none.
    pub program: Option<&'a Path>,
    /// What `LD_LIBRARY_PATH` is inside.
    pub library_path: &'a OsStr,
    /// Who wants the host's MPI.
    pub origin: &'a Origin,
}

/// What is known of both sides.
struct Sides<'a> {
    scene: &'a Scene<'a>,
    inside: Loader<'a>,
    outside: Loader<'a>,
    /// The command and everything it is linked with.
    command: Vec<Linked>,
}

/// Libraries of the host that go inside, by what they are asked for.
type Taken = Vec<(OsString, PathBuf)>;

/// The host's MPI, on its way inside.
pub struct Found {
    /// What it takes.
    pub edits: Edits,
    /// The libraries for C, one for each interface, with what they are linked with.
    pub libraries: Vec<Linked>,
}

/// A loader that finds the host's MPI as hrun does.
pub fn loader<'a>(request: &Request, host: &'a Host) -> Loader<'a> {
    let directories = installed::directories(request, host);
    Loader::new(&host.files, &std::env::join_paths(&directories).unwrap_or_default())
}

/// Finds the host's MPI, and all that goes with it.
///
/// # Errors
///
/// Fails if the host has none that can take the place of the image's; the reason names both.
pub fn find(scene: &Scene) -> Result<Found> {
    let sides = Sides::look(scene);
    if sides.inside.find_name(OsStr::new("libc.so.6")).is_none() {
        return Err(sides.error("the image has no glibc, which the host's MPI is linked with"));
    }
    let linked_with = sides.linked_with();
    let installed = match linked_with {
        Some(family) => vec![sides.same_as_command(family)?],
        None => sides.same_as_image()?,
    };
    let mut edits = Edits::default();
    let mut taken = Taken::new();
    for mpi in &installed {
        let libraries = sides.libraries(mpi, linked_with.is_some());
        sides.check_symbols(mpi, &libraries)?;
        taken.extend(libraries);
        edits.notes.push(Note::info(format!(
            "the command uses the host's MPI: {}",
            family::describe(&sides.outside, mpi.family, &mpi.library.path)
        )));
    }
    let needed = sides.outside.load(&paths_of(&taken));
    let (linked, parts) = sides.everything(&taken);
    sides.check_libc(&needed, &linked, &mut edits)?;
    let libc = Libc::new(&sides.outside, &sides.inside);
    let is_usable = |path: &Path| scene.request.mpi_glibc || libc.lack(path).is_none();
    for linked in linked {
        let is_known = taken.iter().any(|(name, _)| *name == linked.name);
        let is_asked_for = !linked.name.as_bytes().contains(&b'/');
        if let Some(found) = &linked.found
            && !is_known
            && is_asked_for
            && !libc::is_part(&linked.name)
            && is_usable(&found.path)
            && sides.prefers_host(&linked.name, found)
        {
            taken.push((linked.name, found.path.clone()));
        }
    }
    sides.cover(&taken, &mut edits);
    sides.show(taken, parts.paths, &mut edits);
    let of_c = installed.iter().map(|mpi| mpi.library.at.clone());
    let mut libraries = sides.outside.load(&of_c.collect::<Vec<PathBuf>>());
    libraries.truncate(installed.len());
    Ok(Found { edits, libraries })
}

impl<'a> Sides<'a> {
    fn look(scene: &'a Scene<'a>) -> Self {
        let outside = loader(scene.request, scene.host);
        let inside = Loader::new(scene.inside, scene.library_path);
        let program = scene.program.map(Path::to_path_buf);
        let command = inside.load(program.as_slice());
        Sides { scene, inside, outside, command }
    }

    /// The family of MPI that the command is linked with.
    fn linked_with(&self) -> Option<Family> {
        let library = self.command.iter().find(|linked| family::is_mpi(&linked.name))?;
        // Whoever asks for it may be a library of the command.
        let asks = self.command.iter().filter(|linked| linked.needed.contains(&library.name));
        let families = asks.filter_map(|linked| {
            let symbols = self.inside.symbols(&linked.found.as_ref()?.path)?;
            Family::of_program(&symbols, &library.name)
        });
        families.min()
    }

    /// The host's MPI of a family that the command is linked with.
    fn same_as_command(&self, family: Family) -> Result<Installed> {
        let Scene { request, host, .. } = *self.scene;
        installed::find(family, request, host, &self.outside).ok_or_else(|| {
            let command = self.command.first().map(|command| command.name.as_os_str());
            let command = Path::new(command.unwrap_or_default());
            let command = command.file_name().unwrap_or_default().display();
            let images = self.in_image(family).map_or_else(
                || family.title().to_owned(),
                |found| family::describe(&self.inside, family, &found.path),
            );
            let hosts = self.of_host();
            self.error(format!("{command} is linked with {images}, and the host has {hosts}"))
        })
    }

    /// The host's MPIs of all families that the image has; of any, if it has none.
    fn same_as_image(&self) -> Result<Vec<Installed>> {
        let Scene { request, host, .. } = *self.scene;
        let of_image: Vec<Family> =
            family::ALL.into_iter().filter(|family| self.in_image(*family).is_some()).collect();
        let wanted = if of_image.is_empty() { &family::ALL[..] } else { &of_image };
        let found = wanted
            .iter()
            .filter_map(|family| installed::find(*family, request, host, &self.outside));
        let found: Vec<Installed> = found.collect();
        if !found.is_empty() {
            return Ok(found);
        }
        let titles: Vec<&str> = of_image.iter().map(|family| family.title()).collect();
        Err(self.error(match titles.is_empty() {
            true => format!("the host has {}", self.of_host()),
            false => {
                format!(
                    "the image has {}, and the host has {}",
                    titles.join(" and "),
                    self.of_host()
                )
            }
        }))
    }

    /// The library of a family that programs inside would get.
    fn in_image(&self, family: Family) -> Option<linkage::Found> {
        let names = || family.names().iter().map(OsStr::new);
        let linked = self.command.iter().find(|linked| names().any(|name| linked.name == name));
        let found = linked.and_then(|linked| linked.found.clone());
        found.or_else(|| {
            names().find_map(|name| {
                let found = self.inside.find_name(name)?;
                let symbols = self.inside.symbols(&found.path)?;
                (Family::of_library(&symbols, name) == Some(family)).then_some(found)
            })
        })
    }

    /// The host's MPIs in words.
    fn of_host(&self) -> String {
        let Scene { request, host, .. } = *self.scene;
        let found = family::ALL.iter().filter_map(|family| {
            let mpi = installed::find(*family, request, host, &self.outside)?;
            Some(family::describe(&self.outside, *family, &mpi.library.path))
        });
        let found: Vec<String> = found.collect();
        match (found.is_empty(), &request.mpi_root) {
            (false, _) => found.join(" and "),
            (true, Some(root)) => format!("no MPI library in {}", root.value.display()),
            (true, None) => "no MPI library".to_owned(),
        }
    }

    /// The host's libraries that take the place of MPI's inside, under all of their names; for an
    /// interpreter, all there are.
    fn libraries(&self, mpi: &Installed, is_linked: bool) -> Taken {
        let beside = [mpi.directory().to_path_buf()];
        let mut taken = Taken::new();
        for names in mpi.family.libraries() {
            let names = || names.iter().map(OsStr::new);
            let is_needed = names().any(|name| self.command.iter().any(|own| own.name == name));
            let is_first = mpi.family.names().iter().map(OsStr::new).eq(names());
            let found = match is_first {
                true => Some(mpi.library.clone()),
                false if is_linked && !is_needed => None,
                false => names().find_map(|name| self.outside.find_in(&beside, name)),
            };
            let Some(found) = found else { continue };
            taken.extend(names().map(|name| (name.to_owned(), found.path.clone())));
        }
        taken
    }

    /// Everything the host's libraries are linked with, and what goes with it. Plugins are linked
    /// with more, which may have plugins too: Open MPI 4 gets PMIx so.
    fn everything(&self, taken: &Taken) -> (Vec<Linked>, Parts) {
        let mut files = paths_of(taken);
        loop {
            let linked = self.outside.load(&files);
            let found = linked.iter().filter_map(|linked| linked.found.as_ref());
            let parts = parts::find(self.scene.host, found.map(|found| found.path.as_path()));
            let known = files.len();
            let is_new = |plugin: &&PathBuf| !files.contains(plugin);
            let new: Vec<PathBuf> = parts.plugins.iter().filter(is_new).cloned().collect();
            files.extend(new);
            if files.len() == known {
                return (linked, parts);
            }
        }
    }

    /// Refuses a host's MPI that lacks something the command, or a library of it, asks MPI for.
    fn check_symbols(&self, mpi: &Installed, taken: &Taken) -> Result<()> {
        let is_taken = |name: &OsStr| taken.iter().any(|(own, _)| own == name);
        let (mut wanted, mut defined) = (BTreeSet::new(), BTreeSet::new());
        let of_mpi = |names: &mut dyn Iterator<Item = &[u8]>| -> Vec<Vec<u8>> {
            names.filter(|name| family::is_symbol(name)).map(<[u8]>::to_vec).collect()
        };
        for linked in self.command.iter().filter(|linked| !is_taken(&linked.name)) {
            let found = linked.found.as_ref();
            let Some(symbols) = found.and_then(|found| self.inside.symbols(&found.path)) else {
                continue;
            };
            wanted.extend(of_mpi(&mut symbols.wanted()));
            defined.extend(of_mpi(&mut symbols.defined()));
        }
        let files: BTreeSet<&PathBuf> = taken.iter().map(|(_, path)| path).collect();
        for symbols in files.iter().filter_map(|path| self.outside.symbols(path)) {
            defined.extend(of_mpi(&mut symbols.defined()));
        }
        let lacking: Vec<String> = wanted
            .difference(&defined)
            .map(|name| String::from_utf8_lossy(name).into_owned())
            .collect();
        let [first, more @ ..] = lacking.as_slice() else { return Ok(()) };
        let host = family::describe(&self.outside, mpi.family, &mpi.library.path);
        let image = match self.in_image(mpi.family) {
            Some(found) => family::describe(&self.inside, mpi.family, &found.path),
            None => "none of its own".to_owned(),
        };
        let more = match more.len() {
            0 => String::new(),
            count => format!(" and {count} more"),
        };
        Err(self.error(format!(
            "the host's {host} has no {first}{more}, which the command wants; the image has {image}"
        )))
    }

    /// Whether a library that both sides have is taken from the host: the one with more versions of
    /// its symbols has everything the other has.
    fn prefers_host(&self, name: &OsStr, found: &linkage::Found) -> bool {
        let is_of_host =
            OF_HOST.iter().any(|prefix| name.as_bytes().starts_with(prefix.as_bytes()));
        let Some(own) = self.inside.find_name(name).filter(|_| !is_of_host) else { return true };
        let defined = |loader: &Loader, path: &Path| -> BTreeSet<OsString> {
            loader.defined_versions(path).into_iter().collect()
        };
        let host = defined(&self.outside, &found.path);
        let image = defined(&self.inside, &own.path);
        if host != image {
            return host.is_superset(&image)
                || !image.is_superset(&host) && host.len() > image.len();
        }
        release(&found.path) > release(&own.path)
    }

    /// Refuses libraries that the image's glibc is too old for, or covers it. Plugins may be left
    /// out: MPI does without those that cannot be loaded.
    fn check_libc(&self, needed: &[Linked], all: &[Linked], edits: &mut Edits) -> Result<()> {
        let Scene { request, host, image, origin, .. } = *self.scene;
        let libc = Libc::new(&self.outside, &self.inside);
        let lacks = |linked: &Linked| {
            let found = linked.found.as_ref().filter(|_| !libc::is_part(&linked.name))?;
            libc.lack(&found.path)
        };
        let checked = if request.mpi_glibc { all } else { needed };
        let Some(lack) = checked.iter().filter_map(lacks).max_by_key(TooOld::number) else {
            if let Some(lack) = all.iter().filter_map(lacks).max_by_key(TooOld::number) {
                let text = format!(
                    "plugins of the host's MPI are left out where the image's glibc is too old: {} \
                     needs {}",
                    lack.library.display(),
                    lack.version.display()
                );
                edits.notes.push(Note::info(text));
            }
            return Ok(());
        };
        let release = |release: &Option<String>| release.clone().unwrap_or("unknown".to_owned());
        if request.mpi_glibc {
            libc::replace(image, host, &self.outside, &self.inside, origin, edits);
            edits.notes.push(Note::info(format!(
                "programs of the image use the host's glibc {} in place of {}",
                release(&lack.host),
                release(&lack.image)
            )));
            return Ok(());
        }
        let reason = format!(
            "{} of the host needs {} of {}, and the image's glibc goes up to {}, the host's to {}",
            lack.library.display(),
            lack.version.display(),
            lack.file.display(),
            release(&lack.image),
            release(&lack.host)
        );
        Err(Error::new("use the host's MPI", reason).asked_by(origin).hint(
            "--mpi-glibc=host covers the image's C library with the host's; or take an image with a \
             newer one,\nor an MPI that was made for older systems (--mpi-root DIR)",
        ))
    }

    /// Covers files that the command's loader would find before it asks its cache.
    fn cover(&self, taken: &Taken, edits: &mut Edits) {
        let listed = std::env::split_paths(self.scene.library_path);
        let listed = listed.filter(|path| path.is_absolute());
        let lists = self.command.iter().flat_map(Linked::directories).cloned();
        let directories: BTreeSet<PathBuf> = listed.chain(lists).collect();
        for directory in directories {
            let directory = [directory];
            for (name, path) in taken {
                let Some(found) = self.inside.find_in(&directory, name) else { continue };
                edits.show(path.clone(), found.path, self.scene.origin);
            }
        }
    }

    /// Gives the libraries their names, and shows everything else where it is on the host.
    fn show(&self, taken: Taken, paths: Vec<PathBuf>, edits: &mut Edits) {
        let Scene { host, image, is_shown, origin, .. } = *self.scene;
        for (name, path) in taken {
            edits.named.library(&name, path, origin);
        }
        for path in paths.into_iter().filter(|path| !is_shown(path)) {
            let (recursive, read_only, optional) = (true, true, false);
            let source = path.clone();
            let content = Content::Bind { source, recursive, read_only, optional };
            edits.mount(content, path, origin);
        }
        let of_image = &image.config.environment;
        for name in parts::VARIABLES {
            match host.variable(name) {
                Some(value) => edits.set(name, value, origin),
                None if of_image.iter().any(|set| set.name == name) => edits.unset(name),
                None => {}
            }
        }
    }

    fn error(&self, reason: impl Into<String>) -> Error {
        Error::new("use the host's MPI", reason.into()).asked_by(self.scene.origin).hint(
            "load the module of an MPI of the same kind, or name its directory: --mpi-root DIR; \
             with\n--mpi=image the command uses the image's own",
        )
    }
}

fn paths_of(taken: &Taken) -> Vec<PathBuf> {
    taken.iter().map(|(_, path)| path.clone()).collect()
}

/// The numbers a library's file name ends with: 12, 2 and 2 of `libmpich.so.12.2.2`.
fn release(path: &Path) -> Vec<u32> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let (_, version) = name.split_once(".so.").unwrap_or_default();
    version.split('.').map_while(|part| part.parse().ok()).collect()
}
