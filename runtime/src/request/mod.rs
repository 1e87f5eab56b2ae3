//! What the user asked for, after all layers of configuration are merged.
//!
//! Building a [`Request`] validates values and does no I/O: paths are taken as written, and
//! environment files are named, not read.

pub mod limits;
mod parse;
mod rights;

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

pub use self::rights::{Rights, Seccomp};
use crate::cdi::QualifiedName;
use crate::error::{Error, Result};
use crate::look::kernel::Feature;
use crate::options::{self, Name};
use crate::origin::{Layer, Origin};

/// One option as one layer gave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The option.
    pub name: Name,
    /// What it was given.
    pub given: Given,
    /// The layer.
    pub layer: Layer,
}

/// What an option was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Given {
    /// A flag, or an optional value left out.
    On,
    /// A flag switched off, by `false` in a configuration file or a variable.
    Off,
    /// A value.
    Value(OsString),
}

/// A wish and who has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked<T> {
    /// The wish.
    pub value: T,
    /// Who has it.
    pub origin: Origin,
}

/// A bind, as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bind {
    /// The host's file or directory; may be relative to the current directory.
    pub source: PathBuf,
    /// Where it is shown; absolute, without `..`. Nothing: at the source's own path.
    pub target: Option<PathBuf>,
    /// Refuse writes.
    pub read_only: bool,
    /// Pass over a missing source.
    pub optional: bool,
    /// Take along what is mounted below the source.
    pub recursive: bool,
    /// The path that the source would be the end of if a comma before it were a letter.
    pub whole: Option<PathBuf>,
}

impl Default for Bind {
    fn default() -> Self {
        Bind {
            source: PathBuf::new(),
            target: None,
            read_only: false,
            optional: false,
            recursive: true,
            whole: None,
        }
    }
}

/// One change of the environment; they count in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EnvEdit {
    /// `--set-env=FILE`.
    File {
        /// The file.
        path: PathBuf,
        /// Whether `$` is special.
        expand: bool,
    },
    /// `--set-env0=FILE`.
    Records(PathBuf),
    /// `--set-env=NAME=VALUE`.
    Assign {
        /// The name.
        name: OsString,
        /// The value.
        value: OsString,
        /// Whether `$` is special.
        expand: bool,
    },
    /// `--env NAME`: the host's value.
    Host(OsString),
    /// `--set-env`: the image's variables again.
    Image,
    /// `--unset-env GLOB`.
    Unset(OsString),
}

/// With whom namespaces are shared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Join {
    /// With nobody.
    Nobody,
    /// With what the same parent starts, where no launcher is seen.
    Parent,
    /// With what is started with the same tag.
    Tag(String),
    /// With a process that runs in a container.
    Process(u32),
}

/// Whose MPI library the command uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mpi {
    /// The host's.
    Host,
    /// The host's, where the image's does not understand the launcher.
    Auto,
    /// The image's.
    Image,
    /// The image's, and nothing is said about it.
    Off,
}

/// A device asked for by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Device {
    /// One that is described on the host, by its name in the Container Device Interface.
    Described(QualifiedName),
    /// A node.
    Node {
        /// Its path on the host.
        source: PathBuf,
        /// Its path inside.
        target: PathBuf,
    },
}

/// How much a kind of device is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// It is needed: where a job was given some and there are none, nothing starts.
    Needed,
    /// It is used where it is there.
    Optional,
}

/// Whether and where the command may write to what it sees of the image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Write {
    /// Nowhere.
    #[default]
    No,
    /// In the image itself.
    Image,
    /// In a layer in memory, of this size at most.
    Fake(Option<String>),
    /// In a layer kept in this directory.
    Layer(PathBuf),
}

/// How a report is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// For programs.
    Json,
    /// As the configuration of an OCI runtime.
    Oci,
}

