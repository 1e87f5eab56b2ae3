//! Which GPUs a container gets: the words of `--gpus` and `NVIDIA_VISIBLE_DEVICES`.
//!
//! A number is the place among the GPUs that open, in the order of the bus, as `nvidia-smi` counts
//! them; never that of a node.

use std::collections::BTreeSet;
use std::ffi::OsStr;

use super::gpus::{self, Address, Gpu, decimal, is_id};
use crate::error::{Error, Result};

/// Who wrote a list: what is good to type is too lax for what machines write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writer {
    /// A user, for `--gpus`: beginnings of UUIDs will do, and `device=` may stand in front.
    User,
    /// A launcher, in `NVIDIA_VISIBLE_DEVICES`.
    Launcher,
}

/// What a list asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// Every GPU that opens.
    All,
    /// The driver without a GPU.
    None,
    /// No driver either.
    Void,
    /// Some devices.
    Devices(Vec<Device>),
}

/// One word of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// As it was written.
    pub word: String,
    /// What it names.
    pub name: Name,
}

/// What a device is named by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Name {
    /// The place among the GPUs that open.
    Place(u32),
    /// A place on the bus.
    Address(Address),
    /// The UUID of a GPU; perhaps only its beginning.
    Uuid {
        /// `GPU-` and what follows.
        uuid: String,
        /// A beginning will do.
        may_be_short: bool,
    },
    /// The UUID of a MIG device.
    Mig,
    /// A MIG device as drivers before 470 named it.
    MigPart {
        /// The UUID of the GPU.
        uuid: String,
        /// The number of the GPU instance.
        instance: u32,
        /// The number of the compute instance.
        compute: u32,
    },
    /// A MIG device by its place on a GPU.
    MigPlace {
        /// The place of the GPU among those that open.
        gpu: u32,
        /// The place on the GPU.
        place: u32,
    },
}

/// What was chosen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chosen {
    /// Places in the slice of GPUs, in order, each once.
    pub gpus: Vec<usize>,
    /// MIG devices; if there are some, no GPU is chosen as a whole.
    pub mig: Vec<MigDevice>,
}

/// A MIG device that was chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MigDevice {
    /// As it was written.
    pub id: String,
    /// The GPU it is on, as a place in the slice; only the driver knows it by a UUID.
    pub gpu: Option<usize>,
    /// The numbers of its GPU instance and its compute instance, where the name has them.
    pub part: Option<(u32, u32)>,
}

impl Selection {
    /// Reads a list.
    ///
    /// # Errors
    ///
    /// Names a word that names no device.
    pub fn parse(list: &OsStr, writer: Writer) -> Result<Self> {
        let list = list.to_string_lossy();
        let list = match writer {
            Writer::User => without_docker(&list)?,
            Writer::Launcher => &list,
        };
        let words: Vec<&str> =
            list.split(',').map(str::trim).filter(|word| !word.is_empty()).collect();
        match words.as_slice() {
            [] if writer == Writer::User => Err(mistake("the list is empty".to_owned())),
            [] => Ok(Selection::Void),
            _ if words.contains(&"void") => Ok(Selection::Void),
            ["all"] => Ok(Selection::All),
            ["none"] => Ok(Selection::None),
            _ => words
                .iter()
                .map(|word| Device::parse(word, writer))
                .collect::<Result<_>>()
                .map(Selection::Devices),
        }
    }
}

/// Takes away what Docker has around a list: `"device=0,1"`, with or without the quotes.
fn without_docker(list: &str) -> Result<&str> {
    let list = list.trim();
    let bare = list.strip_prefix('"').and_then(|list| list.strip_suffix('"')).unwrap_or(list);
    let list = bare.strip_prefix("device=").unwrap_or(bare);
    match list.split(',').find(|word| word.contains('=')) {
        Some(word) => Err(mistake(format!(
            "{word:?} names no device; of Docker's words only device=LIST is known"
        ))),
        None => Ok(list),
    }
}

impl Device {
    fn parse(word: &str, writer: Writer) -> Result<Self> {
        let name = match word {
            "all" | "none" => return Err(mistake(format!("{word:?} stands alone"))),
            _ if word.starts_with("MIG-GPU-") => mig_part(word),
            _ if is_id(word, "MIG-") => Some(Name::Mig),
            _ if is_id(word, "GPU-") => {
                Some(Name::Uuid { uuid: word.to_owned(), may_be_short: writer == Writer::User })
            }
            _ => number(word),
        };
        let name = name.ok_or_else(|| mistake(format!("{word:?} names no device")))?;
        Ok(Device { word: word.to_owned(), name })
    }
}

