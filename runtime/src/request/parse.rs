//! Values of options, read from text.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use super::{Bind, Device, EnvEdit, Format, Given, Mpi, Wanted};
use crate::cdi::QualifiedName;
use crate::look::kernel::Feature;
use crate::origin::{Layer, Origin};

/// The error says what is wrong with the value.
type Parsed<T> = Result<T, String>;

/// Reads `SRC[:DST[:OPT,..]]`, several separated by commas; `\,` and `\:` are letters of a path.
///
/// A piece after a comma goes on with the options of the bind before it if it is the name of
/// one, so `/a:/b:ro,optional,/c` is two binds. Empty pieces are passed over: `$HRUN_BIND,/c` is
/// right where nothing was set before.
pub(super) fn binds(value: &OsStr) -> Parsed<Vec<Bind>> {
    let mut binds: Vec<(Bind, usize)> = Vec::new();
    // What the pieces since the last destination would be as one path.
    let mut whole: Option<Vec<u8>> = None;
    for untrimmed in split(value.as_bytes(), b',') {
        let piece = untrimmed.trim_ascii_start();
        if piece.is_empty() {
            whole = None;
            continue;
        }
        if let Some((bind, 3)) = binds.last_mut()
            && apply_bind_option(bind, piece)
        {
            continue;
        }
        if matches!(piece, b"ro" | b"rw" | b"optional" | b"norec") && !binds.is_empty() {
            let option = String::from_utf8_lossy(piece);
            return Err(format!("option '{option}' must follow a destination: SRC:DST:{option}"));
        }
        let fields = split(piece, b':');
        let mut bind = bind(piece, &fields)?;
        let name = split(untrimmed, b':').first().map(|name| name.to_vec()).unwrap_or_default();
        let joined = match whole.take() {
            Some(before) => {
                let joined = [&*before, b",", &*name].concat();
                bind.whole = Some(path(&unescaped(&joined)));
                joined
            }
            None => piece[..name.len().min(piece.len())].to_vec(),
        };
        whole = (fields.len() == 1).then_some(joined);
        binds.push((bind, fields.len()));
    }
    if binds.is_empty() {
        return Err("it names no source".to_owned());
    }
    Ok(binds.into_iter().map(|(bind, _)| bind).collect())
}

/// Reads one bind of the fields of a piece.
fn bind(piece: &[u8], fields: &[&[u8]]) -> Parsed<Bind> {
    let written = String::from_utf8_lossy(piece);
    let (source, target, option) = match fields {
        [source] => (source, None, None),
        [source, target] => (source, Some(target), None),
        [source, target, option] => (source, Some(target), Some(option)),
        _ => {
            return Err(format!(
                "'{written}' has more than SRC:DST:OPT; write a colon of a path as \\:"
            ));
        }
    };
    if source.is_empty() {
        return Err(format!("'{written}' has no source"));
    }
    let target = match target {
        Some(target) if !target.is_empty() => Some(bind_target(&unescaped(target))?),
        _ => None,
    };
    let mut bind = Bind { source: path(&unescaped(source)), target, ..Bind::default() };
    if let Some(option) = option
        && !apply_bind_option(&mut bind, option)
    {
        let option = String::from_utf8_lossy(option);
        return Err(format!("'{option}' is not one of ro, rw, optional, norec"));
    }
    Ok(bind)
}

/// Splits at a letter, except where a backslash stands before it.
fn split(text: &[u8], at: u8) -> Vec<&[u8]> {
    let mut pieces = Vec::new();
    let mut start = 0;
    for (index, byte) in text.iter().enumerate() {
        if *byte == at && (index == 0 || text[index - 1] != b'\\') {
            pieces.push(&text[start..index]);
            start = index + 1;
        }
    }
    pieces.push(&text[start..]);
    pieces
}

/// Takes away the backslashes before commas and colons; all others are letters of a path.
fn unescaped(text: &[u8]) -> Vec<u8> {
    let mut letters = Vec::with_capacity(text.len());
    for (index, byte) in text.iter().enumerate() {
        let is_mark = *byte == b'\\' && matches!(text.get(index + 1), Some(b',' | b':'));
        if !is_mark {
            letters.push(*byte);
        }
    }
    letters
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
        return Err(
            "a layer cannot be used read-only yet; without ':ro' the command writes to it, and \
                    to run it unchanged copy the directory first"
                .to_owned(),
        );
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

/// Reads `type=bind,src=SRC,dst=DST[,OPT..]`. As in a file of comma-separated values, a field or
/// a value in double quotes may hold commas, and two of them stand for one.
pub(super) fn mount(value: &OsStr) -> Parsed<Bind> {
    let (mut source, mut target) = (None, None);
    let mut bind = Bind::default();
    for field in quoted_fields(value.as_bytes())? {
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
                let field = String::from_utf8_lossy(&field);
                return Err(format!(
                    "'{field}' is not a field it knows; a path with a comma is written in double \
                     quotes: '\"src=/a,b\"'"
                ));
            }
        }
    }
    bind.source = source.filter(|path| !path.as_os_str().is_empty()).ok_or("src= is missing")?;
    bind.target = target;
    Ok(bind)
}