/// Everything the user asked for.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// The image, as written.
    pub image: PathBuf,
    /// The command and its arguments; empty for the image's own.
    pub command: Vec<OsString>,
    /// Binds, weakest layer first.
    pub binds: Vec<Asked<Bind>>,
    /// The start directory.
    pub directory: Option<Asked<PathBuf>>,
    /// Leave the home directory out.
    pub no_home: Option<Origin>,
    /// Leave the current directory out.
    pub no_cwd: Option<Origin>,
    /// Hide home, current directory and `/tmp`.
    pub contain: Option<Origin>,
    /// A private `/tmp`, of this size at most.
    pub private_tmp: Option<Asked<Option<String>>>,
    /// Where the command may write.
    pub write: Option<Asked<Write>>,
    /// Wait while another run uses the layer.
    pub overlay_wait: bool,
    /// Run packed images from a copy, in this directory.
    pub unpack: Option<Asked<Option<PathBuf>>>,
    /// Where images are looked for by name.
    pub store: Option<PathBuf>,
    /// Show NVIDIA GPUs.
    pub nvidia: Option<Asked<Wanted>>,
    /// Show AMD GPUs.
    pub amd: Option<Asked<Wanted>>,
    /// Show Intel GPUs.
    pub intel: Option<Asked<Wanted>>,
    /// A list of NVIDIA GPUs; the others are hidden.
    pub gpus: Option<Asked<OsString>>,
    /// Devices, in the order in which they were asked for.
    pub devices: Vec<Asked<Device>>,
    /// More directories of descriptions of devices; the last one has the say.
    pub cdi_directories: Vec<PathBuf>,
    /// A PID namespace.
    pub pid: Option<Origin>,
    /// With whom namespaces are shared; nothing: with ranks of the same step.
    pub join: Option<Asked<Join>>,
    /// Whose MPI library the command uses.
    pub mpi: Option<Asked<Mpi>>,
    /// Where the host's MPI is.
    pub mpi_root: Option<Asked<PathBuf>>,
    /// The host's C library comes with its MPI, if that needs it.
    pub mpi_glibc: bool,
    /// The tree that stands for the host's root when GPU drivers are looked for.
    pub driver_root: Option<PathBuf>,
    /// Changes of the environment, in order.
    pub env: Vec<Asked<EnvEdit>>,
    /// Start from an empty environment.
    pub clean_env: Option<Origin>,
    /// Globs of host variables kept anyway.
    pub keep_env: Vec<Asked<OsString>>,
    /// Globs of host variables left out; nothing: the built-in list.
    pub drop_env: Option<Vec<Asked<OsString>>>,
    /// The user id inside.
    pub uid: Option<Asked<u32>>,
    /// The group id inside.
    pub gid: Option<Asked<u32>>,
    /// Root inside, with capabilities.
    pub root: Option<Origin>,
    /// How much of the machine the command may use.
    pub limits: limits::Limits,
    /// Capabilities and the filter of system calls.
    pub rights: Rights,
    /// Only print the plan.
    pub dry_run: Option<Format>,
    /// A plan to carry out.
    pub plan: Option<PathBuf>,
    /// Examine the machine.
    pub doctor: Option<Format>,
    /// List what runs.
    pub ps: Option<Format>,
    /// Kernel features to do without.
    pub assume_missing: Vec<Feature>,
    /// Say more.
    pub verbose: bool,
    /// Say less.
    pub quiet: bool,
}

impl Request {
    /// Merges settings, weakest first.
    ///
    /// # Errors
    ///
    /// Fails on a value that does not fit its option; the error names the setting.
    pub fn new(settings: &[Setting], image: PathBuf, command: Vec<OsString>) -> Result<Self> {
        let request = Request { image, command, ..Request::default() };
        let mut merge = Merge { request, env_is_literal: false, drop_env_layer: None };
        for setting in settings {
            merge.add(setting)?;
        }
        Ok(merge.request)
    }
}

/// A request while settings are added to it.
struct Merge {
    request: Request,
    /// `--env-no-expand` was given before.
    env_is_literal: bool,
    /// The layer that `drop_env` was given by.
    drop_env_layer: Option<Layer>,
}