/// A place, a place on the bus, or a place on a GPU.
fn number(word: &str) -> Option<Name> {
    if let Some(address) = Address::parse(word) {
        return Some(Name::Address(address));
    }
    match word.split_once(':') {
        None => decimal(word).map(Name::Place),
        Some((gpu, place)) => Some(Name::MigPlace { gpu: decimal(gpu)?, place: decimal(place)? }),
    }
}

/// `MIG-GPU-UUID/1/0`.
fn mig_part(word: &str) -> Option<Name> {
    let parts: Vec<&str> = word.strip_prefix("MIG-")?.split('/').collect();
    let [uuid, instance, compute] = parts.as_slice() else { return None };
    Some(Name::MigPart {
        uuid: Some(*uuid).filter(|uuid| is_id(uuid, "GPU-"))?.to_owned(),
        instance: decimal(instance)?,
        compute: decimal(compute)?,
    })
}

/// Finds what a selection names among the GPUs of the host.
///
/// A MIG device that only the driver knows brings all GPUs that open: the variable its program
/// reads, and the control group, say which.
///
/// # Errors
///
/// Names a word that names no GPU of the host, one that is closed, or several; or a list of both
/// GPUs and MIG devices, which CUDA does not read.
pub fn choose(selection: &Selection, gpus: &[Gpu]) -> Result<Chosen> {
    let devices = match selection {
        Selection::All => return Ok(Chosen { gpus: open(gpus), mig: Vec::new() }),
        Selection::None | Selection::Void => return Ok(Chosen::default()),
        Selection::Devices(devices) => devices,
    };
    let mut chosen = BTreeSet::new();
    let mut mig = Vec::new();
    for device in devices {
        match find(device, gpus)? {
            Found::Gpu(place) => drop(chosen.insert(place)),
            Found::Mig(device) if mig.contains(&device) => {}
            Found::Mig(device) => mig.push(device),
        }
    }
    if !mig.is_empty() && !chosen.is_empty() {
        return Err(mistake("a list has either GPUs or MIG devices, not both".to_owned()));
    }
    for device in &mig {
        match device.gpu {
            Some(place) => drop(chosen.insert(place)),
            None => chosen.extend(open(gpus)),
        }
    }
    Ok(Chosen { gpus: chosen.into_iter().collect(), mig })
}

/// Finds which GPUs the numbers in a launcher's list mean where a control group closes some: the
/// node's numbers, as Slurm counts them (`SLURM_JOB_GPUS`), or places among those that open.
///
/// As many numbers as GPUs open mean all of those either way.
///
/// # Errors
///
/// Fails where both are possible and mean different GPUs.
pub fn of_launcher(selection: Selection, gpus: &[Gpu]) -> Result<Selection> {
    let open = open(gpus);
    let Selection::Devices(devices) = &selection else { return Ok(selection) };
    let number = |device: &Device| match device.name {
        Name::Place(place) => usize::try_from(place).ok(),
        _ => None,
    };
    let numbers: Option<BTreeSet<usize>> = devices.iter().map(number).collect();
    let Some(numbers) = numbers.filter(|_| open.len() < gpus.len()) else { return Ok(selection) };
    if numbers.len() == open.len() && numbers.iter().all(|number| *number < gpus.len()) {
        return Ok(Selection::All);
    }
    let meant = |means: &dyn Fn(usize) -> Option<usize>| {
        let places = numbers.iter().map(|number| means(*number));
        let found: Option<BTreeSet<usize>> = places.collect();
        found.filter(|found| found.iter().all(|place| open.contains(place)))
    };
    let by_minor =
        |number: usize| gpus.iter().position(|gpu| usize::try_from(gpu.minor) == Ok(number));
    let among_open = meant(&|number| open.get(number).copied());
    let of_node = [meant(&by_minor), meant(&|number| (number < gpus.len()).then_some(number))];
    let meanings: BTreeSet<_> = of_node.into_iter().chain([among_open]).flatten().collect();
    let mut meanings = meanings.into_iter();
    match (meanings.next(), meanings.next()) {
        (Some(places), None) => {
            let local = |place: &usize| open.iter().position(|it| it == place);
            let local = places.iter().filter_map(local);
            let device = |place: usize| Device {
                word: place.to_string(),
                name: Name::Place(u32::try_from(place).unwrap_or(u32::MAX)),
            };
            Ok(Selection::Devices(local.map(device).collect()))
        }
        // Which word it is, is said where it is looked for.
        (None, _) => Ok(selection),
        (Some(_), Some(_)) => {
            let reason = "its numbers may be the node's, or places among the GPUs that this job's \
                          control group opens, which are others";
            let hint = format!(
                "write UUIDs, or --gpus with places among those that open\n{}",
                known(gpus)
            );
            Err(Error::new(ATTEMPT, reason).hint(hint))
        }
    }
}

