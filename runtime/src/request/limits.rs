//! How much of the machine the command may use, as asked for.

use std::ffi::OsStr;
use std::fmt;
use std::path::PathBuf;

use super::{Asked, Given, Setting, asked};
use crate::cpus::CpuList;
use crate::options::Limit;
use crate::origin::Origin;

/// The period, in microseconds, over which the kernel counts what of its quota a group has used.
pub const PERIOD: u64 = 100_000;

/// An amount of CPU, in hundred-thousandths: microseconds of each [`PERIOD`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cpus(pub u64);

impl Cpus {
    /// So many whole CPUs have it all.
    pub fn rounded_up(self) -> usize {
        usize::try_from(self.0.div_ceil(PERIOD)).unwrap_or(usize::MAX)
    }

    /// The nearest number of whole CPUs, at least one.
    pub fn rounded(self) -> usize {
        usize::try_from((self.0 + PERIOD / 2) / PERIOD).unwrap_or(usize::MAX).max(1)
    }
}

impl fmt::Display for Cpus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fraction = format!("{:05}", self.0 % PERIOD);
        match fraction.trim_end_matches('0') {
            "" => write!(f, "{}", self.0 / PERIOD),
            fraction => write!(f, "{}.{fraction}", self.0 / PERIOD),
        }
    }
}

/// All limits asked for.
#[derive(Clone, Debug, Default)]
pub struct Limits {
    /// An amount of CPU.
    pub cpus: Option<Asked<Cpus>>,
    /// CPUs by number.
    pub cpuset: Option<Asked<CpuList>>,
    /// Memory, in bytes.
    pub memory: Option<Asked<u64>>,
    /// A number of processes and threads.
    pub pids: Option<Asked<u64>>,
    /// What cannot be had is an error.
    pub require: Option<Origin>,
    /// Every rank of a step has its own.
    pub per_rank: Option<Origin>,
    /// The control group in which groups are made.
    pub parent: Option<Asked<PathBuf>>,
}

impl Limits {
    /// Whether there is a limit.
    pub fn are_asked_for(&self) -> bool {
        self.cpus.is_some() || self.cpuset.is_some() || self.memory.is_some() || self.pids.is_some()
    }

    /// Adds a setting.
    ///
    /// # Errors
    ///
    /// What is wrong with its value.
    pub(super) fn add(
        &mut self,
        name: Limit,
        setting: &Setting,
        origin: &Origin,
    ) -> Result<(), String> {
        let value = setting.given.value();
        let on = || (setting.given != Given::Off).then(|| origin.clone());
        match name {
            Limit::Cpus => self.cpus = limit(value, cpus, origin)?,
            Limit::Cpuset => self.cpuset = limit(value, cpuset, origin)?,
            Limit::Memory => self.memory = limit(value, memory, origin)?,
            Limit::Pids => self.pids = limit(value, count, origin)?,
            Limit::PerRank => self.per_rank = on(),
            Limit::Parent => self.parent = Some(asked(PathBuf::from(value), origin)),
            Limit::Mode => {
                self.require = match value.to_str() {
                    Some("require") => on(),
                    Some("best-effort") => None,
                    _ => {
                        let written = value.to_string_lossy();
                        return Err(format!("'{written}' is not require or best-effort"));
                    }
                }
            }
        }
        Ok(())
    }
}

/// Reads a limit; `none` takes away what a weaker layer has set.
fn limit<T>(
    value: &OsStr,
    read: fn(&str) -> Option<T>,
    origin: &Origin,
) -> Result<Option<Asked<T>>, String> {
    let text = value.to_str().unwrap_or_default().trim();
    if text == "none" {
        return Ok(None);
    }
    match read(text) {
        Some(limit) => Ok(Some(asked(limit, origin))),
        None => Err(format!("'{}' is not such a limit, nor none", value.display())),
    }
}

/// Reads `2.5`; the kernel takes no less than a hundredth.
fn cpus(text: &str) -> Option<Cpus> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    if !is_number || (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return None;
    }
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let digits: String = fraction.chars().chain("00000".chars()).take(5).collect();
    let amount = whole.checked_mul(PERIOD)?.checked_add(digits.parse().ok()?)?;
    (1_000..=PERIOD << 16).contains(&amount).then_some(Cpus(amount))
}

fn cpuset(text: &str) -> Option<CpuList> {
    CpuList::parse(text).filter(|cpus| !cpus.is_empty())
}

/// Reads bytes, with `k`, `m`, `g` or `t` for powers of 1024, as Slurm and other runtimes do.
fn memory(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(1 << unit).filter(|bytes| (1..1 << 62).contains(bytes))
}

fn count(text: &str) -> Option<u64> {
    text.parse().ok().filter(|count| (1..1 << 22).contains(count))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_of_cpu() {
        for (text, amount, written) in [
            ("2", 200_000, "2"),
            ("0.5", 50_000, "0.5"),
            (".25", 25_000, "0.25"),
            ("2.", 200_000, "2"),
            ("0.01", 1_000, "0.01"),
            ("1.123456", 112_345, "1.12345"),
        ] {
            assert_eq!(cpus(text), Some(Cpus(amount)), "{text}");
            assert_eq!(Cpus(amount).to_string(), written);
        }
        for text in ["", ".", "0", "0.009", "-1", "1.2.3", "1e3", "x", "99999999999999999999"] {
            assert_eq!(cpus(text), None, "{text}");
        }
        let rounded = |text| cpus(text).map(|cpus| (cpus.rounded(), cpus.rounded_up()));
        assert_eq!(rounded("0.2"), Some((1, 1)));
        assert_eq!(rounded("2.4"), Some((2, 3)));
        assert_eq!(rounded("2.5"), Some((3, 3)));
    }

    #[test]
    fn amounts_of_memory() {
        assert_eq!(memory("64M"), Some(64 << 20));
        assert_eq!(memory("1g"), Some(1 << 30));
        assert_eq!(memory("512kib"), Some(512 << 10));
        assert_eq!(memory("4096"), Some(4096));
        for text in ["", "0", "M", "64Q", "1.5g", "-1", "9999999999t"] {
            assert_eq!(memory(text), None, "{text}");
        }
    }
}