impl Merge {
    /// Adds one setting, stronger than all before it.
    fn add(&mut self, setting: &Setting) -> Result<()> {
        let origin = origin(setting);
        let refuse = |reason: String| {
            let option = options::row(setting.name).long;
            Error::new(format!("use option --{option}"), reason).asked_by(&origin)
        };
        let (on, value) = (setting.given != Given::Off, setting.given.value());
        let flag = || on.then(|| origin.clone());
        let expand = !self.env_is_literal;
        let absolute = || parse::absolute(value).map_err(refuse);
        let request = &mut self.request;
        match setting.name {
            Name::Bind | Name::Mount => {
                let binds = binds(setting).map_err(refuse)?.into_iter();
                request.binds.extend(binds.map(|bind| asked(bind, &origin)));
            }
            Name::Pid => request.pid = flag(),
            Name::Cd => request.directory = Some(asked(absolute()?, &origin)),
            Name::Home => request.no_home = (!on).then(|| origin.clone()),
            Name::NoHome => request.no_home = flag(),
            Name::NoCwd => request.no_cwd = flag(),
            Name::Contain => request.contain = flag(),
            Name::PrivateTmp => {
                let size = setting.given.size().map_err(refuse)?;
                request.private_tmp = on.then(|| asked(size, &origin));
            }
            Name::Write | Name::WriteFake | Name::Overlay => {
                self.set_write(write(setting).map_err(refuse)?, on, &origin)?;
            }
            Name::OverlayWait => request.overlay_wait = on,
            Name::Unpack => request.unpack = on.then(|| asked(directory(value), &origin)),
            Name::Store => request.store = Some(PathBuf::from(value)),
            Name::Nv => request.nvidia = wanted(&setting.given, &origin).map_err(refuse)?,
            Name::Rocm => request.amd = wanted(&setting.given, &origin).map_err(refuse)?,
            Name::Intel => request.intel = wanted(&setting.given, &origin).map_err(refuse)?,
            Name::Gpus => request.gpus = Some(asked(value.to_owned(), &origin)),
            Name::Device => {
                let devices = parse::devices(value).map_err(refuse)?.into_iter();
                request.devices.extend(devices.map(|device| asked(device, &origin)));
            }
            Name::CdiDir => request.cdi_directories.push(absolute()?),
            Name::Join | Name::NoJoin | Name::JoinTag | Name::JoinPid => {
                request.join = join(setting, &origin).map_err(refuse)?;
            }
            Name::JoinCt => drop(parse::id(value).map_err(refuse)?),
            Name::Mpi | Name::MpiRoot | Name::MpiGlibc => {
                set_mpi(request, setting, &origin).map_err(refuse)?;
            }
            Name::DriverRoot => request.driver_root = Some(absolute()?),
            Name::SetEnv => {
                let edit = parse::set_env(&setting.given, expand).map_err(refuse)?;
                request.env.push(asked(edit, &origin));
            }
            Name::SetEnv0 => request.env.push(asked(EnvEdit::Records(value.into()), &origin)),
            Name::UnsetEnv => request.env.push(asked(parse::omit(value).map_err(refuse)?, &origin)),
            Name::EnvNoExpand => self.env_is_literal = on,
            Name::Env => request.env.push(asked(parse::env(value).map_err(refuse)?, &origin)),
            Name::CleanEnv => request.clean_env = flag(),
            Name::KeepEnv => request.keep_env.push(asked(value.to_owned(), &origin)),
            Name::DropEnv => self.add_drop_env(value, &setting.layer, &origin),
            Name::Uid => request.uid = Some(asked(parse::id(value).map_err(refuse)?, &origin)),
            Name::Gid => request.gid = Some(asked(parse::id(value).map_err(refuse)?, &origin)),
            Name::Root => request.root = flag(),
            Name::Limit(limit) => request.limits.add(limit, setting, &origin).map_err(refuse)?,
            Name::Seccomp | Name::CapKeep | Name::CapDrop => {
                request.rights.add(setting.name, value, &origin).map_err(refuse)?;
            }
            Name::DryRun => request.dry_run = Some(setting.given.format(true).map_err(refuse)?),
            Name::Doctor => request.doctor = Some(setting.given.format(false).map_err(refuse)?),
            Name::Ps => request.ps = Some(setting.given.format(false).map_err(refuse)?),
            Name::Plan => request.plan = Some(PathBuf::from(value)),
            Name::AssumeMissing => {
                request.assume_missing = parse::features(value).map_err(refuse)?
            }
            Name::Verbose => request.verbose = on,
            Name::Quiet => request.quiet = on,
            Name::NoConfig | Name::Version | Name::Help => {}
        }
        Ok(())
    }

