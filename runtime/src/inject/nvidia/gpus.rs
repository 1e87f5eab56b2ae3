//! The GPUs of a host: where they are on the bus, which nodes are theirs, which of them open.
//!
//! The number in `/dev/nvidia3` is neither the place on the bus nor the number programs count by.
//! Only the module's `/proc/driver/nvidia/gpus/BUS/information` says what belongs together.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::look::directory::DirectoryTree;
use crate::look::files;
use crate::look::host::Host;

/// One directory for each GPU, named by its place on the bus.
const DIRECTORY: &str = "/proc/driver/nvidia/gpus";

/// No file of the module that describes a GPU is near as large.
const SIZE_LIMIT: usize = 64 << 10;

/// A GPU of the host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gpu {
    /// Its place on the bus, as the module writes it: `0000:06:00.0`; empty where nothing says.
    pub bus: String,
    /// The number of its node: 3 of `/dev/nvidia3`.
    pub minor: u32,
    /// `GPU-` and 36 letters; the module learns it when a GPU is first used.
    pub uuid: Option<String>,
    /// The name of the product; empty where nothing says.
    pub model: String,
    /// Whether the caller may use it, as far as modes and control groups say.
    pub is_open: bool,
}

impl Gpu {
    /// The node of the device.
    pub fn node(&self) -> PathBuf {
        PathBuf::from(format!("/dev/nvidia{}", self.minor))
    }
}

/// What there is to know about a GPU, as messages show it.
impl fmt::Display for Gpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/dev/nvidia{}", self.minor)?;
        for part in [self.bus.as_str(), self.uuid.as_deref().unwrap_or("?"), &self.model] {
            if !part.is_empty() {
                write!(f, "  {part}")?;
            }
        }
        Ok(())
    }
}

/// A place on the PCI bus; places are ordered as `nvidia-smi` orders GPUs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address {
    domain: u32,
    bus: u32,
    device: u32,
    function: u32,
}

impl Address {
    /// Reads `06:00.0`, `0000:06:00.0` and `00000000:06:00.0`; letters of any case.
    pub fn parse(text: &str) -> Option<Self> {
        let (rest, function) = text.split_once('.')?;
        let parts: Vec<&str> = rest.split(':').collect();
        let (domain, bus, device) = match parts.as_slice() {
            [bus, device] => ("0000", bus, device),
            [domain, bus, device] => (*domain, bus, device),
            _ => return None,
        };
        let domain = hexadecimal(domain, 4).or_else(|| hexadecimal(domain, 8))?;
        Some(Address {
            domain,
            bus: hexadecimal(bus, 2)?,
            device: hexadecimal(device, 2)?,
            function: hexadecimal(function, 1)?,
        })
    }
}

/// A number of exactly so many digits.
fn hexadecimal(text: &str, length: usize) -> Option<u32> {
    let is_number = text.len() == length && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_number { u32::from_str_radix(text, 16).ok() } else { None }
}

/// What the module says about a GPU.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Information {
    /// The number of its node.
    pub minor: u32,
    /// Its UUID, if the module knows it yet.
    pub uuid: Option<String>,
    /// The name of the product.
    pub model: String,
    /// Whether the administrator took it away from everybody.
    pub is_excluded: bool,
}

/// Looks for the GPUs below a root, in the order of the bus.
///
/// Where the module's directory cannot be seen, the nodes alone say what there is.
pub fn look(files: &DirectoryTree, host: &Host) -> Vec<Gpu> {
    let gpus = match files.names(Path::new(DIRECTORY), &|_| true) {
        Ok(names) => {
            let names = names.iter().filter_map(|name| name.to_str());
            let mut described: Vec<_> = names.filter_map(|name| described(files, name)).collect();
            described.sort_by_key(|(address, gpu)| (*address, gpu.minor));
            described.into_iter().map(|(_, gpu)| gpu).collect()
        }
        Err(_) => of_nodes(files),
    };
    opened(gpus, files, host)
}

/// Looks for the GPUs below a root by their nodes alone.
pub fn look_at_nodes(files: &DirectoryTree, host: &Host) -> Vec<Gpu> {
    opened(of_nodes(files), files, host)
}

