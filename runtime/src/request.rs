//! What the user asked for, after all layers of configuration are merged.
//!
//! Building a [`Request`] validates values and does no I/O: paths are taken as written, and
//! environment files are named, not read.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

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
    /// Only print the plan.
    pub dry_run: Option<Format>,
    /// A plan to carry out.
    pub plan: Option<PathBuf>,
    /// Examine the machine.
    pub doctor: Option<Format>,
    /// Kernel features to do without.
    pub assume_missing: Vec<Feature>,
    /// Say more.
    pub verbose: bool,
    /// Say less.
    pub quiet: bool,
    /// State of `--env-no-expand` while settings are read.
    env_literal: bool,
    /// The layer that `drop_env` was given by.
    drop_env_layer: Option<Layer>,
}

impl Request {
    /// Merges settings, weakest first.
    ///
    /// # Errors
    ///
    /// Fails on a value that does not fit its option; the error names the setting.
    pub fn new(settings: &[Setting], image: PathBuf, command: Vec<OsString>) -> Result<Self> {
        let mut request = Request { image, command, ..Request::default() };
        for setting in settings {
            request.set(setting)?;
        }
        Ok(request)
    }

    /// Adds one setting, stronger than all before it.
    fn set(&mut self, setting: &Setting) -> Result<()> {
        let origin = origin(setting);
        let refuse = |reason: String| {
            let option = options::row(setting.name).long;
            Error::new(format!("use option --{option}"), reason).asked_by(&origin)
        };
        let on = setting.given != Given::Off;
        let flag = || on.then(|| origin.clone());
        let value = setting.given.value();
        let literal = self.env_literal;
        let env = |edit| Asked { value: edit, origin: origin.clone() };
        match setting.name {
            Name::Bind => {
                let binds = parse_binds(value).map_err(refuse)?;
                self.binds.extend(binds.into_iter().map(|bind| asked(bind, &origin)));
            }
            Name::Mount => {
                let bind = parse_mount(value).map_err(refuse)?;
                self.binds.push(asked(bind, &origin));
            }
            Name::Cd => {
                let directory = absolute(value).map_err(refuse)?;
                self.directory = Some(asked(directory, &origin));
            }
            Name::Home => self.no_home = (!on).then(|| origin.clone()),
            Name::NoHome => self.no_home = flag(),
            Name::NoCwd => self.no_cwd = flag(),
            Name::Contain => self.contain = flag(),
            Name::PrivateTmp => {
                let size = setting.given.size().map_err(refuse)?;
                self.private_tmp = on.then(|| asked(size, &origin));
            }
            Name::Write => self.set_write(Write::Image, on, &origin)?,
            Name::WriteFake => {
                let size = setting.given.size().map_err(refuse)?;
                self.set_write(Write::Fake(size), on, &origin)?;
            }
            Name::Overlay => self.set_write(Write::Layer(PathBuf::from(value)), on, &origin)?,
            Name::SetEnv => {
                let edit = parse_set_env(&setting.given, !literal).map_err(refuse)?;
                self.env.push(env(edit));
            }
            Name::SetEnv0 => self.env.push(env(EnvEdit::Records(PathBuf::from(value)))),
            Name::UnsetEnv => self.env.push(env(EnvEdit::Unset(value.to_owned()))),
            Name::EnvNoExpand => self.env_literal = on,
            Name::Env => self.env.push(env(parse_env(value).map_err(refuse)?)),
            Name::CleanEnv => self.clean_env = flag(),
            Name::KeepEnv => self.keep_env.push(asked(value.to_owned(), &origin)),
            Name::DropEnv => self.add_drop_env(value, &setting.layer, &origin),
            Name::Uid => self.uid = Some(asked(parse_id(value).map_err(refuse)?, &origin)),
            Name::Gid => self.gid = Some(asked(parse_id(value).map_err(refuse)?, &origin)),
            Name::Root => self.root = flag(),
            Name::DryRun => self.dry_run = Some(setting.given.format(true).map_err(refuse)?),
            Name::Doctor => self.doctor = Some(setting.given.format(false).map_err(refuse)?),
            Name::Plan => self.plan = Some(PathBuf::from(value)),
            Name::AssumeMissing => self.assume_missing = parse_features(value).map_err(refuse)?,
            Name::Verbose => self.verbose = on,
            Name::Quiet => self.quiet = on,
            Name::NoConfig | Name::Version | Name::Help => {}
        }
        Ok(())
    }