    /// A stronger layer replaces what a weaker one said; one layer may not say two things.
    fn set_write(&mut self, write: Write, on: bool, origin: &Origin) -> Result<()> {
        let same_kind =
            |other: &Write| std::mem::discriminant(other) == std::mem::discriminant(&write);
        if let Some(before) = self.request.write.as_ref().filter(|_| on)
            && matches!((&before.value, &write), (Write::Layer(one), Write::Layer(two)) if one != two)
            && parse::same_layer(&before.origin, origin)
        {
            let reason = format!("there is one layer only, and {} has named it", before.origin);
            return Err(Error::new(format!("use {origin}"), reason).hint(
                "give one --overlay DIR; what lies in other directories can be shown by --bind",
            ));
        }
        if !on {
            self.request.write = self.request.write.take().filter(|asked| !same_kind(&asked.value));
            return Ok(());
        }
        if let Some(before) = &self.request.write
            && parse::same_layer(&before.origin, origin)
            && !same_kind(&before.value)
        {
            let reason = format!("it contradicts {}", before.origin);
            return Err(Error::new(format!("use {origin}"), reason)
                .hint("give one of --write, --write-fake and --overlay"));
        }
        self.request.write = Some(asked(write, origin));
        Ok(())
    }

    fn add_drop_env(&mut self, glob: &OsStr, layer: &Layer, origin: &Origin) {
        let same = self
            .drop_env_layer
            .as_ref()
            .is_some_and(|before| parse::same_kind_of_layer(before, layer));
        if !same {
            self.request.drop_env = None;
        }
        self.drop_env_layer = Some(layer.clone());
        let globs = self.request.drop_env.get_or_insert_default();
        if !glob.is_empty() {
            globs.push(asked(glob.to_owned(), origin));
        }
    }
}

impl Given {
    fn value(&self) -> &OsStr {
        match self {
            Given::Value(value) => value,
            Given::On | Given::Off => OsStr::new(""),
        }
    }

    fn size(&self) -> std::result::Result<Option<String>, String> {
        match self {
            Given::Value(value) => parse::size(value).map(Some),
            Given::On | Given::Off => Ok(None),
        }
    }

    fn format(&self, oci: bool) -> std::result::Result<Format, String> {
        match self {
            Given::Value(value) => parse::format(value, oci),
            Given::On | Given::Off => Ok(Format::Text),
        }
    }
}

/// With whom namespaces are shared, as the last of the options about it says.
fn join(setting: &Setting, origin: &Origin) -> std::result::Result<Option<Asked<Join>>, String> {
    let join = match setting.name {
        Name::JoinTag => Join::Tag(parse::tag(setting.given.value())?),
        Name::JoinPid => Join::Process(parse::id(setting.given.value())?),
        Name::NoJoin => Join::Nobody,
        _ => Join::Parent,
    };
    Ok((setting.given != Given::Off).then(|| asked(join, origin)))
}

/// A directory, unless that was left out.
fn directory(value: &OsStr) -> Option<PathBuf> {
    (!value.is_empty()).then(|| PathBuf::from(value))
}

fn binds(setting: &Setting) -> std::result::Result<Vec<Bind>, String> {
    match setting.name {
        Name::Mount => Ok(vec![parse::mount(setting.given.value())?]),
        _ => parse::binds(setting.given.value()),
    }
}

fn write(setting: &Setting) -> std::result::Result<Write, String> {
    Ok(match setting.name {
        Name::WriteFake => Write::Fake(setting.given.size()?),
        Name::Overlay => Write::Layer(parse::layer(setting.given.value())?),
        _ => Write::Image,
    })
}

/// Whose MPI is used, and which of the host's.
fn set_mpi(
    request: &mut Request,
    setting: &Setting,
    origin: &Origin,
) -> std::result::Result<(), String> {
    let value = setting.given.value();
    match setting.name {
        Name::MpiRoot => request.mpi_root = Some(asked(parse::absolute(value)?, origin)),
        Name::MpiGlibc => request.mpi_glibc = parse::is_host(value)?,
        _ => {
            let mpi = parse::mpi(value)?;
            request.mpi = (setting.given != Given::Off).then(|| asked(mpi, origin));
        }
    }
    Ok(())
}

fn wanted(given: &Given, origin: &Origin) -> std::result::Result<Option<Asked<Wanted>>, String> {
    let wanted = parse::wanted(given.value())?;
    Ok((*given != Given::Off).then(|| asked(wanted, origin)))
}

pub(crate) fn asked<T>(value: T, origin: &Origin) -> Asked<T> {
    Asked { value, origin: origin.clone() }
}

fn origin(setting: &Setting) -> Origin {
    let row = options::row(setting.name);
    let option = match &setting.given {
        Given::Value(value) => row.written(Some(&value.to_string_lossy())),
        Given::On | Given::Off => row.written(None),
    };
    Origin::Setting { option, layer: setting.layer.clone() }
}