/// What a word turned out to name.
enum Found {
    Gpu(usize),
    Mig(MigDevice),
}

fn find(device: &Device, gpus: &[Gpu]) -> Result<Found> {
    let Device { word, name } = device;
    let mig = |gpu, part| Found::Mig(MigDevice { id: word.clone(), gpu, part });
    Ok(match name {
        Name::Place(place) => Found::Gpu(at(*place, word, gpus)?),
        Name::Address(address) => {
            let is_it = |place: &usize| Address::parse(&gpus[*place].bus) == Some(*address);
            let found: Vec<usize> = (0..gpus.len()).filter(is_it).collect();
            Found::Gpu(one(word, gpus, &found)?)
        }
        Name::Uuid { uuid, may_be_short } => {
            Found::Gpu(with_uuid(word, gpus, uuid, *may_be_short)?)
        }
        Name::Mig => mig(None, None),
        Name::MigPart { uuid, instance, compute } => {
            mig(Some(with_uuid(word, gpus, uuid, false)?), Some((*instance, *compute)))
        }
        Name::MigPlace { gpu, .. } => mig(Some(at(*gpu, word, gpus)?), None),
    })
}

/// The GPUs that open.
pub fn open(gpus: &[Gpu]) -> Vec<usize> {
    (0..gpus.len()).filter(|place| gpus[*place].is_open).collect()
}

fn at(place: u32, word: &str, gpus: &[Gpu]) -> Result<usize> {
    let found = usize::try_from(place).ok().and_then(|place| open(gpus).get(place).copied());
    found.ok_or_else(|| {
        let reason = format!("there is no GPU {word:?}; a number is a GPU's place, not how many");
        Error::new(ATTEMPT, reason).hint(known(gpus))
    })
}

fn with_uuid(word: &str, gpus: &[Gpu], uuid: &str, may_be_short: bool) -> Result<usize> {
    let mut found = gpus::with_uuid(gpus, uuid);
    let is_whole = |own: &String| own.len() == uuid.len();
    found.retain(|place| may_be_short || gpus[*place].uuid.as_ref().is_some_and(is_whole));
    one(word, gpus, &found)
}

/// The one GPU that was found, if it opens.
fn one(word: &str, gpus: &[Gpu], found: &[usize]) -> Result<usize> {
    let reason = match found {
        [place] if gpus[*place].is_open => return Ok(*place),
        [_] => format!("{word} is closed to you, or to this job's control group"),
        [] => format!("there is no GPU {word:?}"),
        _ => format!("{word:?} fits {} GPUs", found.len()),
    };
    Err(Error::new(ATTEMPT, reason).hint(known(gpus)))
}

const ATTEMPT: &str = "choose the GPUs";

/// The GPUs there are, as a hint shows them.
fn known(gpus: &[Gpu]) -> String {
    if gpus.is_empty() {
        return "this host has no GPU".to_owned();
    }
    let mut text = "this host has".to_owned();
    let mut next = 0;
    for gpu in gpus {
        if gpu.is_open {
            text += &format!("\n{next:>2}  {gpu}");
            next += 1;
        } else {
            text += &format!("\n -  {gpu}  (closed)");
        }
    }
    if gpus.iter().any(|gpu| gpu.uuid.is_none()) {
        text += "\nwhere the UUID is not known (?), the number or the place on the bus will do";
    }
    text
}

fn mistake(reason: String) -> Error {
    Error::new(ATTEMPT, reason).hint(
        "a list is all, none, or words with commas between them: 0 (the place among the GPUs that \
         open), 0000:06:00.0, GPU-UUID, MIG-UUID",
    )
}

#[cfg(test)]
mod tests;