/// Splits at commas outside of double quotes, and takes those away.
fn quoted_fields(text: &[u8]) -> Parsed<Vec<Vec<u8>>> {
    let mut fields = vec![Vec::new()];
    let mut is_quoted = false;
    let mut bytes = text.iter().copied().peekable();
    let mut before = b',';
    while let Some(byte) = bytes.next() {
        let field = fields.last_mut().ok_or("it is empty")?;
        match byte {
            b'"' if is_quoted && bytes.peek() == Some(&b'"') => {
                field.push(b'"');
                bytes.next();
            }
            b'"' if is_quoted => is_quoted = false,
            b'"' if matches!(before, b',' | b'=') => is_quoted = true,
            b',' if !is_quoted => fields.push(Vec::new()),
            _ => field.push(byte),
        }
        before = byte;
    }
    if is_quoted {
        return Err("a double quote is not closed".to_owned());
    }
    Ok(fields)
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

pub(super) fn omit(glob: &OsStr) -> Parsed<EnvEdit> {
    match glob.is_empty() {
        true => Err("it names no variable; '*' is all of them".to_owned()),
        false => Ok(EnvEdit::Unset(glob.to_owned())),
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

/// Reads a size for tmpfs: digits and at most one of `k`, `m`, `g`, `%` (tmpfs(5)). The kernel takes
/// numbers beyond 64 bits for others.
pub(super) fn size(value: &OsStr) -> Parsed<String> {
    let text = value.to_str().unwrap_or_default();
    let digits = text.trim_end_matches(|letter: char| !letter.is_ascii_digit());
    let most = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "%" => 100,
        "" => LARGEST,
        "k" => LARGEST >> 10,
        "m" => LARGEST >> 20,
        "g" => LARGEST >> 30,
        _ => 0,
    };
    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
    if is_number && digits.parse().is_ok_and(|size: u64| (1..=most).contains(&size)) {
        return Ok(text.to_owned());
    }
    Err(format!("'{}' is not a size such as 512m, 2g or 10%", value.display()))
}

/// The largest file there can be, in bytes.
const LARGEST: u64 = i64::MAX as u64;

/// Reads the format of a report.
pub(super) fn format(value: &OsStr, oci: bool) -> Parsed<Format> {
    match value.to_str() {
        Some("text") => Ok(Format::Text),
        Some("json") => Ok(Format::Json),
        Some("oci") if oci => Ok(Format::Oci),
        _ => Err(format!("'{}' is not a format it knows", value.display())),
    }
}

/// Whether two settings come from the same place.
pub(super) fn same_layer(one: &Origin, other: &Origin) -> bool {
    match (one, other) {
        (Origin::Setting { layer: one, .. }, Origin::Setting { layer: other, .. }) => {
            same_kind_of_layer(one, other)
        }
        _ => false,
    }
}

pub(super) fn same_kind_of_layer(one: &Layer, other: &Layer) -> bool {
    match (one, other) {
        (Layer::CommandLine, Layer::CommandLine) | (Layer::Variable(_), Layer::Variable(_)) => true,
        (Layer::Config { file: one, .. }, Layer::Config { file: other, .. }) => one == other,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Source, destination and what they would be as one path.
    fn read(value: &str) -> Vec<String> {
        let show =
            |path: Option<PathBuf>| path.map_or("-".into(), |path| path.display().to_string());
        let binds = binds(OsStr::new(value)).unwrap().into_iter();
        let line = |bind: Bind| {
            format!("{} {} {}", bind.source.display(), show(bind.target), show(bind.whole))
        };
        binds.map(line).collect()
    }

    #[test]
    fn commas_and_colons_of_paths_have_a_backslash_before_them() {
        assert_eq!(read(r"/a\,b"), ["/a,b - -"]);
        assert_eq!(read(r"/a\:b:/c\,d\:e:ro"), ["/a:b /c,d:e -"]);
        assert_eq!(read(r"/a\,b,/c"), ["/a,b - -", "/c - /a,b,/c"]);
        assert_eq!(read(r"back\slash:/a\b\"), [r"back\slash /a\b\ -"]);
    }

    #[test]
    fn what_a_comma_takes_apart_is_remembered() {
        assert_eq!(read("/a,b"), ["/a - -", "b - /a,b"]);
        assert_eq!(read("/a,b, c:/d"), ["/a - -", "b - /a,b", "c /d /a,b, c"]);
        assert_eq!(read("/a:/b,c"), ["/a /b -", "c - -"]);
        assert_eq!(read("/a:/b:ro,optional,/c,d"), ["/a /b -", "/c - -", "d - /c,d"]);
        assert_eq!(read(",/a,,/b"), ["/a - -", "/b - -"]);
    }

    #[test]
    fn mount_takes_double_quotes_as_docker_does() {
        for value in [
            r#"type=bind,"src=/a,b",dst=/c,ro"#,
            r#"type=bind,src="/a,b",dst="/c",ro"#,
            r#""type=bind","source=/a,b","dst=/c","readonly""#,
        ] {
            let bind = mount(OsStr::new(value)).unwrap();
            assert_eq!((bind.source, bind.target), ("/a,b".into(), Some("/c".into())), "{value}");
            assert!(bind.read_only);
        }
        let bind = mount(OsStr::new(r#""src=/a""b,c",dst=/d"e"#)).unwrap();
        assert_eq!((bind.source, bind.target), ("/a\"b,c".into(), Some("/d\"e".into())));
        assert!(mount(OsStr::new(r#""src=/a,dst=/b"#)).unwrap_err().contains("not closed"));
        assert!(mount(OsStr::new("src=/a,b,dst=/c")).unwrap_err().contains("double quotes"));
    }

    #[test]
    fn sizes_are_those_a_machine_can_have() {
        for text in ["1", "512m", "2g", "1K", "100%", "8589934591g", "9223372036854775807"] {
            assert_eq!(size(OsStr::new(text)).unwrap(), text);
        }
        for text in [
            "",
            "0",
            "0m",
            "m",
            "%",
            "101%",
            "200%",
            "8589934592g",
            "18446744073709551616",
            "-1",
            "9223372036854775808",
            "99999999999999999999g",
            "1mm",
            "1x",
            "+1",
            "1 g",
        ] {
            assert!(size(OsStr::new(text)).is_err(), "{text}");
        }
    }
}
