//! Values of options, read from text.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use super::{Bind, Device, EnvEdit, Format, Given, Mpi, Wanted};
use crate::cdi::QualifiedName;
use crate::look::kernel::Feature;

/// The error says what is wrong with the value.
type Parsed<T> = Result<T, String>;

/// Reads `SRC[:DST[:OPT,..]]`, several separated by commas.
///
/// A piece after a comma goes on with the options of the bind before it if it is the name of
/// one, so `/a:/b:ro,optional,/c` is two binds. Empty pieces are passed over: `$HRUN_BIND,/c` is
/// right where nothing was set before.
pub(super) fn binds(value: &OsStr) -> Parsed<Vec<Bind>> {
    let mut binds: Vec<(Bind, usize)> = Vec::new();
    let pieces = value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii_start);
    for piece in pieces.filter(|piece| !piece.is_empty()) {
        if let Some((bind, 3)) = binds.last_mut()
            && apply_bind_option(bind, piece)
        {
            continue;
        }
        if matches!(piece, b"ro" | b"rw" | b"optional" | b"norec") && !binds.is_empty() {
            let option = String::from_utf8_lossy(piece);
            return Err(format!("option '{option}' must follow a destination: SRC:DST:{option}"));
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
    if binds.is_empty() {
        return Err("it names no source".to_owned());
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

/// Reads names of devices, or paths of nodes: `NODE[:NODE_INSIDE[:rwm]]`.
pub(super) fn devices(value: &OsStr) -> Parsed<Vec<Device>> {
    let pieces = value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    let devices: Parsed<Vec<Device>> =
        pieces.filter(|piece| !piece.is_empty()).map(device).collect();
    match devices {
        Ok(devices) if devices.is_empty() => Err("it names no device".to_owned()),
        devices => devices,
    }
}

fn device(piece: &[u8]) -> Parsed<Device> {
    if !piece.starts_with(b"/") {
        let name = String::from_utf8_lossy(piece);
        return QualifiedName::parse(&name).map(Device::Described);
    }
    let fields: Vec<&[u8]> = piece.split(|byte| *byte == b':').collect();
    let is_access = |field: &[u8]| !field.is_empty() && field.iter().all(|b| b"rwm".contains(b));
    let (source, target) = match fields.as_slice() {
        [source] => (source, source),
        [source, access] if is_access(access) => (source, source),
        [source, target] => (source, target),
        [source, target, access] if is_access(access) => (source, target),
        _ => {
            let written = String::from_utf8_lossy(piece);
            return Err(format!("'{written}' is not NODE[:NODE_INSIDE[:rwm]]"));
        }
    };
    Ok(Device::Node { source: path(source), target: bind_target(target)? })
}

/// Reads the directory of a layer. What follows a colon is how other runtimes say that it is
/// read-only, or that it is not.
pub(super) fn layer(value: &OsStr) -> Parsed<PathBuf> {
    let bytes = value.as_bytes();
    let bytes = bytes.strip_suffix(b":rw").unwrap_or(bytes);
    if bytes.ends_with(b":ro") {
        return Err("a layer cannot be used read-only yet; without ':ro' the command writes to it, and \
                    to run it unchanged copy the directory first"
            .to_owned());
    }
    match bytes {
        b"" => Err("it names no directory".to_owned()),
        path => Ok(PathBuf::from(OsStr::from_bytes(path))),
    }
}

/// Reads a tag, which becomes part of a file's name.
pub(super) fn tag(value: &OsStr) -> Parsed<String> {
    let tag = value.to_str().unwrap_or_default();
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if !tag.is_empty() && tag.len() <= 100 && tag.bytes().all(is_plain) {
        return Ok(tag.to_owned());
    }
    Err(format!("'{}' is not made of letters, digits, '.', '_' and '-'", value.display()))
}

/// Reads `type=bind,src=SRC,dst=DST[,OPT..]`.
pub(super) fn mount(value: &OsStr) -> Parsed<Bind> {
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

pub(super) fn set_env(given: &Given, expand: bool) -> Parsed<EnvEdit> {
    let Given::Value(value) = given else { return Ok(EnvEdit::Image) };
    match split_assignment(value) {
        Some((name, _)) if name.is_empty() => Err("the name before '=' is empty".to_owned()),
        Some((name, value)) => Ok(EnvEdit::Assign { name, value, expand }),
        None if value.is_empty() => Err("it needs a file or NAME=VALUE".to_owned()),
        None => Ok(EnvEdit::File { path: PathBuf::from(value), expand }),
    }
}

pub(super) fn env(value: &OsStr) -> Parsed<EnvEdit> {
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
pub(super) fn id(value: &OsStr) -> Parsed<u32> {
    let id = value.to_str().and_then(|text| text.parse::<u32>().ok());
    id.filter(|id| *id != u32::MAX)
        .ok_or_else(|| format!("'{}' is not a number of an id", value.display()))
}

pub(super) fn features(value: &OsStr) -> Parsed<Vec<Feature>> {
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

pub(super) fn absolute(value: &OsStr) -> Parsed<PathBuf> {
    let directory = PathBuf::from(value);
    if directory.is_absolute() {
        return Ok(directory);
    }
    Err(format!("'{}' is not an absolute path", directory.display()))
}

fn path(bytes: &[u8]) -> PathBuf {
    PathBuf::from(OsString::from_vec(bytes.to_vec()))
}

/// Reads whose MPI is used; nothing leaves it to hrun.
pub(super) fn mpi(value: &OsStr) -> Parsed<Mpi> {
    match value.to_str() {
        Some("" | "auto") => Ok(Mpi::Auto),
        Some("host") => Ok(Mpi::Host),
        Some("image") => Ok(Mpi::Image),
        Some("off") => Ok(Mpi::Off),
        _ => Err(format!("'{}' is not auto, host, image or off", value.to_string_lossy())),
    }
}

/// Reads which of two something is: the host's, or the image's.
pub(super) fn is_host(value: &OsStr) -> Parsed<bool> {
    match value.to_str() {
        Some("host") => Ok(true),
        Some("image") => Ok(false),
        _ => Err(format!("'{}' is neither host nor image", value.to_string_lossy())),
    }
}

/// Reads how much a kind of device is wanted; nothing means needed.
pub(super) fn wanted(value: &OsStr) -> Parsed<Wanted> {
    match value.to_str() {
        Some("") => Ok(Wanted::Needed),
        Some("optional") => Ok(Wanted::Optional),
        _ => Err(format!("'{}' is not optional", value.to_string_lossy())),
    }
}

/// Reads a size for tmpfs: digits and at most one of `k`, `m`, `g`, `%` (tmpfs(5)).
pub(super) fn size(value: &OsStr) -> Parsed<String> {
    let text = value.to_str().unwrap_or_default();
    let digits = text.trim_end_matches(['k', 'K', 'm', 'M', 'g', 'G', '%']);
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let is_zero = digits.bytes().all(|byte| byte == b'0');
    if is_number && !is_zero && text.len() - digits.len() <= 1 {
        return Ok(text.to_owned());
    }
    Err(format!("'{}' is not a size such as 512m, 2g or 10%", value.display()))
}

/// Reads the format of a report.
pub(super) fn format(value: &OsStr, oci: bool) -> Parsed<Format> {
    match value.to_str() {
        Some("text") => Ok(Format::Text),
        Some("json") => Ok(Format::Json),
        Some("oci") if oci => Ok(Format::Oci),
        _ => Err(format!("'{}' is not a format it knows", value.display())),
    }
}