/// Finds out which of them open.
fn opened(mut gpus: Vec<Gpu>, files: &DirectoryTree, host: &Host) -> Vec<Gpu> {
    for gpu in &mut gpus {
        gpu.is_open = host.can_use(&files.outside(&gpu.node()));
    }
    gpus
}

/// The GPU a directory of the module describes, unless it is no use to anybody.
fn described(files: &DirectoryTree, bus: &str) -> Option<(Address, Gpu)> {
    let address = Address::parse(bus)?;
    let path = Path::new(DIRECTORY).join(bus).join("information");
    let text = read(files, &path, SIZE_LIMIT)?;
    let Information { minor, uuid, model, is_excluded } = parse_information(&text)?;
    let gpu = Gpu { bus: bus.to_owned(), minor, uuid, model, is_open: false };
    (!is_excluded).then_some((address, gpu))
}

/// GPUs of which only the nodes are known, in the order of their numbers.
fn of_nodes(files: &DirectoryTree) -> Vec<Gpu> {
    let names = files.names(Path::new("/dev"), &|name| name.starts_with(b"nvidia"));
    let names = names.unwrap_or_default();
    let mut minors: Vec<u32> =
        names.iter().filter_map(|name| decimal(name.to_str()?.strip_prefix("nvidia")?)).collect();
    minors.sort_unstable();
    minors.into_iter().map(|minor| Gpu { minor, ..Gpu::default() }).collect()
}

/// Reads what the module says about a GPU; nothing where it has no node.
pub fn parse_information(text: &[u8]) -> Option<Information> {
    let text = String::from_utf8_lossy(text);
    Some(Information {
        minor: decimal(field(&text, "Device Minor")?)?,
        uuid: field(&text, "GPU UUID").filter(|uuid| is_id(uuid, "GPU-")).map(str::to_owned),
        model: field(&text, "Model").unwrap_or_default().replace(char::is_control, " "),
        is_excluded: field(&text, "GPU Excluded") == Some("Yes"),
    })
}

/// Whether a word is a prefix and some of a UUID; the module has question marks for what it does
/// not know yet.
pub fn is_id(word: &str, prefix: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_hexdigit() || byte == b'-';
    word.strip_prefix(prefix).is_some_and(|rest| !rest.is_empty() && rest.bytes().all(is_letter))
}

/// The GPUs with a UUID, or else those whose UUIDs begin so; letters of any case.
pub fn with_uuid(gpus: &[Gpu], uuid: &str) -> Vec<usize> {
    let fitting = |fits: &dyn Fn(&str) -> bool| -> Vec<usize> {
        let is_it = |place: &usize| gpus[*place].uuid.as_deref().is_some_and(fits);
        (0..gpus.len()).filter(is_it).collect()
    };
    let whole = fitting(&|own| own.eq_ignore_ascii_case(uuid));
    if !whole.is_empty() {
        return whole;
    }
    let length = uuid.len();
    fitting(&|own| own.get(..length).is_some_and(|start| start.eq_ignore_ascii_case(uuid)))
}

/// The value on the first line `NAME: VALUE`.
pub fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim())
    })
}

/// A number as the kernel writes it: no sign, no zero in front.
pub fn decimal(text: &str) -> Option<u32> {
    text.parse().ok().filter(|number: &u32| number.to_string() == text)
}

/// Reads a file of the module, if it is there and of a sane size.
pub fn read(files: &DirectoryTree, path: &Path, limit: usize) -> Option<Vec<u8>> {
    files::read(files, path).ok()?.filter(|text| text.len() <= limit)
}

/// The module's parameters with `ModifyDeviceFiles: 0`; nothing if they say so already.
///
/// With 1, libraries make the nodes again that they were not given.
pub fn parameters(text: &[u8]) -> Option<Vec<u8>> {
    const NAME: &[u8] = b"ModifyDeviceFiles:";
    let mut copy = Vec::with_capacity(text.len());
    let mut is_changed = false;
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        match line.strip_prefix(NAME) {
            Some(value) if value.trim_ascii() != b"0" => {
                is_changed = true;
                copy.extend_from_slice(NAME);
                copy.extend_from_slice(if line.ends_with(b"\n") { b" 0\n" } else { b" 0" });
            }
            _ => copy.extend_from_slice(line),
        }
    }
    is_changed.then_some(copy)
}

#[cfg(test)]
mod tests;