    /// A stronger layer replaces what a weaker one said; one layer may not say two things.
    fn set_write(&mut self, write: Write, on: bool, origin: &Origin) -> Result<()> {
        let same_kind =
            |other: &Write| std::mem::discriminant(other) == std::mem::discriminant(&write);
        if !on {
            self.write = self.write.take().filter(|asked| !same_kind(&asked.value));
            return Ok(());
        }
        if let Some(before) = &self.write
            && same_layer(&before.origin, origin)
            && !same_kind(&before.value)
        {
            let reason = format!("it contradicts {}", before.origin);
            return Err(Error::new(format!("use {origin}"), reason)
                .hint("give one of --write, --write-fake and --overlay"));
        }
        self.write = Some(asked(write, origin));
        Ok(())
    }

    fn add_drop_env(&mut self, glob: &OsStr, layer: &Layer, origin: &Origin) {
        let same =
            self.drop_env_layer.as_ref().is_some_and(|before| same_kind_of_layer(before, layer));
        if !same {
            self.drop_env = None;
        }
        self.drop_env_layer = Some(layer.clone());
        let globs = self.drop_env.get_or_insert_default();
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

    /// Reads a size for tmpfs: digits and one of `k`, `m`, `g`, `%` (tmpfs(5)).
    fn size(&self) -> std::result::Result<Option<String>, String> {
        let Given::Value(value) = self else { return Ok(None) };
        let text = value.to_str().unwrap_or_default();
        let digits = text.trim_end_matches(['k', 'K', 'm', 'M', 'g', 'G', '%']);
        let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        if plain && text.len() - digits.len() <= 1 && digits.bytes().any(|byte| byte != b'0') {
            return Ok(Some(text.to_owned()));
        }
        Err(format!("'{}' is not a size such as 512m, 2g or 10%", value.display()))
    }

    fn format(&self, oci: bool) -> std::result::Result<Format, String> {
        let Given::Value(value) = self else { return Ok(Format::Text) };
        match value.to_str() {
            Some("text") => Ok(Format::Text),
            Some("json") => Ok(Format::Json),
            Some("oci") if oci => Ok(Format::Oci),
            _ => Err(format!("'{}' is not a format it knows", value.display())),
        }
    }
}

fn asked<T>(value: T, origin: &Origin) -> Asked<T> {
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

fn same_layer(one: &Origin, other: &Origin) -> bool {
    match (one, other) {
        (Origin::Setting { layer: one, .. }, Origin::Setting { layer: other, .. }) => {
            same_kind_of_layer(one, other)
        }
        _ => false,
    }
}

fn same_kind_of_layer(one: &Layer, other: &Layer) -> bool {
    match (one, other) {
        (Layer::CommandLine, Layer::CommandLine) | (Layer::Variable(_), Layer::Variable(_)) => true,
        (Layer::Config { file: one, .. }, Layer::Config { file: other, .. }) => one == other,
        _ => false,
    }
}

type Parsed<T> = std::result::Result<T, String>;

/// Reads `SRC[:DST[:OPT,..]]`, several separated by commas.
///
/// A piece after a comma goes on with the options of the bind before it if it is the name of
/// one, so `/a:/b:ro,optional,/c` is two binds.
fn parse_binds(value: &OsStr) -> Parsed<Vec<Bind>> {
    let mut binds: Vec<(Bind, usize)> = Vec::new();
    for piece in value.as_bytes().split(|byte| *byte == b',') {
        if let Some((bind, 3)) = binds.last_mut()
            && apply_bind_option(bind, piece)
        {
            continue;
        }
        let fields: Vec<&[u8]> = piece.split(|byte| *byte == b':').collect();
        let written = String::from_utf8_lossy(piece);
        let (source, target, option) = match fields.as_slice() {
            [source] => (source, None, None),
            [source, target] => (source, Some(target), None),
            [source, target, option] => (source, Some(target), Some(option)),
            _ => return Err(format!("'{written}' has more than SRC:DST:OPT; use --mount")),
        };
        if source.is_empty() {
            return Err(format!("'{written}' has no source"));
        }
        let target = match target {
            Some(target) if !target.is_empty() => Some(bind_target(target)?),
            _ => None,
        };
        let mut bind = Bind {
            source: path(source),
            target,
            read_only: false,
            optional: false,
            recursive: true,
        };
        if let Some(option) = option
            && !apply_bind_option(&mut bind, option)
        {
            let option = String::from_utf8_lossy(option);
            return Err(format!("'{option}' is not one of ro, rw, optional, norec"));
        }
        binds.push((bind, fields.len()));
    }
    Ok(binds.into_iter().map(|(bind, _)| bind).collect())
}

fn apply_bind_option(bind: &mut Bind, option: &[u8]) -> bool {
    match option {
        b"ro" => bind.read_only = true,
        b"rw" => bind.read_only = false,
        b"optional" => bind.optional = true,
        b"norec" => bind.recursive = false,
        _ => return false,
    }
    true
}

/// Reads `type=bind,src=SRC,dst=DST[,OPT..]`.
fn parse_mount(value: &OsStr) -> Parsed<Bind> {
    let (mut source, mut target) = (None, None);
    let mut bind = Bind {
        source: PathBuf::new(),
        target: None,
        read_only: false,
        optional: false,
        recursive: true,
    };
    for field in value.as_bytes().split(|byte| *byte == b',') {
        let mut parts = field.splitn(2, |byte| *byte == b'=');
        match (parts.next().unwrap_or_default(), parts.next()) {
            (b"type", Some(b"bind")) => {}
            (b"type", _) => return Err("only type=bind is supported".to_owned()),
            (b"src" | b"source", Some(value)) => source = Some(path(value)),
            (b"dst" | b"destination" | b"target", Some(value)) => {
                target = Some(bind_target(value)?)
            }
            (b"ro" | b"readonly", None | Some(b"true" | b"1")) => bind.read_only = true,
            (b"ro" | b"readonly", Some(b"false" | b"0")) => bind.read_only = false,
            (option, None) if apply_bind_option(&mut bind, option) => {}
            _ => {
                let field = String::from_utf8_lossy(field);
                return Err(format!("'{field}' is not a field it knows"));
            }
        }
    }
    bind.source = source.filter(|path| !path.as_os_str().is_empty()).ok_or("src= is missing")?;
    bind.target = target;
    Ok(bind)
}

/// Checks a destination: absolute, below `/`, without `..`.
fn bind_target(bytes: &[u8]) -> Parsed<PathBuf> {
    let target = path(bytes);
    let written = target.display();
    if !target.is_absolute() {
        return Err(format!("destination '{written}' is not an absolute path"));
    }
    if target.components().any(|part| part == Component::ParentDir) {
        return Err(format!("destination '{written}' has a '..' in it; write the path without"));
    }
    let target: PathBuf = target.components().collect();
    if target == Path::new("/") {
        return Err("destination '/' is the image itself".to_owned());
    }
    Ok(target)
}

fn parse_set_env(given: &Given, expand: bool) -> Parsed<EnvEdit> {
    let Given::Value(value) = given else { return Ok(EnvEdit::Image) };
    match split_assignment(value) {
        Some((name, _)) if name.is_empty() => Err("the name before '=' is empty".to_owned()),
        Some((name, value)) => Ok(EnvEdit::Assign { name, value, expand }),
        None if value.is_empty() => Err("it needs a file or NAME=VALUE".to_owned()),
        None => Ok(EnvEdit::File { path: PathBuf::from(value), expand }),
    }
}

fn parse_env(value: &OsStr) -> Parsed<EnvEdit> {
    match split_assignment(value) {
        Some((name, value)) if !name.is_empty() => {
            Ok(EnvEdit::Assign { name, value, expand: false })
        }
        None if !value.is_empty() => Ok(EnvEdit::Host(value.to_owned())),
        _ => Err("the name is empty".to_owned()),
    }
}

fn split_assignment(text: &OsStr) -> Option<(OsString, OsString)> {
    let bytes = text.as_bytes();
    let equals = bytes.iter().position(|byte| *byte == b'=')?;
    let name = OsString::from_vec(bytes[..equals].to_vec());
    Some((name, OsString::from_vec(bytes[equals + 1..].to_vec())))
}

/// Reads a user or group id; the largest number means "none" to the kernel (chown(2)).
fn parse_id(value: &OsStr) -> Parsed<u32> {
    let id = value.to_str().and_then(|text| text.parse::<u32>().ok());
    id.filter(|id| *id != u32::MAX)
        .ok_or_else(|| format!("'{}' is not a number of an id", value.display()))
}

fn parse_features(value: &OsStr) -> Parsed<Vec<Feature>> {
    let text = value.to_string_lossy();
    let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
    names
        .map(|name| {
            Feature::by_name(name).ok_or_else(|| {
                let known: Vec<_> = Feature::ALL.iter().map(|feature| feature.name()).collect();
                format!("'{name}' is not one of {}", known.join(", "))
            })
        })
        .collect()
}

fn absolute(value: &OsStr) -> Parsed<PathBuf> {
    let directory = PathBuf::from(value);
    if directory.is_absolute() {
        return Ok(directory);
    }
    Err(format!("'{}' is not an absolute path", directory.display()))
}

fn path(bytes: &[u8]) -> PathBuf {
    PathBuf::from(OsString::from_vec(bytes.to_vec()))
}
